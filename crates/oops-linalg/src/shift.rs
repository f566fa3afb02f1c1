//! Repairs whose target is not the map's own output X W but X W + D: another stream's output, or what a residual stream
//! lacks.
//!
//! D enters through two statistics alone, G = XᵀD / T (n × d) and mean ‖d‖². With Δ = V̂ − W (V̂ is V padded with zero
//! rows) the mean squared error of V is tr(ΔᵀHΔ) − 2 tr(ΔᵀG) + mean ‖d‖²; its minimiser adds G_S to the right side of
//! [`crate::ridge`]. Small D loses no digits to X W, as XᵀY with Y = X W + D would.

use oops_core::{Fault, Result, bail_if, finite::at_least_zero};

use crate::error::{error_energy, output_energy};
use crate::linear::Linear;

/// What the target has beyond the map's own output.
#[derive(Clone, Copy, Debug)]
pub struct Shift<'a> {
    /// G = XᵀD / T, n × outputs, row-major.
    pub cross: &'a [f32],
    /// mean ‖d‖².
    pub energy: f64,
}

impl Shift<'_> {
    pub(crate) fn check(&self, linear: &Linear<'_>) -> Result<()> {
        let (n, d) = (linear.channels(), linear.outputs());
        bail_if(self.cross.len() != n * d, || {
            Fault::internal(format!("a shift of {n} × {d} needs {} entries", n * d))
        })?;
        let finite = self.energy.is_finite() && self.cross.iter().all(|v| v.is_finite());
        bail_if(!finite, || Fault::data("the target of a repair has an entry that is not finite"))
    }

    /// tr(ΔᵀG).
    fn along(&self, linear: &Linear<'_>, kept: &[usize], repaired: &[f32]) -> f64 {
        let d = linear.outputs();
        let row = |j: usize| &self.cross[j * d..(j + 1) * d];
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let own: f64 = (0..linear.channels()).map(|j| dot(linear.row(j), row(j))).sum();
        kept.iter().enumerate().map(|(i, &j)| dot(&repaired[i * d..(i + 1) * d], row(j))).sum::<f64>() - own
    }
}

/// The mean squared error of `repaired` (|S| × outputs, rows of `kept`) against X W + D, and the target's own energy.
pub fn shifted_error(linear: &Linear<'_>, kept: &[usize], repaired: &[f32], shift: &Shift<'_>) -> Result<[f64; 2]> {
    shift.check(linear)?;
    let own = error_energy(linear, kept, repaired, None)?;
    let error = own - 2.0 * shift.along(linear, kept, repaired) + shift.energy;
    // Δ = −W is no output at all: its error is the energy.
    let energy = output_energy(linear) - 2.0 * shift.along(linear, &[], &[]) + shift.energy;
    Ok([at_least_zero(error), at_least_zero(energy)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::normal;
    use crate::{Cross, Gram};

    #[test]
    fn a_case_worked_by_hand() {
        // x = (1, 1), W = (3, 4)ᵀ, D = 2: the target is 9; V = 5 on channel 0 misses it by 4.
        let linear = Linear::new(crate::Symmetric::packed(2, &[1.0; 3]).unwrap(), &[3.0, 4.0], 1).unwrap();
        let shift = Shift { cross: &[2.0, 2.0], energy: 4.0 };
        assert_eq!(shifted_error(&linear, &[0], &[5.0], &shift).unwrap(), [16.0, 81.0]);
        assert!(shifted_error(&linear, &[0], &[5.0], &Shift { cross: &[2.0], energy: 4.0 }).is_err());
    }

    #[test]
    fn equals_the_error_of_the_outputs_themselves() {
        let (rows, n, d) = (40, 30, 4);
        let (x, w, shift) = (normal(1, rows * n), normal(2, n * d), normal(3, rows * d));
        let (mut gram, mut cross) = (Gram::new(n), Cross::new(n, d));
        gram.add(&x).unwrap();
        gram.scale(1.0 / rows as f32);
        cross.add(&x, &shift).unwrap();
        let (cross, kept) = (cross.scaled(1.0 / rows as f32), (0..20).collect::<Vec<_>>());
        let v = normal(4, 20 * d);
        let (mut error, mut energy, mut own) = (0.0, 0.0, 0.0);
        for t in 0..rows {
            for k in 0..d {
                let y = |m: &[f32]| (0..m.len() / d).map(|j| f64::from(x[t * n + j] * m[j * d + k])).sum::<f64>();
                let target = y(&w) + f64::from(shift[t * d + k]);
                error += (y(&v) - target).powi(2) / rows as f64;
                energy += target.powi(2) / rows as f64;
                own += f64::from(shift[t * d + k]).powi(2) / rows as f64;
            }
        }
        let linear = Linear::new(gram.view(), &w, d).unwrap();
        let found = shifted_error(&linear, &kept, &v, &Shift { cross: &cross, energy: own }).unwrap();
        assert!((found[0] / error - 1.0).abs() < 1e-5 && (found[1] / energy - 1.0).abs() < 1e-5, "{found:?}");
    }
}
