//! Per-channel moments of a stream of rows, in f64.

use oops_artifact::ChannelStats;
use rayon::prelude::*;

/// Channels per task: fixed, so that the order of additions never depends on the thread count.
const TILE: usize = 64;

#[derive(Clone, Copy, Default)]
struct Channel {
    sum: f64,
    sum2: f64,
    sum3: f64,
    sum4: f64,
    max_abs: f32,
    outliers: u64,
}

/// Accumulates Σx, Σx², Σx³, Σx⁴, max|x| and outlier tokens per channel.
pub(crate) struct Moments {
    rows: u64,
    outlier_rms: f32,
    channels: Vec<Channel>,
}

impl Moments {
    /// For `n` channels; x is an outlier where |x| > `outlier_rms` × RMS of its row.
    pub(crate) fn new(n: usize, outlier_rms: f64) -> Self {
        Self { rows: 0, outlier_rms: outlier_rms as f32, channels: vec![Channel::default(); n] }
    }

    /// Adds rows (row-major, n values each).
    pub(crate) fn add(&mut self, x: &[f32]) {
        let n = self.channels.len();
        self.rows += (x.len() / n) as u64;
        let limits: Vec<f32> = x.par_chunks(n).map(|row| self.outlier_rms * rms(row)).collect();
        self.channels.par_chunks_mut(TILE).enumerate().for_each(|(tile, channels)| {
            for (row, &limit) in x.chunks_exact(n).zip(&limits) {
                let values = &row[tile * TILE..tile * TILE + channels.len()];
                channels.iter_mut().zip(values).for_each(|(c, &v)| c.add(v, limit));
            }
        });
    }

    /// The statistics of all rows so far.
    pub(crate) fn finish(&self) -> ChannelStats {
        let scale = 1.0 / self.rows.max(1) as f64;
        let each = |f: &dyn Fn(&Channel) -> f64| self.channels.iter().map(|c| f(c) * scale).collect();
        ChannelStats {
            count: self.rows,
            mean: each(&|c| c.sum),
            second: each(&|c| c.sum2),
            third: each(&|c| c.sum3),
            fourth: each(&|c| c.sum4),
            max_abs: self.channels.iter().map(|c| c.max_abs).collect(),
            outlier_tokens: self.channels.iter().map(|c| c.outliers).collect(),
        }
    }
}

impl Channel {
    #[inline]
    fn add(&mut self, v: f32, limit: f32) {
        let (x, magnitude) = (f64::from(v), v.abs());
        self.sum += x;
        let square = x * x;
        self.sum2 += square;
        self.sum3 += square * x;
        self.sum4 += square * square;
        self.max_abs = if magnitude > self.max_abs { magnitude } else { self.max_abs };
        self.outliers += u64::from(magnitude > limit);
    }
}

fn rms(row: &[f32]) -> f32 {
    let sum: f64 = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    (sum / row.len() as f64).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_two_batches_match_the_hand_count() {
        let mut m = Moments::new(2, 1.2);
        m.add(&[1.0, -2.0, 3.0, 0.0]);
        m.add(&[-2.0, 1.0]);
        let s = m.finish();
        assert_eq!(s.count, 3);
        assert!((s.mean[0] - 2.0 / 3.0).abs() < 1e-12 && (s.second[0] - 14.0 / 3.0).abs() < 1e-12);
        assert!((s.third[0] - 20.0 / 3.0).abs() < 1e-12 && (s.fourth[1] - 17.0 / 3.0).abs() < 1e-12);
        assert_eq!(s.max_abs, [3.0, 2.0]);
        // Row RMS: 1.58, 2.12, 1.58; limits 1.90, 2.55, 1.90.
        assert_eq!(s.outlier_tokens, [2, 1]);
    }

    #[test]
    fn a_massive_token_does_not_wipe_out_the_rest() {
        let mut m = Moments::new(1, 6.0);
        m.add(&[27_000.0]);
        (0..1000).for_each(|_| m.add(&[0.01]));
        let rest = m.finish().second[0] * 1001.0 - 27_000.0f64.powi(2);
        assert!((rest - 0.1).abs() < 1e-4, "{rest}");
    }
}
