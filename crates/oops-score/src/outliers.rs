//! Outliers: which channels to protect, and how unevenly blocks should be cut because of them.

use oops_artifact::ChannelStats;
use oops_core::{Result, Site};
use oops_linalg::stats::median;

use crate::BlockView;

/// Channels that are outliers of their site: E\[x²\] > m²·median over the site, or max|x| > τ·median over the site.
/// At most `most` of them, the loudest.
pub(crate) fn channels(stats: &ChannelStats, m: f64, tau: f64, most: usize) -> Vec<usize> {
    let loudest: Vec<f64> = stats.max_abs.iter().map(|&v| f64::from(v)).collect();
    let (energy_limit, peak_limit) = (m * m * median(&stats.second), tau * median(&loudest));
    let mut found: Vec<usize> =
        (0..stats.second.len()).filter(|&j| stats.second[j] > energy_limit || loudest[j] > peak_limit).collect();
    found.sort_by(|&a, &b| stats.second[b].total_cmp(&stats.second[a]).then(a.cmp(&b)));
    found.truncate(most);
    found.sort_unstable();
    found
}

/// OWL's layer outlier distribution: the share of a block's weights whose |W_ij|·‖X_j‖ exceeds `m` times the mean over
/// their projection, over both sites (Yin et al., arXiv 2310.05175).
pub(crate) fn share(view: &BlockView<'_>, m: f64) -> Result<f64> {
    let (mut outliers, mut weights) = (0usize, 0usize);
    for site in Site::ALL {
        let norms: Vec<f64> = view.stats(site).second.iter().map(|x2| x2.sqrt()).collect();
        let (above, of) = view.count_above_mean(site, &norms, m)?;
        outliers += above;
        weights += of;
    }
    Ok(outliers as f64 / weights.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loudest_channels_are_found_and_the_number_is_bounded() {
        let mut stats = ChannelStats { second: vec![1.0; 50], max_abs: vec![3.0; 50], ..ChannelStats::default() };
        stats.second[7] = 30.0;
        stats.max_abs[9] = 301.0;
        assert_eq!(channels(&stats, 5.0, 100.0, 10), [7, 9]);
        assert_eq!(channels(&stats, 5.0, 100.0, 1), [7]);
        assert!(channels(&stats, 6.0, 1000.0, 10).is_empty());
    }
}
