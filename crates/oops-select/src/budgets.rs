//! Budgets besides that of the weights: KV cache, multiply-accumulates, bytes of the weight file.
//!
//! Each is a row aᵀz ≤ limit of the selection program, with a the amount that a unit takes with it.

use oops_artifact::Scores;
use oops_core::{Fault, ModelDims, Result, UnitKind, bail_if};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Further budgets; each is open unless it is stated.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Budgets {
    /// Largest fraction of the KV cache that stays.
    pub(crate) kv_keep_fraction: Option<f64>,
    /// Largest fraction of the decoder's multiply-accumulates per token that stays, at `context_tokens` tokens in the cache.
    pub(crate) macs_keep_fraction: Option<f64>,
    /// Tokens in the cache at which multiply-accumulates are counted.
    pub(crate) context_tokens: u64,
    /// Most bytes of the weight file, embedding, head and norms included.
    pub(crate) file_bytes: Option<u64>,
    /// Bytes of one weight in that file (2 for f16 and bf16).
    pub(crate) bytes_per_weight: f64,
}

/// One further budget over all kept units.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Amount per unit of the program.
    pub(crate) amounts: Vec<f64>,
    /// Most that may stay.
    pub(crate) limit: f64,
}

/// A unit as the budgets see it: `members` units of `kind`, `cost` weights in all.
pub(crate) struct Piece {
    pub(crate) kind: UnitKind,
    pub(crate) members: usize,
    pub(crate) cost: f64,
    pub(crate) block: usize,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            kv_keep_fraction: None,
            macs_keep_fraction: None,
            context_tokens: 2048,
            file_bytes: None,
            bytes_per_weight: 2.0,
        }
    }
}

impl Budgets {
    /// Checks the numbers.
    pub(crate) fn check(&self) -> Result<()> {
        let fractions = [("kv_keep_fraction", self.kv_keep_fraction), ("macs_keep_fraction", self.macs_keep_fraction)];
        for (name, fraction) in fractions {
            bail_if(fraction.is_some_and(|f| !(0.0..=1.0).contains(&f)), || {
                Fault::config(format!("`{name}` must be in 0…1"))
            })?;
        }
        bail_if(!(self.bytes_per_weight.is_finite() && self.bytes_per_weight > 0.0), || {
            Fault::config("`bytes_per_weight` must be above 0")
        })
    }

    /// The rows that are asked for.
    pub(crate) fn rows(&self, dims: &ModelDims, pieces: &[Piece], keep: f64) -> Result<Vec<Row>> {
        let amounts = |f: &dyn Fn(&Piece) -> f64| pieces.iter().map(f).collect::<Vec<f64>>();
        let share = |name, fraction: Option<f64>, amounts: Vec<f64>| {
            fraction.map(|f| Row { name, limit: f * amounts.iter().sum::<f64>(), amounts })
        };
        let kv = amounts(&|p| if p.kind == UnitKind::KvGroup { p.members as f64 } else { 0.0 });
        let macs = amounts(&|p| p.cost + self.attention_macs(dims, p));
        let mut rows: Vec<Row> = [
            share("kv_keep_fraction", self.kv_keep_fraction, kv),
            share("macs_keep_fraction", self.macs_keep_fraction, macs),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some(bytes) = self.file_bytes {
            let limit = bytes as f64 - self.bytes_per_weight * outer_params(dims) as f64;
            let all = self.bytes_per_weight * dims.decoder_params() as f64;
            bail_if(limit < keep * all, || {
                let least = 1.0 - limit.max(0.0) / all;
                Fault::config(format!("a file of {bytes} bytes needs a `remove_fraction` of at least {least:.4}"))
                    .help("raise `remove_fraction` or `file_bytes`, or lower `bytes_per_weight`")
            })?;
            rows.push(Row { name: "file_bytes", amounts: amounts(&|p| self.bytes_per_weight * p.cost), limit });
        }
        Ok(rows)
    }

    /// q·kᵀ and the sum over values: 2·context·d_h per query head and token.
    fn attention_macs(&self, dims: &ModelDims, p: &Piece) -> f64 {
        let b = &dims.blocks[p.block];
        let heads = match p.kind {
            UnitKind::KvGroup => p.members * b.group_size(),
            UnitKind::QueryHead => p.members,
            UnitKind::FfnChannel => 0,
        };
        (2 * self.context_tokens * (heads * b.head_dim) as u64) as f64
    }
}

/// Weights outside the decoder's linear layers: embedding, head unless tied, norms.
fn outer_params(dims: &ModelDims) -> u64 {
    let tables = if dims.tied { 1 } else { 2 };
    (dims.hidden * (tables * dims.vocab + 2 * dims.blocks.len() + 1)) as u64
}

/// Fails if the scores are of units that a budget cannot count.
pub(crate) fn check_units(budgets: &Budgets, scores: &Scores) -> Result<()> {
    let heads = scores.info.attention_unit == UnitKind::QueryHead;
    bail_if(heads && budgets.kv_keep_fraction.is_some_and(|f| f < 1.0), || {
        Fault::config("`kv_keep_fraction` needs scores of KV groups: removing query heads leaves the cache as it is")
            .help("set `attention_unit: kv_group` on the score stage")
    })
}

#[cfg(test)]
mod tests {
    use oops_core::BlockDims;

    use super::*;

    #[test]
    fn amounts_are_those_of_a_hand_count() {
        let block = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 3, ffn: 5 };
        let dims = ModelDims { hidden: 6, vocab: 10, tied: true, gated: true, blocks: vec![block] };
        let pieces = [
            Piece { kind: UnitKind::KvGroup, members: 2, cost: 216.0, block: 0 },
            Piece { kind: UnitKind::FfnChannel, members: 5, cost: 90.0, block: 0 },
        ];
        let b = Budgets {
            kv_keep_fraction: Some(0.5),
            macs_keep_fraction: Some(0.5),
            context_tokens: 10,
            file_bytes: Some(700),
            bytes_per_weight: 2.0,
        };
        let rows = b.rows(&dims, &pieces, 0.5).unwrap();
        assert_eq!(rows[0].amounts, [2.0, 0.0]);
        // Four query heads: 2·10·3 each.
        assert_eq!((rows[1].amounts.as_slice(), rows[1].limit), ([456.0, 90.0].as_slice(), 273.0));
        // 60 embedding and 18 norm weights leave 544 bytes.
        assert_eq!((rows[2].amounts.as_slice(), rows[2].limit), ([432.0, 180.0].as_slice(), 544.0));
        let fault = Budgets { file_bytes: Some(300), ..b }.rows(&dims, &pieces, 0.5).err().unwrap();
        assert!(fault.what().contains("at least 0.7"), "{fault}");
    }
}
