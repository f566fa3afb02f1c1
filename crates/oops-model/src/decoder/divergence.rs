//! How far a student's next-token distributions are from a teacher's, and the gradient at the student's last residual
//! stream, a few rows of logits at a time.

use candle_core::Tensor;
use oops_core::{Fault, Result, bail_if};

use super::{
    Decoder,
    fast::matrix,
    flat::{Flat, flat},
};
use crate::{kernels, lift::Lift};

/// Logits of one model that exist at once: 128 MiB of them.
const LOGITS: usize = 1 << 25;
/// Most rows of logits at once, whatever the vocabulary.
const ROWS: usize = 1024;

/// What follows the last block: logits = norm(x)·Wᵀ.
#[derive(Clone)]
pub struct Head {
    /// Weight of the last RMSNorm, `[hidden]`.
    pub norm: Tensor,
    /// W, `[vocab, hidden]`.
    pub weight: Tensor,
}

/// The divergence to compute.
pub struct Divergence<'a> {
    /// The student's head.
    pub student: &'a Head,
    /// The teacher's W, `[vocab, hidden]`.
    pub teacher: &'a Tensor,
    /// τ: both models' logits are divided by it.
    pub temperature: f64,
}

impl Decoder {
    /// RMSNorm of every row of `x` `[N, hidden]`: what a head's product sees.
    pub fn normed(&self, norm: &Tensor, x: &Tensor) -> Result<Tensor> {
        let rows = x.dim(0).lift()?;
        bail_if(x.dims() != [rows, self.hidden] || norm.dims() != [self.hidden], || {
            Fault::internal(format!("norm {:?} of hidden states {:?}", norm.dims(), x.dims()))
        })?;
        let mut h = vec![0.0; rows * self.hidden];
        kernels::rms_norm(&flat(x)?, &flat(norm)?, self.norm_eps, &mut h);
        matrix(h, rows, self.hidden)
    }

    /// τ²·KL(teacher ‖ student) of every token in nats: `x` `[N, hidden]` is the student's stream after its last block,
    /// `teacher` `[N, hidden]` the normalised stream that the teacher's head sees ([`Decoder::normed`]).
    pub fn divergence(&self, d: &Divergence<'_>, x: &Tensor, teacher: &Tensor) -> Result<Vec<f64>> {
        Ok(self.walk(d, x, teacher, None)?.0)
    }

    /// [`Decoder::divergence`], and the gradient of `scale` times its sum at `x`, `[N, hidden]`.
    pub fn divergence_grad(
        &self,
        d: &Divergence<'_>,
        x: &Tensor,
        teacher: &Tensor,
        scale: f64,
    ) -> Result<(Vec<f64>, Tensor)> {
        let (values, grad) = self.walk(d, x, teacher, Some(scale as f32))?;
        Ok((values, matrix(grad, x.dim(0).lift()?, self.hidden)?))
    }

    /// Divergences and, with a scale, gradients, in equal pieces of rows.
    fn walk(
        &self,
        d: &Divergence<'_>,
        x: &Tensor,
        teacher: &Tensor,
        scale: Option<f32>,
    ) -> Result<(Vec<f64>, Vec<f32>)> {
        let (rows, vocab) = (x.dim(0).lift()?, d.student.weight.dim(0).lift()?);
        let heads = d.student.weight.dims() == [vocab, self.hidden] && d.teacher.dims() == [vocab, self.hidden];
        bail_if(!heads || x.dims() != [rows, self.hidden] || teacher.dims() != x.dims(), || {
            Fault::internal(format!("hidden states {:?} and {:?} over {vocab} tokens", x.dims(), teacher.dims()))
        })?;
        let heads =
            Heads { norm: flat(&d.student.norm)?, own: flat(&d.student.weight)?, theirs: flat(d.teacher)?, vocab };
        let (x, teacher) = (flat(x)?, flat(teacher)?);
        let (mut values, mut grad) = (Vec::with_capacity(rows), Vec::new());
        let pieces = rows.div_ceil((LOGITS / vocab.max(1)).clamp(16, ROWS)).max(1);
        let size = self.hidden.max(1) * rows.div_ceil(pieces).max(1);
        for (x, teacher) in x.chunks(size).zip(teacher.chunks(size)) {
            let (value, slope) = self.piece(&heads, x, teacher, d.temperature, scale);
            values.extend(value);
            grad.extend(slope);
        }
        Ok((values, grad))
    }

    fn piece(
        &self,
        heads: &Heads<'_>,
        x: &[f32],
        teacher: &[f32],
        temperature: f64,
        scale: Option<f32>,
    ) -> (Vec<f64>, Vec<f32>) {
        let (rows, vocab) = (x.len() / self.hidden.max(1), heads.vocab);
        let mut h = vec![0.0; x.len()];
        kernels::rms_norm(x, &heads.norm, self.norm_eps, &mut h);
        let mut own = kernels::linear(&h, rows, &heads.own, None, vocab);
        let theirs = kernels::linear(teacher, rows, &heads.theirs, None, vocab);
        let Some(scale) = scale else {
            return (kernels::row_divergences(&own, &theirs, vocab, temperature), Vec::new());
        };
        let values = kernels::row_divergences_grad(&mut own, &theirs, vocab, temperature);
        drop(theirs);
        h.fill(0.0);
        kernels::linear_grad(&mut h, &own, rows, &heads.own, vocab);
        h.iter_mut().for_each(|v| *v *= scale);
        (values, kernels::rms_norm_grad(x, &heads.norm, &h, self.norm_eps).0)
    }
}

/// The heads' weights as slices.
struct Heads<'a> {
    norm: Flat<'a>,
    own: Flat<'a>,
    theirs: Flat<'a>,
    vocab: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Family,
        fixtures::{config, random},
    };

    #[test]
    fn the_gradient_is_the_slope_and_vanishes_at_the_teacher() {
        let (hidden, rows) = (16, 11);
        let d = Decoder::new(&config(Family::Llama, hidden, vec![]), 8).unwrap();
        let student = Head { norm: random(&[hidden], 1, 1.0), weight: random(&[50, hidden], 2, 1.0) };
        let other = random(&[50, hidden], 3, 1.0);
        let (x, teacher) = (random(&[rows, hidden], 4, 1.0), random(&[rows, hidden], 5, 1.0));
        for temperature in [1.0, 2.0] {
            let law = Divergence { student: &student, teacher: &other, temperature };
            let (values, grad) = d.divergence_grad(&law, &x, &teacher, 0.5).unwrap();
            assert_eq!(values, d.divergence(&law, &x, &teacher).unwrap());
            let size = crate::values(&grad).unwrap().iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let step = 1e-2 / size;
            let at = |sign: f64| {
                let x = (&x + (&grad * (sign * step)).unwrap()).unwrap();
                0.5 * d.divergence(&law, &x, &teacher).unwrap().iter().sum::<f64>()
            };
            // Along the gradient itself the slope is its norm.
            let slope = (at(1.0) - at(-1.0)) / (2.0 * step * size);
            assert!((slope - size).abs() < 2e-3 * size, "{slope} {size}");
        }
        let law = Divergence { student: &student, teacher: &student.weight, temperature: 1.0 };
        let own = d.normed(&student.norm, &x).unwrap();
        let (values, grad) = d.divergence_grad(&law, &x, &own, 1.0).unwrap();
        assert!(values.iter().all(|v| *v == 0.0) && crate::values(&grad).unwrap().iter().all(|v| *v == 0.0));
        assert!(d.divergence(&law, &x, &own.narrow(0, 0, 3).unwrap()).is_err());
    }
}
