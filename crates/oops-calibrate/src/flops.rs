//! Arithmetic of a calibration pass, to state its speed as a share of the machine's GEMM rate.

use oops_core::{ModelDims, Site};

/// Floating-point operations of one pass through all blocks.
///
/// Per token and block: 2 per linear weight; causal attention 2·2·(T+1)/2·n_q·d_h; with Gram matrices n(n+1) per site
/// (one multiply and one add for half of n²).
pub(crate) fn of_pass(dims: &ModelDims, lengths: &[usize], gram: bool) -> f64 {
    let tokens: usize = lengths.iter().sum();
    let pairs: f64 = lengths.iter().map(|&t| t as f64 * (t as f64 + 1.0) / 2.0).sum();
    let per_block = |l: usize| {
        let b = &dims.blocks[l];
        let attention = 4.0 * pairs * (b.query_heads * b.head_dim) as f64;
        let grams: f64 = Site::ALL.iter().map(|&s| b.width(s) as f64 * (b.width(s) as f64 + 1.0)).sum();
        let per_token = 2.0 * dims.block_params(l) as f64 + if gram { grams } else { 0.0 };
        attention + per_token * tokens as f64
    };
    (0..dims.blocks.len()).map(per_block).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oops_core::BlockDims;

    #[test]
    fn a_tiny_block_counts_as_by_hand() {
        let block = BlockDims { query_heads: 2, kv_heads: 1, head_dim: 2, ffn: 3 };
        let dims = ModelDims { hidden: 4, vocab: 8, tied: true, gated: true, blocks: vec![block] };
        // Weights: q 16 + k 8 + v 8 + o 16 + 3·12 = 84. Two tokens: 3 pairs.
        assert!((of_pass(&dims, &[2], false) - (2.0 * 84.0 * 2.0 + 4.0 * 3.0 * 4.0)).abs() < 1e-9);
        assert!((of_pass(&dims, &[2], true) - of_pass(&dims, &[2], false) - 2.0 * (20.0 + 12.0)).abs() < 1e-9);
    }
}
