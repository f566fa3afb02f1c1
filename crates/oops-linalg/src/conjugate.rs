//! Preconditioned conjugate gradients for A x = b, A symmetric positive definite and known only by its products.
//!
//! The caller multiplies: it may stop after any step, and the iterates, which start at 0 and grow along the largest
//! eigenvalues first, are a path of ever weaker regularisation.
//!
//! *Reference.* Hestenes & Stiefel 1952; Nocedal & Wright, Numerical Optimization, algorithm 5.3.

use rayon::prelude::*;

/// Values per task and partial sum: fixed, so that the order of additions is.
const CHUNK: usize = 1 << 14;

/// The state between two steps.
pub struct Conjugate {
    x: Vec<f32>,
    residual: Vec<f32>,
    direction: Vec<f32>,
    /// rᵀ M⁻¹ r.
    energy: f64,
}

impl Conjugate {
    /// At x = 0, with `b` and M⁻¹ b, M being the preconditioner.
    pub fn new(b: Vec<f32>, preconditioned: Vec<f32>) -> Self {
        let energy = dot(&b, &preconditioned);
        Self { x: vec![0.0; b.len()], residual: b, direction: preconditioned, energy }
    }

    /// The direction p of the next step, of which [`Self::advance`] wants the product A p.
    pub fn direction(&self) -> &[f32] {
        &self.direction
    }

    /// b − A x.
    pub fn residual(&self) -> &[f32] {
        &self.residual
    }

    /// x.
    pub fn solution(&self) -> &[f32] {
        &self.x
    }

    /// Goes along p to where ½ xᵀA x − bᵀx is least. False, and nothing moves, if A p says that there is no such point: the
    /// residual is 0, or the product is not that of a positive definite matrix, or not finite.
    pub fn advance(&mut self, product: &[f32]) -> bool {
        let along = dot(&self.direction, product);
        let length = self.energy / along;
        if along.is_nan() || along <= 0.0 || !length.is_finite() || length == 0.0 {
            return false;
        }
        add(&mut self.x, length as f32, &self.direction);
        add(&mut self.residual, -length as f32, product);
        true
    }

    /// Turns p for the next step; `preconditioned` is M⁻¹ times the residual.
    pub fn turn(&mut self, preconditioned: &[f32]) {
        let energy = dot(&self.residual, preconditioned);
        let keep = (energy / self.energy) as f32;
        self.direction.par_chunks_mut(CHUNK).zip(preconditioned.par_chunks(CHUNK)).for_each(|(p, z)| {
            p.iter_mut().zip(z).for_each(|(p, z)| *p = z + keep * *p);
        });
        self.energy = energy;
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let part = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(part).collect::<Vec<_>>().iter().sum()
}

/// `x` ← `x` + `factor`·`y`.
fn add(x: &mut [f32], factor: f32, y: &[f32]) {
    let add = |(x, y): (&mut [f32], &[f32])| x.iter_mut().zip(y).for_each(|(x, y)| *x += factor * y);
    x.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(add);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::normal;
    use crate::{Gram, RowSolver};

    const N: usize = 12;

    /// A Gram matrix, its product and a right side.
    fn case() -> (Gram, impl Fn(&[f32]) -> Vec<f32>, Vec<f32>) {
        let mut gram = Gram::new(N);
        gram.add(&normal(1, 40 * N)).unwrap();
        gram.scale(1.0 / 40.0);
        let h = gram.clone();
        let product = move |x: &[f32]| (0..N).map(|i| (0..N).map(|j| h.view().get(i, j) as f32 * x[j]).sum()).collect();
        (gram, product, normal(2, N))
    }

    #[test]
    fn n_steps_solve_n_equations_and_every_step_lowers_the_quadratic() {
        let (_, product, b) = case();
        let mut cg = Conjugate::new(b.clone(), b.clone());
        let value = |x: &[f32]| 0.5 * dot(x, &product(x)) - dot(&b, x);
        let mut last = 0.0;
        for _ in 0..N {
            assert!(cg.advance(&product(cg.direction())));
            assert!(value(cg.solution()) <= last + 1e-6);
            last = value(cg.solution());
            let residual = cg.residual().to_vec();
            cg.turn(&residual);
        }
        let x = product(cg.solution());
        assert!(x.iter().zip(&b).all(|(x, b)| (x - b).abs() < 1e-3), "{x:?} {b:?}");
    }

    #[test]
    fn the_inverse_as_preconditioner_needs_one_step() {
        let (gram, product, b) = case();
        let mut z = b.clone();
        RowSolver::new(&gram.view(), 0.0).unwrap().solve(&mut z).unwrap();
        let mut cg = Conjugate::new(b.clone(), z);
        assert!(cg.advance(&product(cg.direction())));
        assert!(cg.residual().iter().all(|r| r.abs() < 1e-4), "{:?}", cg.residual());
    }

    #[test]
    fn what_is_no_product_of_a_positive_matrix_moves_nothing() {
        let mut cg = Conjugate::new(vec![1.0, 1.0], vec![1.0, 1.0]);
        for product in [[-1.0, 0.0], [0.0, 0.0], [f32::NAN, 1.0]] {
            assert!(!cg.advance(&product) && cg.solution() == [0.0, 0.0]);
        }
        assert!(!Conjugate::new(vec![0.0], vec![0.0]).advance(&[1.0]), "a residual of 0 has nowhere to go");
    }
}
