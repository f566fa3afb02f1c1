//! Outliers of the residual stream behind one block, and of the block's weights: what makes a block hard to prune.
//!
//! Three Parquet files per block. `residual/` has one row per dimension of the stream, `tokens/` one per token,
//! `outliers/` a single row that sums both up beside OWL's share of outlier weights.

use oops_core::{
    Result,
    finite::{check_finite, largest_magnitude},
};

use crate::{
    Artifact, ChannelStats, Sink,
    parquet_io::{self, Table, f32s, f64s, u32s, u64s},
};

/// The residual stream behind a block over all calibration tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResidualStats {
    /// Moments per dimension.
    pub dimensions: ChannelStats,
    /// Per token: index of its sequence in the token set, position in it, ‖x‖².
    pub tokens: Vec<(u32, u32, f32)>,
    /// Dimensions whose max|x| is above the limit, ascending.
    pub massive_dimensions: Vec<usize>,
    /// Tokens (indices into `tokens`) whose ‖x‖² is above the limit, ascending.
    pub massive_tokens: Vec<usize>,
    /// OWL's share of the block's outlier weights (LOD).
    pub outlier_share: f64,
}

/// Name of the file with the dimensions of the residual stream behind a block.
pub fn residual_file(block: usize) -> String {
    format!("residual/block-{block:03}.parquet")
}

/// Name of the file with the tokens of the residual stream behind a block.
pub fn tokens_file(block: usize) -> String {
    format!("tokens/block-{block:03}.parquet")
}

/// Name of the file that sums up a block's outliers.
pub fn outliers_file(block: usize) -> String {
    format!("outliers/block-{block:03}.parquet")
}

/// 1 at `found`, 0 elsewhere.
fn marks(n: usize, found: &[usize]) -> Vec<u32> {
    let mut out = vec![0; n];
    found.iter().for_each(|&i| out[i] = 1);
    out
}

impl ResidualStats {
    /// Writes the block's three files.
    pub fn write(&self, work: &dyn Sink, block: usize) -> Result<()> {
        let (c, tokens) = (&self.dimensions, &self.tokens);
        check_finite(&c.second, "a moment of the residual stream")?;
        let (n, peak) = (c.mean.len(), largest_magnitude(&c.max_abs) as f32);
        work.file(&residual_file(block), &mut |path| {
            let columns = vec![
                ("block", u32s(vec![block as u32; n])),
                ("dimension", u32s((0..n as u32).collect())),
                ("count", u64s(vec![c.count; n])),
                ("mean", f64s(c.mean.clone())),
                ("second_moment", f64s(c.second.clone())),
                ("kurtosis", f64s((0..n).map(|j| c.kurtosis(j)).collect())),
                ("max_abs", f32s(c.max_abs.clone())),
                ("massive", u32s(marks(n, &self.massive_dimensions))),
            ];
            parquet_io::write(path, columns)
        })?;
        work.file(&tokens_file(block), &mut |path| {
            let columns = vec![
                ("block", u32s(vec![block as u32; tokens.len()])),
                ("sequence", u32s(tokens.iter().map(|t| t.0).collect())),
                ("position", u32s(tokens.iter().map(|t| t.1).collect())),
                ("squared_norm", f32s(tokens.iter().map(|t| t.2).collect())),
                ("massive", u32s(marks(tokens.len(), &self.massive_tokens))),
            ];
            parquet_io::write(path, columns)
        })?;
        work.file(&outliers_file(block), &mut |path| {
            let columns = vec![
                ("block", u32s(vec![block as u32])),
                ("outlier_share", f64s(vec![self.outlier_share])),
                ("massive_dimensions", u32s(vec![self.massive_dimensions.len() as u32])),
                ("massive_tokens", u32s(vec![self.massive_tokens.len() as u32])),
                ("residual_max_abs", f32s(vec![peak])),
            ];
            parquet_io::write(path, columns)
        })
    }
}

/// Massive dimensions of the residual stream behind a block, with the max|x| of each.
pub fn read_massive_dimensions(stats: &Artifact, block: usize) -> Result<Vec<(usize, f32)>> {
    let table = Table::read(stats.path(&residual_file(block))?)?;
    let (massive, peak) = (table.u32("massive")?, table.f32("max_abs")?);
    Ok((0..table.rows()).filter(|&d| massive[d] == 1).map(|d| (d, peak[d])).collect())
}
