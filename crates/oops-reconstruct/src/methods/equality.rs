//! `reconstruct.equality`
//!
//! *What it does.* Ridge that keeps the output for the mean input exactly, so that no bias is needed.
//! *Formula.* min_V ½ tr((V − W_S)ᵀ(H_SS + λmI)(V − W_S)) − tr((V − W_S)ᵀ H_SP W_P) subject to μ_SᵀV = μᵀW: the closed
//! form of its KKT system, one solve more than `reconstruct.ridge`.
//! *Needs.* Gram matrices and means of the dense stream, or tokens for the pruned one. Statistics hold no single tokens,
//! so the mean is the one input that is kept; the solver takes up to 64.
//! *When it misleads.* As ridge; where the mean is small beside the deviations the two are the same.
//! *Reference.* Boyd & Vandenberghe, Convex Optimization, §10.1.1.

use oops_core::Result;
use oops_linalg::ridge_equality;

use crate::{
    guard::Repair,
    method::Reconstructor,
    options::{DampedParams, Options},
    problem::{Module, Tokens},
};

pub(crate) struct KeptMean;

impl Reconstructor for KeptMean {
    type Params = DampedParams;
    const NAME: &'static str = "reconstruct.equality";
    const VERSION: u32 = 4;
    const ABOUT: &'static str = "ridge that keeps the output for the mean input exactly";

    fn options(params: &DampedParams) -> Options {
        params.options()
    }

    fn repair(_: &DampedParams, module: &Module, tokens: &Tokens, damping: f64) -> Result<Repair> {
        let mean = std::slice::from_ref(&tokens.mean);
        ridge_equality(&module.linear(tokens)?, &module.kept, damping, mean).map(Repair::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{case, mean_output};

    #[test]
    fn the_output_for_the_mean_is_kept() {
        let (module, tokens) = case(24, 5, 1);
        let all: Vec<usize> = (0..24).collect();
        let dense = mean_output(&tokens, &all, &module.weight, 5);
        for damping in [0.0, 1e-3, 10.0] {
            let found = KeptMean::repair(&DampedParams::default(), &module, &tokens, damping).unwrap();
            let kept = mean_output(&tokens, &module.kept, &found.weight, 5);
            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-4 * (1.0 + a.abs());
            assert!(dense.iter().zip(&kept).all(near), "λ {damping}: {dense:?} {kept:?}");
        }
    }
}
