//! Mask gradients: per unit Σ_b g and Σ_b g², g the derivative of one sequence's loss with respect to the unit's mask.
//! One Parquet file per block; a KV group's g is the sum of its heads'.

use std::path::Path;

use oops_core::{Fault, Result, UnitKind, bail_if};

use crate::{
    Artifact,
    parquet_io::{self, Table, f64s, strings, u32s},
};

/// Name of the file with the gradients of a block.
pub fn gradients_file(block: usize) -> String {
    format!("gradients/block-{block:03}.parquet")
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
