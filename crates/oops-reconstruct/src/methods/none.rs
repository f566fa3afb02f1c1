//! `reconstruct.none`: the plain cut, V = W_S. With statistics connected, the report still states its error.

use oops_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guard::Repair,
    method::{Reconstructor, Statistics},
    options::{Options, Search, Stream},
    output::SaveAs,
    problem::{Module, Tokens},
};

/// Parameters of the plain cut.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    dtype: SaveAs,
}

pub(crate) struct PlainCut;

impl Reconstructor for PlainCut {
    type Params = Params;
    const NAME: &'static str = "reconstruct.none";
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "the plain cut";
    const STATISTICS: Statistics = Statistics::Nothing;

    fn options(params: &Params) -> Options {
        Options::own(params.dtype, Search::Cut, Stream::Dense)
    }

    fn repair(_: &Params, module: &Module, _: &Tokens, _: f64) -> Result<Repair> {
        Ok(Repair { weight: module.cut(), bias: None, condition: None, status: "cut".to_owned() })
    }
}
