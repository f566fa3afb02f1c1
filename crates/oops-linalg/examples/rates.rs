//! Prints the rate of `Gram::add` beside faer's own full product, in GFLOP/s of the symmetric half, and the seconds of
//! a repair and its judgement. Arguments: channels and outputs of the repair (1536 576 unless told).

use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use oops_linalg::{Gram, Linear, Symmetric, obs_channels, reconstruction_error, ridge};

/// Repeatable numbers between −1 and 1 without structure.
fn numbers(count: usize) -> Vec<f32> {
    let scramble = |i: usize| {
        let z = (i as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
    };
    (0..count).map(|i| (scramble(i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

fn best(mut f: impl FnMut()) -> f64 {
    let timed = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        seconds(start)
    };
    (0..8).map(|_| timed(&mut f)).fold(f64::INFINITY, f64::min)
}

#[expect(clippy::print_stdout, reason = "a benchmark talks")]
fn grams() {
    let rows = 4096;
    for n in [576, 1536, 4096] {
        let x = numbers(rows * n);
        let mut gram = Gram::new(n);
        let ours = best(|| gram.add(&x).unwrap());
        let view = MatRef::from_row_major_slice(&x, rows, n);
        let mut full = Mat::<f32>::zeros(n, n);
        let theirs = best(|| matmul(full.as_mut(), Accum::Add, view.transpose(), view, 1.0, Par::rayon(0)));
        let flop = rows as f64 * n as f64 * n as f64 / 1e9;
        println!("n {n}: gram {:.1} GF/s of the half, full product {:.1} GF/s", flop / ours, 2.0 * flop / theirs);
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark talks")]
fn repair(n: usize, d: usize) {
    let mut gram = Gram::new(n);
    gram.add(&numbers(n * n)).unwrap();
    gram.scale(1.0 / n as f32);
    let (packed, weight) = (gram.to_packed(), numbers(n * d));
    drop(gram);
    let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &weight, d).unwrap();
    let kept: Vec<usize> = (0..n).filter(|j| j % 10 > 2).collect();
    let start = Instant::now();
    let repaired = ridge(&linear, &kept, 1e-3).unwrap();
    println!(
        "n {n} d {d}: ridge {:.2} s, {:?}, condition {:.1e}",
        seconds(start),
        repaired.status,
        repaired.condition.unwrap()
    );
    let start = Instant::now();
    let error = reconstruction_error(&linear, &kept, &repaired.weight, None).unwrap();
    println!("reconstruction error {error:.4} in {:.2} s", seconds(start));
    let start = Instant::now();
    let scores = obs_channels(&linear, 1e-3).unwrap().values.len();
    println!("{scores} OBS scores in {:.2} s", seconds(start));
}

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    if let [n, d] = arguments[..] {
        repair(n, d);
    } else {
        grams();
        repair(1536, 576);
    }
}
