//! What is accumulated at the sites of one block, and its files.

use oops_artifact::{ResidualStats, Rows, SiteStats, Split, gram_file, write_block, write_gram};
use oops_core::{BlockDims, Result, Site};
use oops_linalg::Gram;
use oops_stage::{Cx, timed};

use super::{Params, stream};
use crate::{hidden::Passage, moments::Moments};

/// Accumulators of one site: moments and Gram matrix per split.
pub(super) struct SiteAccumulator {
    moments: [Moments; 2],
    gram: Option<[Gram; 2]>,
}

impl SiteAccumulator {
    pub(super) fn new(params: &Params, dims: &BlockDims, site: Site) -> Self {
        let n = dims.width(site);
        Self {
            moments: Split::ALL.map(|_| Moments::new(n, params.outlier_rms)),
            gram: params.gram.then(|| Split::ALL.map(|_| Gram::new(n))),
        }
    }

    /// Adds the rows `x` of a batch; seconds go to the two clocks. Fails if a value is not finite.
    pub(super) fn add(&mut self, x: &[f32], parts: &Rows, [in_moments, in_gram]: [&mut f64; 2]) -> Result<()> {
        let width = self.moments[0].channels();
        for (split, part) in parts.parts() {
            let x = part.of(x, width);
            timed(in_moments, || self.moments[split as usize].add(&x))?;
            if let Some(sums) = &mut self.gram {
                timed(in_gram, || sums[split as usize].add(&x))?;
            }
        }
        Ok(())
    }
}

/// The statistics of both sites.
pub(super) fn sites_stats(sites: &[SiteAccumulator; 2]) -> Vec<(Site, SiteStats)> {
    let finish = |s: &SiteAccumulator| SiteStats { fit: s.moments[0].finish(), heldout: s.moments[1].finish() };
    Site::ALL.into_iter().zip(sites.iter().map(finish)).collect()
}

/// Writes the block's statistics, then the residual stream that the next block starts from.
pub(super) fn publish(
    l: usize,
    (sites, stats): ([SiteAccumulator; 2], Vec<(Site, SiteStats)>),
    residual: &ResidualStats,
    passage: Passage<'_>,
    cx: &Cx<'_>,
) -> Result<()> {
    for ((site, acc), (_, stats)) in Site::ALL.into_iter().zip(sites).zip(&stats) {
        for (split, mut gram) in Split::ALL.into_iter().zip(acc.gram.into_iter().flatten()) {
            let count = if split == Split::Fit { stats.fit.count } else { stats.heldout.count };
            if count > 0 {
                gram.scale(1.0 / count as f32);
                cx.work.write(&gram_file(l, site, split), |path| write_gram(path, gram.to_packed()))?;
            }
        }
    }
    write_block(&cx.work, l, &stats)?;
    residual.write(&cx.work, l)?;
    passage.publish()?;
    cx.work.forget(&stream(l));
    Ok(())
}
