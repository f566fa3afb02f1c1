//! Gram products, Cholesky, ridge regression and quadratic programs over plain slices.
//!
//! Nothing here knows blocks, plans or tensors, and no type of faer or Clarabel is public. Every result has the same
//! bits for every number of threads.

#![cfg_attr(test, expect(clippy::float_cmp, reason = "cases worked by hand and determinism are exact"))]

mod bounded;
mod cholesky;
mod conjugate;
mod cross;
mod damped;
mod dense;
mod elimination;
mod equality;
mod error;
mod exchange;
mod gram;
mod inverse;
mod linear;
mod metric;
mod path;
mod product;
pub mod qp;
mod rate;
mod ridge;
mod rows;
mod sequence;
mod shift;
pub mod stats;
mod symmetric;
#[cfg(test)]
mod testkit;
#[cfg(target_arch = "x86_64")]
mod wide_gram;

pub use bounded::{Bounded, ridge_bounded};
pub use conjugate::Conjugate;
pub use cross::Cross;
pub use damped::SolveStatus;
pub use elimination::{Elimination, eliminate};
pub use equality::ridge_equality;
pub use error::{Bias, error_energy, output_energy, reconstruction_error};
pub use exchange::{Exchange, ExchangeOptions, exchange};
pub use gram::Gram;
pub use inverse::{Factored, inverse_diagonal, obs_channels, obs_groups};
pub use linear::Linear;
pub use metric::in_metric;
pub use path::ridge_path;
pub use rate::f64_product_rate;
pub use ridge::{Ridge, ridge, ridge_cross};
pub use rows::RowSolver;
pub use sequence::obs_sequence;
pub use shift::{Shift, shifted_error};
pub use symmetric::{Symmetric, packed_len};
