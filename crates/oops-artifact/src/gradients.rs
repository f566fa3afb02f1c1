//! Mask gradients: with a mask variable m_u = 1 on every unit u, g_{b,u} = ∂L_b/∂m_u of every sequence b, L_b the summed
//! next-token cross-entropy of the sequence.
//!
//! One Parquet file per block holds Σ_b g and Σ_b g² of each unit, one file the losses of the sequences; where they were
//! asked for, one file per block and kind of unit holds every g_{b,u}. A KV group's g is the sum of its query heads' g.
//! Curvature, where asked for, is one file per block and site: the packed lower triangle of G = Σ_t y_t y_tᵀ / T with
//! y_t = ∂L/∂(output of the site's projection at token t), one half of a Kronecker-factored Fisher matrix.

use std::path::Path;

use oops_core::{Fault, ModelDims, Result, Site, UnitKind, bail_if, finite::check_finite};
use serde::{Deserialize, Serialize};

use crate::{
    Artifact,
    parquet_io::{self, Table, f64s, strings, u32s},
    stats::read_packed,
};

/// Name of the file with the losses of the sequences.
pub const LOSSES: &str = "losses.parquet";

/// What a set of mask gradients is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientsInfo {
    /// Dimensions of the model.
    pub dims: ModelDims,
    /// Sequences.
    pub sequences: usize,
    /// Tokens in all sequences.
    pub tokens: usize,
    /// Mean cross-entropy per predicted token, in nats.
    pub mean_loss: f64,
    /// Whether every sequence's gradients are there.
    pub per_sequence: bool,
    /// Whether the curvature behind every site is there.
    pub curvature: bool,
}

/// Name of the file with the gradients of a block.
pub fn gradients_file(block: usize) -> String {
    format!("gradients/block-{block:03}.parquet")
}

/// Name of the file with every sequence's gradients of a block's units of one kind.
pub fn sequence_gradients_file(block: usize, kind: UnitKind) -> String {
    format!("per-sequence/block-{block:03}.{kind}.parquet")
}

/// Name of the file with the curvature behind a site.
pub fn curvature_file(block: usize, site: Site) -> String {
    format!("curvature/block-{block:03}.{site}.parquet")
}

/// Reads the curvature behind a site whose projection has `outputs` outputs, the packed lower triangle of
/// G = Σ_t y_t y_tᵀ / T as [`crate::write_gram`] wrote it.
pub fn read_curvature(artifact: &Artifact, block: usize, site: Site, outputs: usize) -> Result<Vec<f32>> {
    read_packed(artifact.path(&curvature_file(block, site))?, outputs)
}

/// Writes the gradients of one block: for each kind Σ_b g and Σ_b g², one entry per unit.
pub fn write_gradients(path: &Path, block: usize, kinds: &[(UnitKind, Vec<f64>, Vec<f64>)]) -> Result<()> {
    let rows: usize = kinds.iter().map(|(_, sum, _)| sum.len()).sum();
    let columns = vec![
        ("block", u32s(vec![block as u32; rows])),
        ("kind", strings(kinds.iter().flat_map(|(kind, sum, _)| vec![kind.name(); sum.len()]))),
        ("unit", u32s(kinds.iter().flat_map(|(_, sum, _)| 0..sum.len() as u32).collect())),
        ("sum_g", f64s(kinds.iter().flat_map(|(_, sum, _)| sum.clone()).collect())),
        ("sum_g2", f64s(kinds.iter().flat_map(|(_, _, squares)| squares.clone()).collect())),
    ];
    parquet_io::write(path, columns)
}

/// Reads Σ_b g and Σ_b g² of the units of one kind in one block.
pub fn read_gradients(artifact: &Artifact, block: usize, kind: UnitKind) -> Result<(Vec<f64>, Vec<f64>)> {
    let path = artifact.path(&gradients_file(block))?;
    let table = Table::read(path)?;
    let (kinds, units) = (table.strings("kind")?, table.u32("unit")?);
    let (sum, squares) = (table.f64("sum_g")?, table.f64("sum_g2")?);
    let mut out = (Vec::new(), Vec::new());
    for i in (0..table.rows()).filter(|&i| kinds[i] == kind.name()) {
        bail_if(units[i] as usize != out.0.len() || !sum[i].is_finite() || !squares[i].is_finite(), || {
            Fault::data(format!("row {i}: units must count up from 0 with finite gradients")).at(path.display())
        })?;
        out.0.push(sum[i]);
        out.1.push(squares[i]);
    }
    Ok(out)
}

/// Writes every sequence's gradients of units of one kind: `g` holds g_{b,u} at `b·units + u`.
pub fn write_sequence_gradients(path: &Path, units: usize, g: &[f64]) -> Result<()> {
    let index = |f: &dyn Fn(usize) -> usize| u32s((0..g.len()).map(|i| f(i) as u32).collect());
    let columns = vec![("sequence", index(&|i| i / units)), ("unit", index(&|i| i % units)), ("g", f64s(g.to_vec()))];
    parquet_io::write(path, columns)
}

/// Reads every sequence's gradients of the units of one kind in one block: g_{b,u} at `b·units + u`.
pub fn read_sequence_gradients(artifact: &Artifact, block: usize, kind: UnitKind, units: usize) -> Result<Vec<f64>> {
    let path = artifact.path(&sequence_gradients_file(block, kind))?;
    let table = Table::read(path)?;
    let (sequence, unit, g) = (table.u32("sequence")?, table.u32("unit")?, table.f64("g")?);
    let placed = |(i, (&b, &u)): (usize, (&u32, &u32))| b as usize * units + u as usize == i && (u as usize) < units;
    bail_if(!sequence.iter().zip(&unit).enumerate().all(placed), || {
        Fault::data(format!("rows must be ordered by sequence, then by one of {units} units")).at(path.display())
    })?;
    check_finite(&g, "a gradient").map_err(|f| f.at(path.display()))?;
    Ok(g)
}

/// Writes the summed cross-entropy L_b of every sequence, in nats, beside its number of tokens.
pub fn write_losses(path: &Path, tokens: &[usize], losses: &[f64]) -> Result<()> {
    let columns = vec![
        ("sequence", u32s((0..losses.len() as u32).collect())),
        ("tokens", u32s(tokens.iter().map(|&n| n as u32).collect())),
        ("loss", f64s(losses.to_vec())),
    ];
    parquet_io::write(path, columns)
}

/// Reads the losses that [`write_losses`] wrote to `path`.
pub fn read_losses(path: &Path) -> Result<Vec<f64>> {
    let losses = Table::read(path)?.f64("loss")?;
    check_finite(&losses, "the loss of a sequence").map_err(|f| f.at(path.display()))?;
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;
    use crate::{Kind, Tree};

    #[test]
    fn sums_and_sequences_come_back_by_kind_and_wrong_widths_are_refused() {
        let dir = std::env::temp_dir().join(format!("oops-gradients-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let kind = UnitKind::FfnChannel;
        let (sums, rows) = (dir.join("sums"), dir.join("rows"));
        let kinds = [(kind, vec![1.5, 0.0], vec![1.25, 8.0]), (UnitKind::QueryHead, vec![9.0], vec![41.0])];
        write_gradients(&sums, 7, &kinds).unwrap();
        write_sequence_gradients(&rows, 2, &[1.0, 2.0, 0.5, -2.0]).unwrap();
        write_losses(&dir.join(LOSSES), &[3, 9], &[0.25, 1.0]).unwrap();
        let paths = BTreeMap::from([(gradients_file(7), sums), (sequence_gradients_file(7, kind), rows)]);
        let artifact = Artifact { kind: Kind::Gradients, tree: Tree::default(), paths };
        assert_eq!(read_gradients(&artifact, 7, kind).unwrap(), (vec![1.5, 0.0], vec![1.25, 8.0]));
        assert_eq!(read_gradients(&artifact, 7, UnitKind::QueryHead).unwrap(), (vec![9.0], vec![41.0]));
        assert_eq!(read_sequence_gradients(&artifact, 7, kind, 2).unwrap(), [1.0, 2.0, 0.5, -2.0]);
        assert!(read_sequence_gradients(&artifact, 7, kind, 3).is_err());
        assert_eq!(read_losses(&dir.join(LOSSES)).unwrap(), [0.25, 1.0]);
        fs::remove_dir_all(dir).unwrap();
    }
}
