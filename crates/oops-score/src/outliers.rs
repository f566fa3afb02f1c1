//! Outliers: which channels to protect, and how unevenly blocks should be cut because of them.

use oops_artifact::ChannelStats;
use oops_core::{Result, Site};
use oops_linalg::stats::median;
use oops_model::with_values;

use crate::BlockView;

/// Channels that are outliers of their site: E\[x²\] > m²·median over the site, or max|x| > τ·median over the site.
pub(crate) fn channels(stats: &ChannelStats, m: f64, tau: f64) -> Vec<usize> {
    let peaks: Vec<f64> = stats.max_abs.iter().map(|&v| f64::from(v)).collect();
    let (Some(energy), Some(peak)) = (median(&stats.second), median(&peaks)) else { return Vec::new() };
    let (energy_limit, peak_limit) = (m * m * energy, tau * peak);
    (0..stats.second.len()).filter(|&j| stats.second[j] > energy_limit || peaks[j] > peak_limit).collect()
}

/// Channels j of a site that write a massive dimension d of the residual stream: max|x_j|·|W_dj| is at least `share` of
/// max|stream_d| behind the block. Without that channel the dimension would not be what later blocks rely on.
pub(crate) fn writers(view: &BlockView<'_>, site: Site, share: f64) -> Result<Vec<usize>> {
    let (n, peaks) = (view.dims.width(site), &view.stats(site).max_abs);
    let writes = |w: &[f32]| {
        let of = |&(d, peak): &(usize, f32)| {
            let row = &w[d * n..(d + 1) * n];
            let limit = share * f64::from(peak);
            (0..n).filter(move |&j| f64::from(peaks[j]) * f64::from(row[j]).abs() >= limit)
        };
        view.massive_dimensions.iter().flat_map(of).collect()
    };
    with_values(&view.block.projection(site).weight, writes)
}

/// At most `most` of the channels `found`, those with the most energy, ascending and each once.
pub(crate) fn loudest(stats: &ChannelStats, found: impl Iterator<Item = usize>, most: usize) -> Vec<usize> {
    let mut found: Vec<usize> = found.collect();
    found.sort_by(|&a, &b| stats.second[b].total_cmp(&stats.second[a]).then(a.cmp(&b)));
    found.dedup();
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
        assert_eq!(channels(&stats, 5.0, 100.0), [7, 9]);
        assert!(channels(&stats, 6.0, 1000.0).is_empty());
        assert_eq!(loudest(&stats, [9, 7, 9].into_iter(), 10), [7, 9]);
        assert_eq!(loudest(&stats, [9, 7].into_iter(), 1), [7]);
    }

    #[test]
    fn the_writer_of_a_massive_dimension_is_found() {
        // Rows of down in the testkit: (1, 2, 3), (4, 5, 6); max|x| of its channels below.
        let tiny = crate::view::testkit::tiny();
        let mut view = tiny.view();
        view.stats[Site::MlpDown as usize].max_abs = vec![1.0, 10.0, 2.0];
        assert!(writers(&view, Site::MlpDown, 0.5).unwrap().is_empty());
        view.massive_dimensions = vec![(1, 60.0)];
        // Contributions to dimension 1: 4, 50, 12 of 60.
        assert_eq!(writers(&view, Site::MlpDown, 0.5).unwrap(), [1]);
        assert_eq!(writers(&view, Site::MlpDown, 0.2).unwrap(), [1, 2]);
    }
}
