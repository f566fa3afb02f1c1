//! Gram products, Cholesky, ridge regression and quadratic programs over plain slices.
//!
//! Nothing here knows blocks, plans or tensors, and no type of faer or Clarabel is public. Every result has the same
//! bits for every number of threads.

mod gram;
mod product;
mod symmetric;
#[cfg(test)]
mod testkit;

pub use gram::Gram;
pub use symmetric::{Symmetric, packed_len};
