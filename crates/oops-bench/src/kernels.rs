//! Benchmarks of single computations: products, factor and solve, the selection program.

use oops_core::{Result, Rng};
use oops_linalg::{
    Gram, Linear, f64_product_rate,
    qp::{Budget, budget_qp},
    ridge,
};
use oops_model::gemm_ceiling;

use crate::report::{Figures, figures, timed};

/// Numbers between −1 and 1.
fn numbers(count: usize, purpose: &str) -> Vec<f32> {
    let mut rng = Rng::new(0, purpose);
    (0..count).map(|_| (2.0 * rng.uniform() - 1.0) as f32).collect()
}

/// What matrix products reach here: f32 through the tensor library, f64 through the linear algebra library.
pub fn gemm() -> Result<Figures> {
    Ok(figures([("gemm_ceiling_gflops", gemm_ceiling()?), ("f64_product_gflops", f64_product_rate())]))
}

/// Size of a Gram product.
#[derive(Clone, Copy, Debug)]
pub struct GramSize {
    /// n, width of a site.
    pub channels: usize,
    /// Tokens that are added at once.
    pub rows: usize,
}

/// Gram accumulation beside the rate at which half of a square product would run: n(n + 1) operations per row.
pub fn gram(size: GramSize) -> Result<Figures> {
    let x = numbers(size.rows * size.channels, "gram");
    let mut gram = Gram::new(size.channels);
    gram.add(&x)?;
    let ceiling = gemm_ceiling()?;
    let (seconds, done) = timed(|| (0..3).try_for_each(|_| gram.add(&x)));
    done?;
    let (n, rows) = (size.channels as f64, size.rows as f64);
    let gflops = 3.0 * rows * n * (n + 1.0) / seconds / 1e9;
    Ok(figures([
        ("gflops", gflops),
        ("gemm_ceiling_gflops", ceiling),
        ("share_of_symmetric_rate", gflops / ceiling),
        ("seconds", seconds / 3.0),
    ]))
}

/// Size of a repair.
#[derive(Clone, Copy, Debug)]
pub struct SolveSize {
    /// Channels before the cut.
    pub channels: usize,
    /// Of them, those that stay.
    pub kept: usize,
    /// Right-hand sides: outputs of the module.
    pub outputs: usize,
}

impl SolveSize {
    /// Operations of a ridge repair: the right sides H_SP W_P, the factor n³/3, two triangular solves.
    fn flops(self) -> f64 {
        let (k, d) = (self.kept as f64, self.outputs as f64);
        2.0 * k * (self.channels - self.kept) as f64 * d + k.powi(3) / 3.0 + 2.0 * k * k * d
    }
}

/// A ridge repair (all f64) beside the rate of f64 products.
pub fn solve(size: SolveSize) -> Result<Figures> {
    let SolveSize { channels: n, kept, outputs } = size;
    let mut gram = Gram::new(n);
    // Fewer rows than channels are enough: damping makes the matrix definite, and no step depends on the values.
    let rows = n.min(512);
    gram.add(&numbers(rows * n, "solve"))?;
    gram.scale(1.0 / rows as f32);
    let weight = numbers(n * outputs, "weight");
    let linear = Linear::new(gram.view(), &weight, outputs)?;
    // Spread evenly, as a plan's are.
    let kept: Vec<usize> = (0..kept).map(|i| i * n / kept).collect();
    let ceiling = f64_product_rate();
    let (seconds, repaired) = timed(|| ridge(&linear, &kept, 1e-2));
    std::hint::black_box(repaired?);
    let gflops = size.flops() / seconds / 1e9;
    Ok(figures([
        ("seconds", seconds),
        ("gflops", gflops),
        ("f64_product_gflops", ceiling),
        ("share_of_f64_product_rate", gflops / ceiling),
    ]))
}

/// The selection program over `units` units in `blocks` blocks, 30 % removed, prior on.
pub fn select(units: usize, blocks: usize) -> Result<Figures> {
    let scores: Vec<f64> = numbers(units, "scores").iter().map(|x| f64::from(5.0 * x).exp()).collect();
    let groups: Vec<usize> = (0..units).map(|i| i % blocks).collect();
    let budget = Budget {
        scores: &scores,
        costs: &vec![1.0; units],
        groups: &groups,
        protected: &vec![false; units],
        prior: &vec![0.7; blocks],
        gamma: 0.5,
        keep_fraction: 0.7,
        least: &vec![0.2; blocks],
        most: &vec![1.0; blocks],
        rows: &[],
    };
    let (seconds, found) = timed(|| budget_qp(&budget));
    let found = found?;
    Ok(figures([
        ("seconds", seconds),
        ("units_per_s", units as f64 / seconds),
        ("iterations", f64::from(found.iterations)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_a_repair_are_counted_as_by_hand() {
        // 2 kept of 5, 3 outputs: 2·2·3·3 + 8/3 + 2·4·3.
        let size = SolveSize { channels: 5, kept: 2, outputs: 3 };
        assert!((size.flops() - (36.0 + 8.0 / 3.0 + 24.0)).abs() < 1e-12);
    }

    #[test]
    fn kernels_run_at_any_size() {
        assert!(gram(GramSize { channels: 3, rows: 5 }).unwrap()["gflops"] > 0.0);
        assert!(solve(SolveSize { channels: 9, kept: 4, outputs: 2 }).unwrap()["seconds"] > 0.0);
        assert!(select(64, 4).unwrap()["iterations"] > 0.0);
    }
}
