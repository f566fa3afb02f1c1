//! Statistics of one module's input, accumulated over the batches of a walk.

use oops_artifact::{Rows, Split};
use oops_core::Result;
use oops_linalg::{Cross, Gram};
use rayon::prelude::*;

use crate::problem::{Shift, SiteTokens, Tokens};

/// Channels, or values, per task: fixed, so that the order of additions never depends on the thread count.
const TILE: usize = 64;
const VALUES: usize = 1 << 14;

/// Sums over the tokens of both splits.
pub(crate) struct Gather([Sums; 2]);

struct Sums {
    count: u64,
    gram: Gram,
    sum: Vec<f64>,
    shift: Option<(Cross, f64)>,
}

impl Gather {
    /// For `channels` channels; with `outputs`, also of a target beyond the module's own output.
    pub(crate) fn new(channels: usize, outputs: Option<usize>) -> Self {
        let sums = |_| Sums {
            count: 0,
            gram: Gram::new(channels),
            sum: vec![0.0; channels],
            shift: outputs.map(|d| (Cross::new(channels, d), 0.0)),
        };
        Self(Split::ALL.map(sums))
    }

    /// Adds the rows of a batch: channels `x`, and with them the rows of D, each to the split that `parts` says.
    pub(crate) fn add(&mut self, parts: &Rows, x: &[f32], d: Option<&[f32]>) -> Result<()> {
        let (n, outputs) = (self.0[0].sum.len(), self.0[0].shift.as_ref().map_or(0, |(cross, _)| cross.outputs()));
        parts.parts().try_for_each(|(split, part)| {
            let d = d.map(|d| part.of(d, outputs));
            self.0[split as usize].add(&part.of(x, n), d.as_deref())
        })
    }

    /// The statistics; there must have been fit tokens.
    pub(crate) fn finish(self) -> SiteTokens {
        let [fit, heldout] = self.0;
        let counts = [fit.count, heldout.count];
        SiteTokens { fit: fit.finish(), heldout: (heldout.count > 0).then(|| heldout.finish()), counts }
    }
}

impl Sums {
    fn add(&mut self, x: &[f32], d: Option<&[f32]>) -> Result<()> {
        let n = self.sum.len();
        self.count += x.len().checked_div(n).unwrap_or(0) as u64;
        self.gram.add(x)?;
        self.sum.par_chunks_mut(TILE).enumerate().for_each(|(tile, sum)| {
            for row in x.chunks_exact(n) {
                sum.iter_mut().zip(&row[tile * TILE..]).for_each(|(s, &v)| *s += f64::from(v));
            }
        });
        if let (Some((cross, energy)), Some(d)) = (&mut self.shift, d) {
            cross.add(x, d)?;
            let square = |part: &[f32]| part.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            *energy += d.par_chunks(VALUES).map(square).collect::<Vec<_>>().iter().sum::<f64>();
        }
        Ok(())
    }

    fn finish(mut self) -> Tokens {
        let scale = 1.0 / self.count.max(1) as f64;
        self.gram.scale(scale as f32);
        let shift = self.shift.map(|(c, energy)| Shift { cross: c.scaled(scale as f32), energy: energy * scale });
        Tokens { gram: self.gram.to_packed(), mean: self.sum.iter().map(|s| s * scale).collect(), shift }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_worked_by_hand() {
        let mut gather = Gather::new(2, Some(1));
        let parts = Rows::new(&[false, true, false]);
        gather.add(&parts, &[1.0, 2.0, 5.0, 0.0, 3.0, 4.0], Some(&[1.0, 2.0, 1.0])).unwrap();
        let tokens = gather.finish();
        assert_eq!(
            (tokens.counts, &tokens.fit.gram[..], &tokens.fit.mean[..]),
            ([2, 1], &[5.0, 7.0, 10.0][..], &[2.0, 3.0][..])
        );
        let heldout = tokens.heldout.unwrap();
        let shift = heldout.shift.unwrap();
        assert_eq!((heldout.gram, shift.cross, shift.energy), (vec![25.0, 0.0, 0.0], vec![10.0, 0.0], 4.0));
        assert!(Gather::new(2, None).finish().heldout.is_none());
    }

    #[test]
    fn all_tokens_together_are_the_same_whichever_of_them_judge() {
        let x: Vec<f32> = (0..60).map(|i| ((i * 7) % 11) as f32 - 5.0).collect();
        let d: Vec<f32> = (0..30).map(|i| ((i * 5) % 7) as f32 - 3.0).collect();
        let all = |judging: &dyn Fn(usize) -> bool| {
            let mut gather = Gather::new(2, Some(1));
            gather.add(&Rows::new(&(0..30).map(judging).collect::<Vec<_>>()), &x, Some(&d)).unwrap();
            gather.finish().all()
        };
        let (one, other) = (all(&|_| false), all(&|i| i % 4 == 1 || i > 20));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-5 * (1.0 + b.abs());
        let of = |t: &crate::problem::Tokens| {
            let shift = t.shift.as_ref().unwrap();
            let parts = [&t.gram, &shift.cross].into_iter().flatten().map(|&v| f64::from(v));
            parts.chain(t.mean.iter().copied()).chain([shift.energy]).collect::<Vec<_>>()
        };
        assert!(of(&one).iter().zip(of(&other)).all(|(a, b)| near(*a, b)), "{:?} {:?}", of(&one), of(&other));
    }
}
