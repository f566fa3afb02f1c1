//! Prints how long the quadratic programs take at the size of a 7-billion-parameter model: the budget program, carriers
//! for a block's removed channels, and a bounded repair of a smaller map. Argument: channels (11008 unless told).

use std::time::Instant;

use oops_linalg::qp::{Budget, TransferOptions, budget_qp, transfer};
use oops_linalg::{Gram, Linear, ridge_bounded};

/// Repeatable numbers between −1 and 1 without structure.
fn numbers(count: usize) -> Vec<f32> {
    let scramble = |i: usize| {
        let z = (i as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
    };
    (0..count).map(|i| (scramble(i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// Correlated channels of uneven strength, as many rows as channels.
fn gram(n: usize) -> Gram {
    let mut gram = Gram::new(n);
    for chunk in numbers(n * n).chunks_mut(n * 1024) {
        for row in chunk.chunks_mut(n) {
            (1..n).for_each(|j| row[j] += 0.6 * row[j - 1]);
            row[n / 3] *= 1e3;
        }
        gram.add(chunk).unwrap();
    }
    gram.scale(1.0 / n as f32);
    gram
}

#[expect(clippy::print_stdout, reason = "a benchmark talks")]
fn budget(units: usize, groups: usize) {
    let scores: Vec<f64> = numbers(units).iter().map(|x| f64::from(5.0 * x).exp()).collect();
    let group: Vec<usize> = (0..units).map(|i| i % groups).collect();
    for gamma in [0.0, 0.5] {
        let found = budget_qp(&Budget {
            scores: &scores,
            costs: &vec![1.0; units],
            groups: &group,
            protected: &vec![false; units],
            prior: &vec![0.7; groups],
            gamma,
            keep_fraction: 0.7,
            least: &vec![0.2; groups],
            most: &vec![1.0; groups],
            rows: &[],
        })
        .unwrap();
        println!(
            "budget of {units} units, γ {gamma}: {:.1} s, {} iterations, {:?}, {} fractional",
            found.seconds, found.iterations, found.status, found.fractional
        );
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark talks")]
fn carriers(n: usize, d: usize) {
    let (gram, weight) = (gram(n), numbers(n * d));
    let linear = Linear::new(gram.view(), &weight, d).unwrap();
    let kept: Vec<usize> = (0..n).filter(|j| j % 10 > 2).collect();
    let means: Vec<f64> = (0..n).map(|j| 0.1 * f64::from(gram.get(j, j)).sqrt()).collect();
    for (neighbours, bound, total) in [(32, None, None), (32, Some(0.3), None), (64, Some(0.3), Some(1.0))] {
        let options = TransferOptions { neighbours, lambda: 1e-3, means: Some(&means), bound, total };
        let start = Instant::now();
        let found = transfer(&linear, &kept, &options).unwrap();
        let iterated = found.carriers.iter().filter(|c| c.iterations > 0).count();
        let bad = found.carriers.iter().filter(|c| !c.status.is_usable()).count();
        let removed = found.carriers.len();
        println!(
            "{removed} carriers of {neighbours} (β {bound:?}, κ {total:?}): {:.1} s, {iterated} iterated, {bad} unusable",
            start.elapsed().as_secs_f64()
        );
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark talks")]
fn bounded(n: usize, d: usize) {
    let (gram, weight) = (gram(n), numbers(n * d));
    let linear = Linear::new(gram.view(), &weight, d).unwrap();
    let kept: Vec<usize> = (0..n).filter(|j| j % 10 > 2).collect();
    for width in [0.3, 1.0] {
        let start = Instant::now();
        let b = ridge_bounded(&linear, &kept, 1e-3, width).unwrap();
        println!(
            "bounded repair of {n} × {d}, box {width}: {:.1} s, {:?}, {} of {d} outputs active, {} steps, residual {:.0e}",
            start.elapsed().as_secs_f64(),
            b.status,
            b.active,
            b.steps,
            b.residual
        );
    }
}

fn main() {
    let n = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(11_008);
    budget(353_280, 32);
    bounded(1536, 576);
    carriers(n, 4096);
}
