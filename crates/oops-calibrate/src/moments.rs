//! Per-channel moments of a stream of rows, in f64.

use oops_artifact::ChannelStats;
use oops_core::{Fault, Result, bail_if};
use pulp::Arch;
use rayon::prelude::*;

/// Channels per task: fixed, so that the order of additions never depends on the thread count.
const TILE: usize = 64;
/// Partial sums of a row's energy.
const LANES: usize = 16;

/// Sums over the channels of one tile; an array each, so that they are added in vectors.
#[derive(Clone)]
struct Tile {
    sum: [f64; TILE],
    sum2: [f64; TILE],
    sum3: [f64; TILE],
    sum4: [f64; TILE],
    max_abs: [f32; TILE],
    outliers: [u64; TILE],
}

/// Accumulates Σx, Σx², Σx³, Σx⁴, max|x| and outlier tokens per channel.
pub(crate) struct Moments {
    rows: u64,
    outlier_rms: f32,
    channels: usize,
    /// The last one may have channels that do not exist, which stay at 0.
    tiles: Vec<Tile>,
}

impl Moments {
    /// For `n` channels; x is an outlier where |x| > `outlier_rms` × RMS of its row.
    pub(crate) fn new(n: usize, outlier_rms: f64) -> Self {
        let tiles = vec![Tile::ZERO; n.div_ceil(TILE)];
        Self { rows: 0, outlier_rms: outlier_rms as f32, channels: n, tiles }
    }

    /// Number of channels.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Adds rows (row-major, n values each); gives ‖x‖² of each. Fails, with nothing added, if a value is not finite.
    pub(crate) fn add(&mut self, x: &[f32]) -> Result<Vec<f64>> {
        let n = self.channels;
        let energies: Vec<f64> = x.par_chunks(n).map(|row| Arch::new().dispatch(|| energy(row))).collect();
        // The square of a finite f32 is a finite f64.
        bail_if(!energies.iter().all(|e| e.is_finite()), || overflow("an activation"))?;
        self.rows += energies.len() as u64;
        let limit = |energy: &f64| self.outlier_rms * (energy / n as f64).sqrt() as f32;
        let limits: Vec<f32> = energies.iter().map(limit).collect();
        self.tiles.par_iter_mut().enumerate().for_each(|(i, tile)| {
            Arch::new().dispatch(|| tile.add(x, n, i * TILE, &limits));
        });
        Ok(energies)
    }

    /// The statistics of all rows so far.
    pub(crate) fn finish(&self) -> ChannelStats {
        let scale = 1.0 / self.rows.max(1) as f64;
        let each = |f: fn(&Tile) -> &[f64; TILE]| self.all(f).map(|sum| sum * scale).collect();
        ChannelStats {
            count: self.rows,
            mean: each(|t| &t.sum),
            second: each(|t| &t.sum2),
            third: each(|t| &t.sum3),
            fourth: each(|t| &t.sum4),
            max_abs: self.all(|t| &t.max_abs).collect(),
            outlier_tokens: self.all(|t| &t.outliers).collect(),
        }
    }

    fn all<T: Copy + 'static>(&self, f: fn(&Tile) -> &[T; TILE]) -> impl Iterator<Item = T> + '_ {
        self.tiles.iter().flat_map(f).copied().take(self.channels)
    }
}

/// `what` has a value that is not finite.
pub(crate) fn overflow(what: &str) -> Fault {
    Fault::data(format!("{what} is not finite: the model overflows 32-bit floats on these tokens"))
        .help("check the model's weights: a finite perplexity on the same tokens (`eval.perplexity`) needs finite activations")
}

impl Tile {
    const ZERO: Self = Self {
        sum: [0.0; TILE],
        sum2: [0.0; TILE],
        sum3: [0.0; TILE],
        sum4: [0.0; TILE],
        max_abs: [0.0; TILE],
        outliers: [0; TILE],
    };

    /// Adds the channels from `start` on of rows of `n` values.
    #[inline(always)]
    fn add(&mut self, x: &[f32], n: usize, start: usize, limits: &[f32]) {
        let (end, mut outliers) = (n.min(start + TILE), [0_u32; TILE]);
        for (row, &limit) in x.chunks_exact(n).zip(limits) {
            let mut values = [0.0; TILE];
            values[..end - start].copy_from_slice(&row[start..end]);
            for i in 0..TILE {
                let (v, magnitude) = (f64::from(values[i]), values[i].abs());
                let square = v * v;
                self.sum[i] += v;
                self.sum2[i] += square;
                self.sum3[i] += square * v;
                self.sum4[i] += square * square;
                self.max_abs[i] = if magnitude > self.max_abs[i] { magnitude } else { self.max_abs[i] };
                outliers[i] += u32::from(magnitude > limit);
            }
        }
        self.outliers.iter_mut().zip(outliers).for_each(|(sum, more)| *sum += u64::from(more));
    }
}

/// Σ x² in f64.
#[inline(always)]
fn energy(row: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut add = |values: &[f32]| {
        lanes.iter_mut().zip(values).for_each(|(lane, &v)| *lane += f64::from(v) * f64::from(v));
    };
    whole.iter().for_each(|chunk| add(chunk));
    add(rest);
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_two_batches_match_the_hand_count() {
        let mut m = Moments::new(2, 1.2);
        m.add(&[1.0, -2.0, 3.0, 0.0]).unwrap();
        m.add(&[-2.0, 1.0]).unwrap();
        let s = m.finish();
        assert_eq!(s.count, 3);
        assert!((s.mean[0] - 2.0 / 3.0).abs() < 1e-12 && (s.second[0] - 14.0 / 3.0).abs() < 1e-12);
        assert!((s.third[0] - 20.0 / 3.0).abs() < 1e-12 && (s.fourth[1] - 17.0 / 3.0).abs() < 1e-12);
        assert_eq!(s.max_abs, [3.0, 2.0]);
        // Row RMS: 1.58, 2.12, 1.58; limits 1.90, 2.55, 1.90.
        assert_eq!(s.outlier_tokens, [2, 1]);
    }

    #[test]
    fn channels_beyond_a_tile_are_counted_and_energies_are_those_of_rows() {
        let n = TILE + 5;
        let x: Vec<f32> = (0..3 * n).map(|i| (i % n) as f32).collect();
        let mut m = Moments::new(n, 1.5);
        let energies = m.add(&x).unwrap();
        let expected: f64 = (0..n).map(|j| (j * j) as f64).sum();
        assert_eq!(energies, [expected; 3]);
        let s = m.finish();
        assert_eq!((s.mean.len(), s.max_abs[n - 1], s.outlier_tokens.len()), (n, (n - 1) as f32, n));
        assert!((s.mean[TILE + 2] - (TILE + 2) as f64).abs() < 1e-12);
        let limit = 1.5 * (expected / n as f64).sqrt();
        let outliers: Vec<u64> = (0..n).map(|j| if j as f64 > limit { 3 } else { 0 }).collect();
        assert_eq!(s.outlier_tokens, outliers);
    }

    #[test]
    fn a_massive_token_does_not_wipe_out_the_rest() {
        let mut m = Moments::new(1, 6.0);
        m.add(&[27_000.0]).unwrap();
        (0..1000).for_each(|_| drop(m.add(&[0.01]).unwrap()));
        let rest = m.finish().second[0] * 1001.0 - 27_000.0f64.powi(2);
        assert!((rest - 0.1).abs() < 1e-4, "{rest}");
    }

    #[test]
    fn what_is_not_finite_is_refused_and_leaves_no_trace() {
        let mut m = Moments::new(2, 6.0);
        m.add(&[1.0, 2.0]).unwrap();
        let before = m.finish();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = m.add(&[0.0, 1.0, bad, 1.0]).unwrap_err();
            assert!(error.what().contains("an activation is not finite"), "{error}");
        }
        assert_eq!(m.finish(), before);
        assert!(m.add(&[f32::MAX, f32::MIN]).is_ok());
    }
}
