//! What a method sees of one block: weights and the statistics of its sites.

use oops_artifact::ChannelStats;
use oops_core::{BlockDims, Fault, Result, Site, UnitKind, bail_if};
use oops_linalg::{Linear as Map, SolveStatus, Symmetric, eliminate, in_metric, obs_channels, obs_groups, stats};
use oops_model::{Block, Linear, transposed, with_values};

/// Σ_b g and Σ_b g² per unit, g the gradient of a sequence's loss with respect to the unit's mask.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// Σ_b g.
    pub sum: Vec<f64>,
    /// Σ_b g².
    pub squares: Vec<f64>,
}

/// Most channels that go between two updates of what the rest makes up for.
const TOGETHER: usize = 16;

fn definite(status: SolveStatus, site: Site) -> Result<()> {
    bail_if(status == SolveStatus::NotPositiveDefinite, || {
        Fault::numerical("the Gram matrix is not positive definite even when damped").at(site)
    })
}

/// One block, as a scoring method sees it.
pub struct BlockView<'a> {
    /// Widths.
    pub dims: &'a BlockDims,
    /// Weights.
    pub block: &'a Block,
    pub(crate) stats: [ChannelStats; 2],
    pub(crate) grams: [Option<Vec<f32>>; 2],
    pub(crate) gradients: [Gradients; 2],
    /// Packed Σ y yᵀ / T behind each site, y the loss's gradient at the output of its projection.
    pub(crate) curvature: [Option<Vec<f32>>; 2],
    /// Massive dimensions of the residual stream behind the block, with max|x| of each.
    pub(crate) massive_dimensions: Vec<(usize, f32)>,
}

impl<'a> BlockView<'a> {
    /// A block of which nothing was measured yet.
    pub(crate) fn of(dims: &'a BlockDims, block: &'a Block) -> Self {
        Self {
            dims,
            block,
            stats: Default::default(),
            grams: [None, None],
            gradients: Default::default(),
            curvature: [None, None],
            massive_dimensions: Vec::new(),
        }
    }

    /// Statistics of a site over all calibration tokens; empty if the method needs none.
    pub fn stats(&self, site: Site) -> &ChannelStats {
        &self.stats[site as usize]
    }

    /// Mask gradients of the attention units (`AttnOut`) or FFN channels (`MlpDown`); empty if the method needs none.
    pub fn gradients(&self, site: Site) -> &Gradients {
        &self.gradients[site as usize]
    }

    /// What removing each unit alone would cost after the best repair: ½ tr(W_gᵀ (((H + λmI)⁻¹)_gg)⁻¹ W_g).
    pub fn obs(&self, kind: UnitKind, lambda: f64) -> Result<Vec<f64>> {
        let weight = transposed(&self.block.projection(kind.site()).weight)?;
        let map = self.map(kind.site(), &weight)?;
        let solved = if kind == UnitKind::FfnChannel {
            obs_channels(&map, lambda)?
        } else {
            obs_groups(&map, &self.groups(kind), lambda)?
        };
        definite(solved.status, kind.site())?;
        Ok(solved.values)
    }

    /// What each unit costs at its turn when all go, cheapest first, and the rest repairs each removal; outputs are
    /// measured in the metric G + μ·mean diag G·I of the curvature G behind the site.
    pub(crate) fn eliminated(&self, kind: UnitKind, lambda: f64, mu: f64) -> Result<Vec<f64>> {
        let site = kind.site();
        let plain = transposed(&self.block.projection(site).weight)?;
        let d = plain.len() / self.dims.width(site).max(1);
        let curvature =
            self.curvature[site as usize].as_ref().ok_or_else(|| Fault::internal("no curvature was loaded"))?;
        let weight = in_metric(&plain, &Symmetric::packed(d, curvature)?, mu).map_err(|f| f.at(site))?;
        let gone = eliminate(&self.map(site, &weight)?, &self.groups(kind), lambda, TOGETHER)?;
        definite(gone.status, site)?;
        Ok(gone.costs)
    }

    /// The channels of every unit.
    fn groups(&self, kind: UnitKind) -> Vec<Vec<usize>> {
        (0..kind.count(self.dims)).map(|u| kind.channels(self.dims, u).collect()).collect()
    }

    /// The Gram matrix of a site with a weight behind it.
    fn map<'b>(&'b self, site: Site, weight: &'b [f32]) -> Result<Map<'b>> {
        let n = self.dims.width(site);
        let gram = self.grams[site as usize].as_ref().ok_or_else(|| Fault::internal("no Gram matrix was loaded"))?;
        Map::new(Symmetric::packed(n, gram)?, weight, weight.len() / n.max(1))
    }

    /// Reduces the columns of a site's projection (out × in): `f` maps a weight to what is summed per column.
    fn columns(&self, site: Site, f: impl Fn(f64) -> f64) -> Result<(Vec<f64>, usize)> {
        let n = self.dims.width(site);
        with_values(&self.block.projection(site).weight, |w| {
            let mut out = vec![0.0; n];
            for row in w.chunks_exact(n) {
                out.iter_mut().zip(row).for_each(|(o, &v)| *o += f(f64::from(v)));
            }
            (out, w.len() / n.max(1))
        })
    }

    /// ‖W_j‖₂² per channel j of a site.
    pub fn column_squares(&self, site: Site) -> Result<Vec<f64>> {
        Ok(self.columns(site, |v| v * v)?.0)
    }

    /// mean_i |W_ij| per channel j of a site.
    pub fn column_abs_means(&self, site: Site) -> Result<Vec<f64>> {
        let (sums, rows) = self.columns(site, f64::abs)?;
        Ok(sums.iter().map(|s| s / rows.max(1) as f64).collect())
    }

    /// How many weights of a site's projection have |W_ij|·`norms`_j above `m` times the mean of that, and of how many.
    pub(crate) fn count_above_mean(&self, site: Site, norms: &[f64], m: f64) -> Result<(usize, usize)> {
        with_values(&self.block.projection(site).weight, |w| (stats::count_above_mean(w, norms, m), w.len()))
    }

    /// ‖W_i‖₂² per output row i of a projection.
    pub fn row_squares(&self, linear: &Linear) -> Result<Vec<f64>> {
        let cols = linear.weight.dims().get(1).copied().unwrap_or(1).max(1);
        let square = |row: &[f32]| row.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        with_values(&linear.weight, |w| w.chunks_exact(cols).map(square).collect())
    }

    /// Reduces a site's channel scores to its units.
    pub fn units(&self, kind: UnitKind, channels: &[f64], reduce: fn(&[f64]) -> f64) -> Vec<f64> {
        (0..kind.count(self.dims)).map(|u| reduce(&channels[kind.channels(self.dims, u)])).collect()
    }
}

#[cfg(test)]
pub(crate) mod testkit {
    //! A block small enough for mental arithmetic.
    use oops_model::{matrix, vector};

    use super::*;

    pub(crate) struct Tiny {
        block: Block,
        stats: [ChannelStats; 2],
    }

    impl Tiny {
        pub(crate) fn view(&self) -> BlockView<'_> {
            // H = diag(1, 1) and diag(4, 1, 5), packed.
            let grams = [Some(vec![1.0, 0.0, 1.0]), Some(vec![4.0, 0.0, 1.0, 0.0, 0.0, 5.0])];
            let gradients = |squares: &[f64]| Gradients { sum: vec![2.0; squares.len()], squares: squares.to_vec() };
            BlockView {
                dims: &self.block.dims,
                block: &self.block,
                stats: self.stats.clone(),
                grams,
                gradients: [gradients(&[4.0, 1.0]), gradients(&[9.0, 1.0, 4.0])],
                // G = diag(1, 4) behind both sites.
                curvature: [const { None }; 2].map(|_: Option<Vec<f32>>| Some(vec![1.0, 0.0, 4.0])),
                massive_dimensions: Vec::new(),
            }
        }
    }

    fn linear(rows: usize, cols: usize, w: &[f32]) -> Linear {
        Linear { weight: matrix(w.to_vec(), rows, cols).unwrap(), bias: None }
    }

    fn stats(second: &[f64], mean: &[f64]) -> ChannelStats {
        let max_abs = second.iter().map(|&x2| x2 as f32).collect();
        ChannelStats { count: 10, mean: mean.to_vec(), second: second.to_vec(), max_abs, ..ChannelStats::default() }
    }

    /// hidden 2, two KV groups of one query head of width 1, three FFN channels.
    pub(crate) fn tiny() -> Tiny {
        let ones = || vector(vec![1.0, 1.0]).unwrap();
        let block = Block {
            dims: BlockDims { query_heads: 2, kv_heads: 2, head_dim: 1, ffn: 3 },
            input_norm: ones(),
            q: linear(2, 2, &[1.0, 0.0, 0.0, 1.0]),
            k: linear(2, 2, &[2.0, 0.0, 0.0, 2.0]),
            v: linear(2, 2, &[3.0, 0.0, 0.0, 3.0]),
            o: linear(2, 2, &[1.0, 2.0, 3.0, 4.0]),
            q_norm: None,
            k_norm: None,
            ffn_norm: ones(),
            gate: linear(3, 2, &[2.0, 0.0, 0.0, 2.0, 1.0, 1.0]),
            up: linear(3, 2, &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
            down: linear(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        };
        let stats = [stats(&[1.0, 1.0], &[0.0, 0.0]), stats(&[4.0, 1.0, 5.0], &[1.0, 0.0, 1.0])];
        Tiny { block, stats }
    }
}
