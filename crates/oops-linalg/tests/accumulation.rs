//! How far f32 sums over a million tokens are from exact ones.
//!
//! A chunk of t tokens is summed in f32 and added to what was there, so that an entry is rounded at most t + chunks times on
//! its way, each time by half a unit in the last place (ε/2 = 2⁻²⁴) of a partial sum that is at most Σ|x_i x_j|:
//! |sum − exact| ≤ (t + chunks)·2⁻²⁴·Σ|x_i x_j|. Roundings go either way, so what is usual is the root of that number.

use oops_core::Rng;
use oops_linalg::{Cross, Gram};

const N: usize = 8;
const CHUNK: usize = 4096;
const CHUNKS: usize = 245;

/// A million tokens: a constant channel (0.1, which f32 does not hold exactly), one with a mean, one with a massive token
/// now and then, and noise.
fn chunk(rng: &mut Rng) -> Vec<f32> {
    let mut x: Vec<f32> = (0..CHUNK * N).map(|_| (rng.uniform() - 0.5) as f32).collect();
    for row in x.chunks_exact_mut(N) {
        row[0] = 0.1;
        row[1] += 0.7;
        row[2] *= if rng.below(500) == 0 { 1000.0 } else { 1.0 };
    }
    x
}

#[test]
fn gram_and_cross_of_a_million_tokens_are_within_their_bounds() {
    let (mut rng, mut gram, mut cross) = (Rng::new(1, "tokens"), Gram::new(N), Cross::new(N, N));
    let (mut exact, mut size) = (vec![0.0f64; N * N], vec![0.0f64; N * N]);
    for _ in 0..CHUNKS {
        let x = chunk(&mut rng);
        gram.add(&x).unwrap();
        cross.add(&x, &x).unwrap();
        for row in x.chunks_exact(N) {
            for (k, (sum, size)) in exact.iter_mut().zip(&mut size).enumerate() {
                let product = f64::from(row[k / N]) * f64::from(row[k % N]);
                (*sum, *size) = (*sum + product, *size + product.abs());
            }
        }
    }
    let cross = cross.scaled(1.0);
    let (mut worst, roundings) = (0.0f64, (CHUNK + CHUNKS) as f64);
    for k in 0..N * N {
        for found in [gram.get(k / N, k % N), cross[k]] {
            let error = (f64::from(found) - exact[k]).abs() / size[k];
            assert!(error <= roundings * 2f64.powi(-24), "entry {k}: {error:e}");
            worst = worst.max(error);
        }
    }
    // What is usual, eight times over: the worst entry (1.8e-5) is the square of the constant channel, whose roundings go the
    // same way for long stretches. It is what the solvers' least damping (1e-4 of the mean diagonal) must drown.
    assert!(worst < 8.0 * roundings.sqrt() * 2f64.powi(-24), "{worst:e}");
    assert!(CHUNK * CHUNKS > 1_000_000 && worst > 0.0);
}
