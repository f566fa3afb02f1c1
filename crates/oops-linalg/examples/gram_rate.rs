//! Prints the rate of `Gram::add` beside faer's own full product, in GFLOP/s of the symmetric half.

use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use oops_linalg::Gram;

fn best(mut f: impl FnMut()) -> f64 {
    let timed = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| timed(&mut f)).fold(f64::INFINITY, f64::min)
}

#[expect(clippy::print_stdout, reason = "a benchmark talks")]
fn main() {
    let rows = 4096;
    for n in [576, 1536, 4096] {
        let x: Vec<f32> = (0..rows * n).map(|i| ((i * 7919) % 1013) as f32 / 500.0 - 1.0).collect();
        let mut gram = Gram::new(n);
        let ours = best(|| gram.add(&x).unwrap());
        let view = MatRef::from_row_major_slice(&x, rows, n);
        let mut full = Mat::<f32>::zeros(n, n);
        let theirs = best(|| matmul(full.as_mut(), Accum::Add, view.transpose(), view, 1.0, Par::rayon(0)));
        let flop = rows as f64 * n as f64 * n as f64 / 1e9;
        println!("n {n}: gram {:.1} GF/s of the half, full product {:.1} GF/s", flop / ours, 2.0 * flop / theirs);
    }
}
