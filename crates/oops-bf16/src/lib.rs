//! Products of matrices whose entries are rounded to bfloat16 (8 significant bits, f32's range) and summed in f32.
//!
//! With AVX512-BF16, which is looked for at run time, one instruction multiplies 32 pairs and adds them to 16 sums: twice
//! the rate of f32. Elsewhere a portable form computes the same sums in another order, at most at the rate of f32.
//!
//! Both operands lie row-major with the columns that are summed over, as activations `[tokens, inputs]` and weights
//! `[outputs, inputs]` do, and are packed once into [`Panels`]; [`product`] is then activations · weightsᵀ. Every output is
//! summed in an order that the shapes fix, so that the bits do not depend on the number of threads. Nothing here
//! knows what is multiplied: slices in, slices out.

#![cfg_attr(test, allow(clippy::float_cmp, reason = "tests state exact results where results are exact"))]

mod panels;
mod product;
mod tile;

pub use panels::{Activations, Panels, Weights};
pub use product::{add_product, product, product_of_two};
