//! `reconstruct.bias`
//!
//! *What it does.* Replaces what removed channels added by its mean.
//! *Formula.* V = W_S, b = μ_P W_P with μ = E\[x\] over the calibration tokens (P removed): the best constant.
//! *Needs.* Channel means, and Gram matrices to judge; or tokens for the pruned stream.
//! *When it misleads.* It cannot use what kept channels know of removed ones: `reconstruct.ridge` can.
//! *Reference.* An et al., FLAP, AAAI 2024 (arXiv 2312.11983).

use oops_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guard::Repair,
    method::Reconstructor,
    options::{Options, Search, Stream, Unjudged},
    output::SaveAs,
    problem::{Module, Tokens},
};

/// Parameters of bias compensation.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// Without held-out tokens that can judge: `cut` (the plain cut stays) or `repair` (it stays, unjudged).
    #[serde(skip_serializing_if = "Unjudged::is_cut")]
    unjudged: Unjudged,
    /// Activations to fit on: `dense` (from the statistics) or `pruned` (walks the tokens through what is repaired so far).
    stream: Stream,
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    dtype: SaveAs,
}

pub(crate) struct MeanBias;

impl Reconstructor for MeanBias {
    type Params = Params;
    const NAME: &'static str = "reconstruct.bias";
    const VERSION: u32 = 4;
    const ABOUT: &'static str = "FLAP's bias compensation: the mean of what was removed";
    const ADDS_BIASES: bool = true;

    fn options(params: &Params) -> Options {
        Options::own(params.dtype, Search::Once, params.stream).unjudged(params.unjudged)
    }

    fn repair(_: &Params, module: &Module, tokens: &Tokens, _: f64) -> Result<Repair> {
        let mut bias = vec![0.0f64; module.outputs];
        for j in module.removed() {
            let row = &module.weight[j * module.outputs..(j + 1) * module.outputs];
            bias.iter_mut().zip(row).for_each(|(b, &w)| *b += tokens.mean[j] * f64::from(w));
        }
        let bias = Some(bias.into_iter().map(|b| b as f32).collect());
        Ok(Repair { weight: module.cut(), bias, condition: None, status: "solved".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_what_was_removed() {
        // Channel 1 of (1, 2 | 3, 4 | 5, 6) goes with mean 10: b = 10 · (3, 4).
        let weight = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let module = Module { weight, channels: 3, outputs: 2, kept: vec![0, 2], unit: 1 };
        let tokens = Tokens { gram: vec![0.0; 6], mean: vec![1.0, 10.0, 100.0], shift: None };
        let r = MeanBias::repair(&Params::default(), &module, &tokens, 0.0).unwrap();
        assert_eq!((r.weight, r.bias), (vec![1.0, 2.0, 5.0, 6.0], Some(vec![30.0, 40.0])));
    }
}
