//! `reconstruct.none`: the plain cut, V = W_S. With statistics connected, the report still states its error.

use oops_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guard::Repair,
    output::SaveAs,
    problem::{Module, Tokens},
    stage::{Needs, Reconstructor},
};

/// Parameters of the plain cut.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    #[serde(default)]
    dtype: SaveAs,
}

pub(crate) struct PlainCut;

impl Reconstructor for PlainCut {
    type Params = Params;
    const NAME: &'static str = "reconstruct.none";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "the plain cut";
    const NEEDS: Needs = Needs::Nothing;

    fn dtype(params: &Params) -> SaveAs {
        params.dtype
    }

    fn ladder(_: &Params) -> Vec<Option<f64>> {
        Vec::new()
    }

    fn repair(module: &Module, _: &Tokens, _: Option<f64>) -> Result<Repair> {
        Ok(Repair { weight: module.cut(), bias: None, condition: None, status: "cut".to_owned() })
    }
}
