//! What a reconstruction method is: parameters and one pure function of one module.

use oops_core::Result;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    guard::Repair,
    options::Options,
    problem::{Module, Tokens},
};

/// Statistics that a method cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statistics {
    /// None; with Gram matrices connected, errors are reported.
    Nothing,
    /// Gram matrices and means.
    Gram,
}

/// A reconstruction method.
pub(crate) trait Reconstructor: Send + Sync + 'static {
    /// Parameters.
    type Params: Serialize + DeserializeOwned + JsonSchema;
    /// Stage name, `reconstruct.…`.
    const NAME: &'static str;
    /// Algorithm version.
    const VERSION: u32;
    /// One line for `oops stages`.
    const ABOUT: &'static str;
    /// Statistics that it needs.
    const STATISTICS: Statistics = Statistics::Gram;

    /// Whether repaired modules have a bias.
    const ADDS_BIASES: bool = false;

    /// Checks the parameters that [`Self::options`] does not hold.
    fn check(_params: &Self::Params) -> Result<()> {
        Ok(())
    }

    /// What the parameters say to the loop over blocks.
    fn options(params: &Self::Params) -> Options;

    /// At most the bytes that one module of `n` channels and `d` outputs holds while it is repaired: statistics of both
    /// splits, weights, and what is solved. Whatever the method: matrices of both splits, the cut system, its factor.
    fn solve_bytes(_params: &Self::Params, n: u64, _d: u64) -> u64 {
        32 * n * n
    }

    /// The repair of a module fitted on `tokens`; `damping` is 0 for a method without one.
    fn repair(params: &Self::Params, module: &Module, tokens: &Tokens, damping: f64) -> Result<Repair>;

    /// One repair for each of several dampings; methods that can share work between them do.
    fn repairs(params: &Self::Params, module: &Module, tokens: &Tokens, dampings: &[f64]) -> Result<Vec<Repair>> {
        dampings.iter().map(|&damping| Self::repair(params, module, tokens, damping)).collect()
    }
}
