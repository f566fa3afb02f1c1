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
    /// OWL's layer outlier distribution per block (share of outlier weights), where the method computed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_share: Option<Vec<f64>>,
}

/// Scores of the units of one kind in one block. All vectors have one entry per unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitScores {
    /// Compares units of different blocks and kinds: decides how many go where. Higher = keep.
    pub score: Vec<f64>,
    /// Orders the units of this block and kind: decides which ones go. Higher = keep.
    pub rank: Vec<f64>,
    /// Units that must stay.
    pub protected: Vec<bool>,
}

impl UnitScores {
    /// Units whose score also is their rank, none protected.
    pub fn plain(score: Vec<f64>) -> Self {
        Self { rank: score.clone(), protected: vec![false; score.len()], score }
    }
}

/// Scores of one block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockScores {
    /// Attention units.
    pub attention: UnitScores,
    /// FFN channels.
    pub ffn: UnitScores,
}

impl BlockScores {
    /// Scores that also are the ranks.
    pub fn plain(attention: Vec<f64>, ffn: Vec<f64>) -> Self {
        Self { attention: UnitScores::plain(attention), ffn: UnitScores::plain(ffn) }
    }
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
    /// Writes the table: block, kind, unit, score, rank, protected (0 or 1), cost (weights the unit takes with it).
    pub fn write(&self, work: &dyn Sink) -> Result<()> {
        let parts: Vec<(usize, UnitKind, &UnitScores)> = self
            .blocks
            .iter()
            .enumerate()
            .flat_map(|(l, b)| [(l, self.info.attention_unit, &b.attention), (l, UnitKind::FfnChannel, &b.ffn)])
            .collect();
        let ids = |f: &dyn Fn(usize, UnitKind, &UnitScores) -> Vec<u32>| {
            u32s(parts.iter().flat_map(|(l, kind, u)| f(*l, *kind, u)).collect())
        };
        let values =
            |f: &dyn Fn(&UnitScores) -> &[f64]| f64s(parts.iter().flat_map(|(_, _, u)| f(u).to_vec()).collect());
        let costs = parts.iter().flat_map(|&(l, kind, u)| vec![self.info.dims.unit_cost(l, kind); u.score.len()]);
        work.file(SCORES_FILE, &mut |path| {
            let kinds = parts.iter().flat_map(|(_, kind, u)| vec![kind.name(); u.score.len()]);
            let columns = vec![
                ("block", ids(&|l, _, u| vec![l as u32; u.score.len()])),
                ("kind", strings(kinds)),
                ("unit", ids(&|_, _, u| (0..u.score.len() as u32).collect())),
                ("score", values(&|u| &u.score)),
                ("rank", values(&|u| &u.rank)),
                ("protected", ids(&|_, _, u| u.protected.iter().map(|&p| u32::from(p)).collect())),
                ("cost", u64s(costs.clone().collect())),
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
        let (unit, score, rank) = (table.u32("unit")?, table.f64("score")?, table.f64("rank")?);
        let protected = table.u32("protected")?;
        let mut blocks = vec![BlockScores::default(); info.dims.blocks.len()];
        for i in 0..table.rows() {
            let b =
                blocks.get_mut(block[i] as usize).ok_or_else(|| fault(format!("block {} of no model", block[i])))?;
            let units = if kind[i] == UnitKind::FfnChannel.name() { &mut b.ffn } else { &mut b.attention };
            bail_if(unit[i] as usize != units.score.len() || !score[i].is_finite() || !rank[i].is_finite(), || {
                fault(format!("row {i}: units must count up from 0 with finite scores"))
            })?;
            units.score.push(score[i]);
            units.rank.push(rank[i]);
            units.protected.push(protected[i] != 0);
        }
        for (l, (b, d)) in blocks.iter().zip(&info.dims.blocks).enumerate() {
            let expected = (info.attention_unit.count(d), d.ffn);
            let found = (b.attention.score.len(), b.ffn.score.len());
            bail_if(found != expected, || {
                fault(format!("block {l} has {found:?} scores of attention units and channels, not {expected:?}"))
            })?;
        }
        Ok(Self { info, blocks })
    }
}
