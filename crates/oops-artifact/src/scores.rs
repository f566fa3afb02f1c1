//! Scores: one number per unit, higher = keep.

use oops_core::{Fault, ModelDims, Result, UnitKind, bail_if};
use serde::{Deserialize, Serialize};

use crate::{
    Artifact, SUMMARY, Sink,
    parquet_io::{self, Table, f64s, strings, u32s, u64s},
};

const SCORES_FILE: &str = "scores.parquet";

/// What scores of different units have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Standardised per block and site: units are compared as they are.
    Standardized,
    /// An amount of damage: units are compared per parameter that they free.
    Damage,
}

/// What a set of scores is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoresInfo {
    /// Name of the scoring stage.
    pub method: String,
    /// How scores compare across blocks and kinds.
    pub scale: Scale,
    /// Kind of the attention units.
    pub attention_unit: UnitKind,
    /// Dimensions of the model.
    pub dims: ModelDims,
}

/// Scores of one block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockScores {
    /// One per attention unit.
    pub attention: Vec<f64>,
    /// One per FFN channel.
    pub ffn: Vec<f64>,
}

/// Scores of all units of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// What they are of.
    pub info: ScoresInfo,
    /// Block by block.
    pub blocks: Vec<BlockScores>,
}

impl Scores {
    /// Writes the table: block, kind, unit, score, cost (weights the unit takes with it).
    pub fn write(&self, work: &dyn Sink) -> Result<()> {
        let rows: Vec<(u32, UnitKind, u32, f64)> = self
            .blocks
            .iter()
            .enumerate()
            .flat_map(|(l, b)| {
                let of = move |kind: UnitKind, s: &[f64]| -> Vec<_> {
                    s.iter().enumerate().map(|(i, &v)| (l as u32, kind, i as u32, v)).collect()
                };
                [of(self.info.attention_unit, &b.attention), of(UnitKind::FfnChannel, &b.ffn)].concat()
            })
            .collect();
        work.file(SCORES_FILE, &mut |path| {
            let cost = |r: &(u32, UnitKind, u32, f64)| self.info.dims.unit_cost(r.0 as usize, r.1);
            let columns = vec![
                ("block", u32s(rows.iter().map(|r| r.0).collect())),
                ("kind", strings(rows.iter().map(|r| r.1.name()))),
                ("unit", u32s(rows.iter().map(|r| r.2).collect())),
                ("score", f64s(rows.iter().map(|r| r.3).collect())),
                ("cost", u64s(rows.iter().map(cost).collect())),
            ];
            parquet_io::write(path, columns)
        })?;
        work.file(SUMMARY, &mut |path| crate::json::write(path, &self.info))
    }

    /// Reads an artifact of kind scores; every unit must have exactly one finite score, in order.
    pub fn read(artifact: &Artifact) -> Result<Self> {
        let info: ScoresInfo = crate::json::read(artifact.path(SUMMARY)?)?;
        let path = artifact.path(SCORES_FILE)?;
        let fault = |what: String| Fault::data(what).at(path.display());
        let table = Table::read(path)?;
        let (block, kind) = (table.u32("block")?, table.strings("kind")?);
        let (unit, score) = (table.u32("unit")?, table.f64("score")?);
        let mut blocks = vec![BlockScores::default(); info.dims.blocks.len()];
        for i in 0..table.rows() {
            let b =
                blocks.get_mut(block[i] as usize).ok_or_else(|| fault(format!("block {} of no model", block[i])))?;
            let list = if kind[i] == UnitKind::FfnChannel.name() { &mut b.ffn } else { &mut b.attention };
            bail_if(unit[i] as usize != list.len() || !score[i].is_finite(), || {
                fault(format!("row {i}: units must count up from 0 with finite scores"))
            })?;
            list.push(score[i]);
        }
        for (l, (b, d)) in blocks.iter().zip(&info.dims.blocks).enumerate() {
            let expected = (info.attention_unit.count(d), d.ffn);
            bail_if((b.attention.len(), b.ffn.len()) != expected, || {
                fault(format!("block {l} has {} + {} scores, not {expected:?}", b.attention.len(), b.ffn.len()))
            })?;
        }
        Ok(Self { info, blocks })
    }
}
