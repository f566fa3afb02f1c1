//! Row order of query and key projections. Converters of the llama architecture store each head's rows for rotary
//! embedding of adjacent pairs (2i, 2i+1); we rotate halves (i, i + d/2), as Hugging Face does. Rows of a head of d
//! channels therefore move: half-split row c·d/2 + i is stored as row 2i + c, c ∈ {0, 1}.

/// Stored row of each half-split row of a head of `d` channels (d even).
fn stored_row(row: usize, d: usize) -> usize {
    2 * (row % (d / 2)) + row / (d / 2)
}

/// Brings `values` (`heads·d` rows of `width` values, interleaved order) into half-split order; a bias has width 1.
pub(super) fn unpermute(values: &[f32], d: usize, width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(d * width) {
        for row in 0..d {
            let from = stored_row(row, d) * width;
            out.extend_from_slice(&head[from..from + width]);
        }
    }
    out
}

/// The inverse: half-split to interleaved, as converters do it.
pub(super) fn permute(values: &[f32], d: usize, width: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (head, to) in values.chunks_exact(d * width).zip(out.chunks_exact_mut(d * width)) {
        for (row, values) in head.chunks_exact(width).enumerate() {
            let at = stored_row(row, d) * width;
            to[at..at + width].copy_from_slice(values);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_six_by_hand() {
        // Stored pairs (0,3) (1,4) (2,5) of the half-split order.
        assert_eq!(unpermute(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0], 6, 1), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn unpermuting_undoes_permuting() {
        for (heads, d, width) in [(1, 2, 3), (3, 8, 5), (2, 64, 1)] {
            let x: Vec<f32> = (0..heads * d * width).map(|i| i as f32).collect();
            assert_eq!(unpermute(&permute(&x, d, width), d, width), x);
            assert_eq!(permute(&unpermute(&x, d, width), d, width), x);
        }
    }

    /// Rotating stored pairs (2i, 2i+1) equals rotating halves (i, i + d/2) of the un-permuted rows.
    #[test]
    fn both_orders_rotate_alike() {
        let d = 8;
        let angle = |i: usize| 0.3 + i as f32;
        let rotate = |a: f32, b: f32, t: f32| (a * t.cos() - b * t.sin(), a * t.sin() + b * t.cos());
        let stored: Vec<f32> = (0..d).map(|i| (i * i) as f32 - 3.0).collect();
        let half = unpermute(&stored, d, 1);
        let mut turned = vec![0.0; d];
        for i in 0..d / 2 {
            (turned[2 * i], turned[2 * i + 1]) = rotate(stored[2 * i], stored[2 * i + 1], angle(i));
        }
        let turned = unpermute(&turned, d, 1);
        for i in 0..d / 2 {
            assert_eq!((turned[i], turned[i + d / 2]), rotate(half[i], half[i + d / 2], angle(i)));
        }
    }
}
