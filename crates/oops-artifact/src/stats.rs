//! Activation statistics: per channel moments and, per site, the Gram matrix H = XᵀX/T.
//!
//! Tokens come in two splits, so that every later choice can be judged on tokens that it was not made on: `fit` and
//! `heldout`. Tokens of held-out sequences that are [leaked](crate::Heldout) are in `fit`. One Parquet file per block holds the channel table, one per (block, site, split) the packed lower
//! triangle of H, row by row.

use std::path::Path;

use oops_core::{
    Fault, ModelDims, Result, Site, bail_if,
    finite::{at_least_zero, check_finite, larger},
};
use serde::{Deserialize, Serialize};

use crate::{
    Artifact,
    parquet_io::{self, Table, f32s, f64s, strings, u32s, u64s},
};

/// Which tokens a statistic was accumulated over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Tokens that reconstructions are fitted on.
    Fit,
    /// Of sequences, those held out; of tokens, those of them that judge ([`crate::Heldout`]).
    Heldout,
}

impl Split {
    /// Both splits.
    pub const ALL: [Self; 2] = [Self::Fit, Self::Heldout];

    /// The name used in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::Heldout => "heldout",
        }
    }
}

/// What a set of statistics is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsInfo {
    /// Dimensions of the model.
    pub dims: ModelDims,
    /// Sequences in the fit and the held-out split.
    pub sequences: [usize; 2],
    /// Tokens in the fit and the held-out split.
    pub tokens: [usize; 2],
    /// Tokens of held-out sequences that fitted sequences hold too; they are in the fit split.
    #[serde(default)]
    pub leaked: usize,
    /// Whether Gram matrices are there.
    pub gram: bool,
    /// A token is an outlier of a channel if |x| exceeds this many times the RMS of its row.
    pub outlier_rms: f64,
    /// A dimension of the residual stream is massive if max|x| exceeds this many times the median RMS of all dimensions,
    /// a token if ‖x‖² exceeds this many times the median.
    pub massive_ratio: f64,
    /// M of OWL's share of outlier weights.
    pub owl_multiple: f64,
}

/// Moments of the channels of one site over one split. All vectors have one entry per channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelStats {
    /// Tokens.
    pub count: u64,
    /// E\[x\].
    pub mean: Vec<f64>,
    /// E\[x²\].
    pub second: Vec<f64>,
    /// E\[x³\].
    pub third: Vec<f64>,
    /// E\[x⁴\].
    pub fourth: Vec<f64>,
    /// max |x|.
    pub max_abs: Vec<f32>,
    /// Tokens at which the channel is an outlier of its row.
    pub outlier_tokens: Vec<u64>,
}

impl ChannelStats {
    /// Population variance of channel `j`.
    pub fn variance(&self, j: usize) -> f64 {
        at_least_zero(self.second[j] - self.mean[j] * self.mean[j])
    }

    /// Kurtosis E\[(x − μ)⁴\] / Var², 3 for normal numbers; 0 where the channel does not vary.
    pub fn kurtosis(&self, j: usize) -> f64 {
        let (m, variance) = (self.mean[j], self.variance(j));
        // Below this, what is left of the variance is rounding.
        if variance <= 1e-12 * self.second[j] {
            return 0.0;
        }
        let central = self.fourth[j] - 4.0 * m * self.third[j] + 6.0 * m * m * self.second[j] - 3.0 * m.powi(4);
        at_least_zero(central / (variance * variance))
    }

    /// The statistics of both sets of tokens together.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let total = self.count + other.count;
        if other.count == 0 || self.count == 0 {
            return if self.count == 0 { other.clone() } else { self.clone() };
        }
        let (a, b) = (self.count as f64 / total as f64, other.count as f64 / total as f64);
        let mix = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| a * x + b * y).collect();
        Self {
            count: total,
            mean: mix(&self.mean, &other.mean),
            second: mix(&self.second, &other.second),
            third: mix(&self.third, &other.third),
            fourth: mix(&self.fourth, &other.fourth),
            max_abs: self
                .max_abs
                .iter()
                .zip(&other.max_abs)
                .map(|(&x, &y)| larger(x.into(), y.into()) as f32)
                .collect(),
            outlier_tokens: self.outlier_tokens.iter().zip(&other.outlier_tokens).map(|(x, y)| x + y).collect(),
        }
    }
}

/// Channel statistics of one site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteStats {
    /// Over the fit split.
    pub fit: ChannelStats,
    /// Over the held-out split (empty if there is none).
    pub heldout: ChannelStats,
}

impl SiteStats {
    /// Over all tokens.
    pub fn all(&self) -> ChannelStats {
        self.fit.merged(&self.heldout)
    }
}

/// Name of the file with the channel table of a block.
pub fn channels_file(block: usize) -> String {
    format!("channels/block-{block:03}.parquet")
}

/// Name of the file with the Gram matrix of a site over a split.
pub fn gram_file(block: usize, site: Site, split: Split) -> String {
    format!("gram/block-{block:03}.{site}.{}.parquet", split.name())
}

/// Writes the channel table of one block: one row per site, split and channel.
pub fn write_block(work: &dyn crate::Sink, block: usize, sites: &[(Site, SiteStats)]) -> Result<()> {
    let parts: Vec<(Site, Split, &ChannelStats)> = sites
        .iter()
        .flat_map(|(site, s)| [(*site, Split::Fit, &s.fit), (*site, Split::Heldout, &s.heldout)])
        .filter(|(_, _, c)| c.count > 0)
        .collect();
    let each = |f: &dyn Fn(&ChannelStats) -> Vec<f64>| f64s(parts.iter().flat_map(|(_, _, c)| f(c)).collect());
    let labels = |f: &dyn Fn(Site, Split) -> &'static str| {
        strings(parts.iter().flat_map(|(site, split, c)| vec![f(*site, *split); c.mean.len()]))
    };
    for (_, _, c) in &parts {
        [&c.mean, &c.second, &c.third, &c.fourth]
            .into_iter()
            .try_for_each(|m| check_finite(m, "a moment of a channel"))?;
        check_finite(&c.max_abs, "a channel's largest value")?;
    }
    work.file(&channels_file(block), &mut |path| {
        let rows: usize = parts.iter().map(|(_, _, c)| c.mean.len()).sum();
        let columns = vec![
            ("block", u32s(vec![block as u32; rows])),
            ("site", labels(&|site, _| site.name())),
            ("split", labels(&|_, split| split.name())),
            ("channel", u32s(parts.iter().flat_map(|(_, _, c)| 0..c.mean.len() as u32).collect())),
            ("count", u64s(parts.iter().flat_map(|(_, _, c)| vec![c.count; c.mean.len()]).collect())),
            ("mean", each(&|c| c.mean.clone())),
            ("variance", each(&|c| (0..c.mean.len()).map(|j| c.variance(j)).collect())),
            ("second_moment", each(&|c| c.second.clone())),
            ("third_moment", each(&|c| c.third.clone())),
            ("fourth_moment", each(&|c| c.fourth.clone())),
            ("kurtosis", each(&|c| (0..c.mean.len()).map(|j| c.kurtosis(j)).collect())),
            ("max_abs", f32s(parts.iter().flat_map(|(_, _, c)| c.max_abs.clone()).collect())),
            ("outlier_tokens", u64s(parts.iter().flat_map(|(_, _, c)| c.outlier_tokens.clone()).collect())),
        ];
        parquet_io::write(path, columns)
    })
}

/// Reads the channel statistics of one site of one block.
pub fn read_site(artifact: &Artifact, block: usize, site: Site) -> Result<SiteStats> {
    let path = artifact.path(&channels_file(block))?;
    let table = Table::read(path)?;
    let (sites, splits) = (table.strings("site")?, table.strings("split")?);
    let (count, outlier) = (table.u64("count")?, table.u64("outlier_tokens")?);
    let (mean, second) = (table.f64("mean")?, table.f64("second_moment")?);
    let (third, fourth) = (table.f64("third_moment")?, table.f64("fourth_moment")?);
    let max_abs = table.f32("max_abs")?;
    let mut out = SiteStats::default();
    for i in (0..table.rows()).filter(|&i| sites[i] == site.name()) {
        let c = if splits[i] == Split::Fit.name() { &mut out.fit } else { &mut out.heldout };
        c.count = count[i];
        c.mean.push(mean[i]);
        c.second.push(second[i]);
        c.third.push(third[i]);
        c.fourth.push(fourth[i]);
        c.max_abs.push(max_abs[i]);
        c.outlier_tokens.push(outlier[i]);
    }
    for c in [&out.fit, &out.heldout] {
        let moments = [&c.mean, &c.second, &c.third, &c.fourth];
        let finite = moments.into_iter().try_for_each(|m| check_finite(m, "a moment of a channel"));
        finite.and(check_finite(&c.max_abs, "a channel's largest value")).map_err(|f| f.at(path.display()))?;
    }
    bail_if(out.fit.count == 0, || Fault::data(format!("no rows of site {site}")).at(path.display()))?;
    Ok(out)
}

/// Writes the packed lower triangle (row by row, n(n+1)/2 values) of H = XᵀX/T. Fails if a value is not finite.
pub fn write_gram(path: &Path, packed: Vec<f32>) -> Result<()> {
    check_finite(&packed, "an entry of a Gram matrix")?;
    parquet_io::write(path, vec![("h", f32s(packed))])
}

/// Reads the Gram matrix of a site with `n` channels over a split.
pub fn read_gram(artifact: &Artifact, block: usize, site: Site, split: Split, n: usize) -> Result<Vec<f32>> {
    read_packed(artifact.path(&gram_file(block, site, split))?, n)
}

/// Reads the packed lower triangle of an n × n matrix.
pub(crate) fn read_packed(path: &Path, n: usize) -> Result<Vec<f32>> {
    let packed = Table::read(path)?.f32("h")?;
    bail_if(packed.len() != n * (n + 1) / 2, || {
        Fault::data(format!("{} values are not the triangle of a {n} × {n} matrix", packed.len())).at(path.display())
    })?;
    check_finite(&packed, "an entry of a Gram matrix").map_err(|f| f.at(path.display()))?;
    Ok(packed)
}

/// Reads the Gram matrix of a site over all tokens: the splits' matrices, weighted by their tokens.
pub fn read_gram_all(artifact: &Artifact, block: usize, site: Site, stats: &SiteStats) -> Result<Vec<f32>> {
    let n = stats.fit.mean.len();
    let mut gram = read_gram(artifact, block, site, Split::Fit, n)?;
    if stats.heldout.count > 0 {
        let heldout = read_gram(artifact, block, site, Split::Heldout, n)?;
        mix_grams(&mut gram, &heldout, [stats.fit.count, stats.heldout.count]);
    }
    Ok(gram)
}

/// fit ← (T_fit·fit + T_heldout·heldout) / (T_fit + T_heldout).
pub fn mix_grams(fit: &mut [f32], heldout: &[f32], tokens: [u64; 2]) {
    let total = (tokens[0] + tokens[1]) as f64;
    let [a, b] = tokens.map(|t| (t as f64 / total) as f32);
    fit.iter_mut().zip(heldout).for_each(|(x, y)| *x = a * *x + b * y);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_splits_equals_the_moments_of_all_tokens() {
        let stats = |x: &[f64]| ChannelStats {
            count: x.len() as u64,
            mean: vec![x.iter().sum::<f64>() / x.len() as f64],
            second: vec![x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64],
            third: vec![x.iter().map(|v| v.powi(3)).sum::<f64>() / x.len() as f64],
            fourth: vec![x.iter().map(|v| v.powi(4)).sum::<f64>() / x.len() as f64],
            max_abs: vec![x.iter().fold(0.0, |m, v| v.abs().max(m)) as f32],
            outlier_tokens: vec![1],
        };
        let merged = stats(&[1.0, 2.0, -3.0]).merged(&stats(&[4.0]));
        let all = stats(&[1.0, 2.0, -3.0, 4.0]);
        assert!((merged.mean[0] - all.mean[0]).abs() < 1e-12 && (merged.fourth[0] - all.fourth[0]).abs() < 1e-9);
        assert!((merged.variance(0) - 6.5).abs() < 1e-12);
        // Deviations 0, 1, −4, 3 from the mean 1: fourth powers 0 + 1 + 256 + 81 over 4, by 6.5².
        assert!((merged.kurtosis(0) - 84.5 / 42.25).abs() < 1e-12);
        assert!(stats(&[2.0, 2.0]).kurtosis(0).abs() < 1e-12, "no variance, no kurtosis");
        assert_eq!((merged.count, merged.max_abs[0], merged.outlier_tokens[0]), (4, 4.0, 2));
    }
}
