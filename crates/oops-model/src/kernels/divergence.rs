//! Kullback-Leibler divergence of a teacher's next-token distribution from a student's.

use rayon::prelude::*;

use super::vector;

/// τ²·Σ_j p_j·(ln p_j − ln q_j) of every row in nats, p = softmax(`teacher`/τ), q = softmax(`student`/τ); both
/// `[rows, vocab]`. τ² keeps the gradient's size (Hinton et al. 2015, arXiv 1503.02531).
///
/// Exponentials are f32, sums f64. Equal rows give exactly 0.
pub(crate) fn row_divergences(student: &[f32], teacher: &[f32], vocab: usize, temperature: f64) -> Vec<f64> {
    let width = vocab.max(1);
    let rows = student.par_chunks_exact(width).zip(teacher.par_chunks_exact(width));
    rows.map(|(s, t)| simd!(|| Pair::new(s, t, temperature).divergence(s, t))).collect()
}

/// [`row_divergences`], and `student` ← their gradient τ·(q − p), row by row.
pub(crate) fn row_divergences_grad(student: &mut [f32], teacher: &[f32], vocab: usize, temperature: f64) -> Vec<f64> {
    let width = vocab.max(1);
    let rows = student.par_chunks_exact_mut(width).zip(teacher.par_chunks_exact(width));
    rows.map(|(s, t)| {
        simd!(|| {
            let pair = Pair::new(s, t, temperature);
            let divergence = pair.divergence(s, t);
            pair.slope(s, t);
            divergence
        })
    })
    .collect()
}

/// Maximum of a row, and Σ e^((x − max)/τ).
struct Side {
    max: f32,
    sum: f64,
}

impl Side {
    #[inline(always)]
    fn new(row: &[f32], inverse: f32) -> Self {
        let max = vector::max(row);
        Self { max, sum: vector::sum_exp_scaled(row, max, inverse) }
    }
}

/// One row of both.
struct Pair {
    student: Side,
    teacher: Side,
    temperature: f64,
    inverse: f32,
}

impl Pair {
    #[inline(always)]
    fn new(student: &[f32], teacher: &[f32], temperature: f64) -> Self {
        let inverse = (1.0 / temperature) as f32;
        Self { student: Side::new(student, inverse), teacher: Side::new(teacher, inverse), temperature, inverse }
    }

    /// Σ p·(t − s)/τ − ln Σ e^(t/τ) + ln Σ e^(s/τ), times τ².
    #[inline(always)]
    fn divergence(&self, student: &[f32], teacher: &[f32]) -> f64 {
        let mut lanes = [0.0_f64; 16];
        for (s, t) in student.chunks(16).zip(teacher.chunks(16)) {
            for ((lane, s), t) in lanes.iter_mut().zip(s).zip(t) {
                *lane += f64::from(vector::exp((t - self.teacher.max) * self.inverse) * (t - s));
            }
        }
        let along = lanes.iter().sum::<f64>() / self.teacher.sum / self.temperature;
        let log = |side: &Side| f64::from(side.max) / self.temperature + side.sum.ln();
        (along - log(&self.teacher) + log(&self.student)) * self.temperature.powi(2)
    }

    #[inline(always)]
    fn slope(&self, student: &mut [f32], teacher: &[f32]) {
        let (q, p) = ((self.temperature / self.student.sum) as f32, (self.temperature / self.teacher.sum) as f32);
        for (s, t) in student.iter_mut().zip(teacher) {
            let own = q * vector::exp((*s - self.student.max) * self.inverse);
            *s = own - p * vector::exp((t - self.teacher.max) * self.inverse);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::noise;

    fn exact(s: &[f32], t: &[f32], temperature: f64) -> (f64, Vec<f64>) {
        let softmax = |row: &[f32]| -> Vec<f64> {
            let e: Vec<f64> = row.iter().map(|v| (f64::from(*v) / temperature).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.iter().map(|v| v / sum).collect()
        };
        let (q, p) = (softmax(s), softmax(t));
        let value = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>() * temperature.powi(2);
        (value, q.iter().zip(&p).map(|(q, p)| temperature * (q - p)).collect())
    }

    #[test]
    fn value_and_gradient_match_the_formula_in_f64() {
        let vocab = 1003;
        let wide = |seed| noise(2 * vocab, seed).iter().map(|v| v * 9.0).collect::<Vec<f32>>();
        let (student, teacher) = (wide(1), wide(2));
        for temperature in [1.0, 2.5] {
            let values = row_divergences(&student, &teacher, vocab, temperature);
            let mut grad = student.clone();
            assert_eq!(row_divergences_grad(&mut grad, &teacher, vocab, temperature), values);
            for row in 0..2 {
                let of = |x: &'_ [f32]| x[row * vocab..(row + 1) * vocab].to_vec();
                let (value, slope) = exact(&of(&student), &of(&teacher), temperature);
                assert!((values[row] - value).abs() < 1e-5 * value, "{} {value}", values[row]);
                assert!(of(&grad).iter().zip(slope).all(|(g, e)| (f64::from(*g) - e).abs() < 1e-6));
            }
        }
    }

    #[test]
    fn equal_rows_have_no_divergence_and_no_gradient() {
        let mut student: Vec<f32> = noise(700, 1).iter().map(|v| v * 30.0).collect();
        let teacher = student.clone();
        assert_eq!(row_divergences_grad(&mut student, &teacher, 350, 1.0), [0.0; 2]);
        assert!(student.iter().all(|g| *g == 0.0));
    }
}
