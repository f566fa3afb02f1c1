//! From activations and their gradients to mask gradients per sequence and unit, and to the curvature behind each site.

use oops_artifact::{
    curvature_file, gradients_file, sequence_gradients_file, write_gradients, write_gram, write_sequence_gradients,
};
use oops_core::{BlockDims, Result, Site, UnitKind, bail_if};
use oops_linalg::Gram;
use oops_stage::Workdir;
use rayon::prelude::*;

use crate::moments::overflow;

/// Channels per task: fixed, so that the order of additions never depends on the thread count.
const TILE: usize = 64;

/// g_{b,u} of one block's FFN channels and query heads, for the sequences so far; Σ y yᵀ behind each site if asked for.
pub(super) struct Collector {
    dims: BlockDims,
    ffn: Vec<f64>,
    heads: Vec<f64>,
    curvature: Option<[Gram; 2]>,
}

impl Collector {
    /// For a block of these widths.
    pub(super) fn new(dims: BlockDims) -> Self {
        Self { dims, ffn: Vec::new(), heads: Vec::new(), curvature: None }
    }

    /// The same, with curvature behind projections of `hidden` outputs if `asked`.
    pub(super) fn with_curvature(mut self, asked: bool, hidden: usize) -> Self {
        self.curvature = asked.then(|| Site::ALL.map(|_| Gram::new(hidden)));
        self
    }

    /// Adds gradients `dy` behind the projection of a site, `[tokens, hidden]`.
    pub(super) fn add_outputs(&mut self, site: Site, dy: &[f32]) -> Result<()> {
        self.curvature.as_mut().map_or(Ok(()), |grams| grams[site as usize].add(dy))
    }

    /// Adds sequences of `lengths` tokens: activations `a` of a site and the loss's gradient `da`, `[Σ lengths, width]`.
    pub(super) fn add(&mut self, site: Site, a: &[f32], da: &[f32], lengths: &[usize]) {
        let (mut rest, width) = ((a, da), self.dims.width(site));
        for &length in lengths {
            let (a, da) = (rest.0.split_at(length * width), rest.1.split_at(length * width));
            rest = (a.1, da.1);
            let channels = channel_sums(a.0, da.0, width);
            match site {
                Site::MlpDown => self.ffn.extend(channels),
                Site::AttnOut => {
                    let heads = channels.chunks_exact(self.dims.head_dim.max(1));
                    self.heads.extend(heads.map(|head| head.iter().sum::<f64>()));
                }
            }
        }
    }

    /// g at `b·units + u` for the units of `kind`; a KV group's is the sum of its heads'.
    pub(super) fn of(&self, kind: UnitKind) -> Vec<f64> {
        match kind {
            UnitKind::FfnChannel => self.ffn.clone(),
            UnitKind::QueryHead => self.heads.clone(),
            UnitKind::KvGroup => {
                self.heads.chunks_exact(self.dims.group_size().max(1)).map(|group| group.iter().sum()).collect()
            }
        }
    }

    /// Writes the block's files, that of the sums last: it stands for all of them. Curvature is per token of `tokens`.
    pub(super) fn publish(mut self, work: &Workdir, block: usize, per_sequence: bool, tokens: usize) -> Result<()> {
        let finite = self.ffn.iter().chain(&self.heads).all(|g| g.is_finite());
        bail_if(!finite, || overflow("a gradient"))?;
        for (site, mut gram) in Site::ALL.into_iter().zip(self.curvature.take().into_iter().flatten()) {
            gram.scale(1.0 / tokens.max(1) as f32);
            work.write(&curvature_file(block, site), |path| write_gram(path, gram.to_packed()))?;
        }
        let kinds = UnitKind::ALL.map(|kind| (kind, self.of(kind)));
        for (kind, g) in kinds.iter().filter(|_| per_sequence) {
            let name = sequence_gradients_file(block, *kind);
            work.write(&name, |path| write_sequence_gradients(path, kind.count(&self.dims), g))?;
        }
        let sums = kinds.map(|(kind, g)| {
            let units = kind.count(&self.dims);
            (kind, over_sequences(&g, units, |g| g), over_sequences(&g, units, |g| g * g))
        });
        work.write(&gradients_file(block), |path| write_gradients(path, block, &sums))
    }
}

/// Σ_b f(g_{b,u}) of every unit.
fn over_sequences(g: &[f64], units: usize, f: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; units];
    for row in g.chunks_exact(units.max(1)) {
        sums.iter_mut().zip(row).for_each(|(sum, &g)| *sum += f(g));
    }
    sums
}

/// Σ_t a_tj · da_tj of every channel j, in f64.
fn channel_sums(a: &[f32], da: &[f32], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    sums.par_chunks_mut(TILE).enumerate().for_each(|(tile, sums)| {
        for (a, da) in a.chunks_exact(width).zip(da.chunks_exact(width)) {
            let (a, da) = (&a[tile * TILE..], &da[tile * TILE..]);
            sums.iter_mut().zip(a).zip(da).for_each(|((sum, &a), &da)| *sum += f64::from(a) * f64::from(da));
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_heads_and_groups_are_summed_as_by_hand() {
        let mut c = Collector::new(BlockDims { query_heads: 2, kv_heads: 1, head_dim: 2, ffn: 1 });
        let a = [1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, -1.0];
        c.add(Site::AttnOut, &a, &[2.0; 12], &[1, 0, 2]);
        c.add(Site::MlpDown, &[1.0, 2.0, 3.0], &[5.0, -1.0, 1.0], &[1, 0, 2]);
        assert_eq!(c.of(UnitKind::QueryHead), [6.0, 14.0, 0.0, 0.0, 6.0, 2.0]);
        // The group's g is summed before it is squared: 20² + 0 + 8², not 6² + 14² + 6² + 2².
        assert_eq!(c.of(UnitKind::KvGroup), [20.0, 0.0, 8.0]);
        assert_eq!(over_sequences(&c.of(UnitKind::KvGroup), 1, |g| g * g), [464.0]);
        assert_eq!(c.of(UnitKind::FfnChannel), [5.0, 0.0, 1.0]);
    }
}
