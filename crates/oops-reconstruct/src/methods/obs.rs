//! `reconstruct.obs`
//!
//! *What it does.* Removes channels a few at a time, cheapest first, and spreads the output of each over the others.
//! *Formula.* With A = H + λmI, V = W at the start and c the next channels to go: V ← V − (A⁻¹)_:c ((A⁻¹)_cc)⁻¹ V_c and
//! the same for A⁻¹, c = those with the smallest ½ ‖V_p‖²/(A⁻¹)_pp.
//! *What it equals.* `reconstruct.ridge`, at every damping and chunk, but for rounding: the plan fixes what goes, every
//! step is an exact minimiser, and so is their end. It is the check of one against the other, and the form that a
//! search for the channels themselves would take; ridge is the faster way.
//! *Needs.* Gram matrices of the dense stream, or tokens for the pruned one; all of A is inverted, removed channels too.
//! *Reference.* Hassibi & Stork 1993; OSSCAR (arXiv 2403.12983).

use oops_core::{Fault, Result, bail_if};
use oops_linalg::obs_sequence;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    guard::Repair,
    method::Reconstructor,
    options::{Damping, Options, Search, Stream, Unjudged},
    output::SaveAs,
    problem::{Module, Tokens},
};

/// Parameters of sequential removal.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// Channels that go in one step.
    chunk: usize,
    /// λ, relative to the mean of diag H_SS, or `auto`: the best of 1e-4 … 1e-1 on the held-out tokens.
    damping: Damping,
    /// Without held-out tokens that can judge: `cut` (the plain cut stays) or `repair` (it stays, unjudged; needs a number
    /// for `damping`).
    #[serde(skip_serializing_if = "Unjudged::is_cut")]
    unjudged: Unjudged,
    /// Activations to fit on: `dense` (from the statistics) or `pruned` (walks the tokens through what is repaired so far).
    stream: Stream,
    /// Precision of the written weights: `auto` (as the source; f32 for quantised ones), `f32`, `f16`, `bf16`.
    dtype: SaveAs,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            chunk: 32,
            damping: Damping::DEFAULT,
            unjudged: Unjudged::Cut,
            stream: Stream::Dense,
            dtype: SaveAs::Auto,
        }
    }
}

pub(crate) struct SequentialRemoval;

impl Reconstructor for SequentialRemoval {
    type Params = Params;
    const NAME: &'static str = "reconstruct.obs";
    const VERSION: u32 = 4;
    const ABOUT: &'static str = "optimal-brain-surgeon updates, a few channels at a time (ridge by another way)";

    fn check(params: &Params) -> Result<()> {
        bail_if(params.chunk == 0, || Fault::config("`chunk` must be at least 1"))
    }

    fn options(params: &Params) -> Options {
        Options::own(params.dtype, Search::Damped(params.damping), params.stream).unjudged(params.unjudged)
    }

    fn repair(params: &Params, module: &Module, tokens: &Tokens, damping: f64) -> Result<Repair> {
        obs_sequence(&module.linear(tokens)?, &module.kept, damping, params.chunk).map(Repair::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{methods::ridge, testkit::case};

    #[test]
    fn it_is_ridge_whatever_the_chunk() {
        let (module, tokens) = case(24, 5, 1);
        for damping in [0.0, 1e-2] {
            let expected = ridge::RidgeRepair::repair(&ridge::Params::default(), &module, &tokens, damping).unwrap();
            for chunk in [1, 3, 100] {
                let params = Params { chunk, ..Params::default() };
                let found = SequentialRemoval::repair(&params, &module, &tokens, damping).unwrap();
                let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4 * (1.0 + b.abs());
                assert!(found.weight.iter().zip(&expected.weight).all(near), "λ {damping}, {chunk} at a time");
            }
        }
    }
}
