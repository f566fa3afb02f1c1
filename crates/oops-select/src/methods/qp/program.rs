//! The selection program over the bundles of all blocks, and how its solution is rounded to whole bundles.

use oops_artifact::Scores;
use oops_core::{Fault, ModelDims, Result, UnitKind, bail_if};
use oops_linalg::qp::{Allocation, Budget, BudgetRow, budget_qp};
use serde_json::json;

use super::Params;
use crate::{
    budgets::{Piece, Row},
    bundle::Queue,
    methods::global::take_more,
};

/// The units of all blocks in one list, in the order of their queues; units that no bundle holds must stay.
pub(super) struct Program {
    pub(super) blocks: usize,
    scores: Vec<f64>,
    costs: Vec<f64>,
    groups: Vec<usize>,
    protected: Vec<bool>,
    rows: Vec<Row>,
    /// For each queue and bundle its position among the units.
    at: Vec<Vec<usize>>,
    scale: f64,
}

impl Program {
    pub(super) fn new(params: &Params, scores: &Scores, queues: &[Queue]) -> Result<Self> {
        let dims = &scores.info.dims;
        let mut p = Self {
            blocks: dims.blocks.len(),
            scores: Vec::new(),
            costs: Vec::new(),
            groups: Vec::new(),
            protected: Vec::new(),
            rows: Vec::new(),
            at: vec![Vec::new(); queues.len()],
            scale: 1.0,
        };
        let mut pieces = Vec::new();
        for (q, queue) in queues.iter().enumerate() {
            for b in queue {
                p.at[q].push(p.scores.len());
                p.push(
                    b.score,
                    Piece { kind: b.kind, members: b.members.len(), cost: b.cost as f64, block: q / 2 },
                    &mut pieces,
                );
            }
        }
        let removable = p.scores.len();
        for l in 0..p.blocks {
            for (q, kind) in [(2 * l, scores.info.attention_unit), (2 * l + 1, UnitKind::FfnChannel)] {
                let (members, cost) = remainder(dims, l, kind, &queues[q]);
                if cost > 0 {
                    p.push(0.0, Piece { kind, members, cost: cost as f64, block: l }, &mut pieces);
                }
            }
        }
        p.protected = (0..p.scores.len()).map(|i| i >= removable).collect();
        p.rows = params.budgets.rows(dims, &pieces, 1.0 - params.remove_fraction)?;
        // A few enormous scores must not swamp the solver's scaling; their order and that of the rest is what counts.
        let mean = p.scores.iter().sum::<f64>() / p.scores.len().max(1) as f64;
        p.scale = if mean > 0.0 { mean } else { 1.0 };
        Ok(p)
    }

    fn push(&mut self, score: f64, piece: Piece, pieces: &mut Vec<Piece>) {
        self.scores.push(score);
        self.costs.push(piece.cost);
        self.groups.push(piece.block);
        pieces.push(piece);
    }

    pub(super) fn solve(&self, p: &Params, u0: &[f64]) -> Result<Allocation> {
        let row = |r: &Row| BudgetRow { costs: r.amounts.clone(), limit: r.limit };
        let rows: Vec<BudgetRow> = self.rows.iter().map(row).collect();
        let solved = budget_qp(&Budget {
            scores: &self.scores,
            costs: &self.costs,
            groups: &self.groups,
            protected: &self.protected,
            prior: u0,
            gamma: p.gamma,
            keep_fraction: 1.0 - p.remove_fraction,
            least: &vec![p.min_keep; self.blocks],
            most: &vec![p.max_keep; self.blocks],
            rows: &rows,
        })?;
        bail_if(!solved.status.is_usable(), || {
            Fault::numerical(format!("the selection program ended as {:?}", solved.status))
                .help("loosen `min_keep`, `max_keep` or `budgets`, or lower `remove_fraction`")
        })?;
        Ok(solved)
    }

    /// Takes bundles in order of z, then score per cost, while they fit into the budget of weights that go.
    ///
    /// Bundles that a further budget needs gone come first: a budget of weights filled with others would break it.
    pub(super) fn round(&self, queues: &[Queue], solved: &Allocation, budget: u64) -> Result<Vec<usize>> {
        let key = |&(q, i): &(usize, usize)| {
            let unit = self.at[q][i];
            // Digits below the solver's accuracy must not decide.
            ((solved.keep[unit] * 1e4).round() as i64, self.scores[unit] / self.costs[unit])
        };
        let mut order: Vec<(usize, usize)> =
            queues.iter().enumerate().flat_map(|(q, queue)| (0..queue.len()).map(move |i| (q, i))).collect();
        order.sort_by(|a, b| {
            let ((za, ra), (zb, rb)) = (key(a), key(b));
            za.cmp(&zb).then(ra.total_cmp(&rb))
        });
        let (mut taken, mut left) = (vec![0; queues.len()], budget);
        for row in &self.rows {
            let mut stays = self.stays(row, &taken);
            for &(q, i) in &order {
                let (amount, cost) = (row.amounts[self.at[q][i]], queues[q][i].cost);
                if stays > row.limit && amount > 0.0 && i == taken[q] && cost <= left {
                    taken[q] += 1;
                    left -= cost;
                    stays -= amount;
                }
            }
            bail_if(stays > row.limit, || {
                Fault::config(format!("`{}` cannot be met within `remove_fraction`", row.name))
                    .help("raise `remove_fraction`, lower `channel_multiple` or loosen the budget")
            })?;
        }
        Ok(take_more(queues, &order, taken, left))
    }

    /// What stays of a row.
    fn stays(&self, row: &Row, taken: &[usize]) -> f64 {
        let gone = self.at.iter().zip(taken).flat_map(|(at, &t)| &at[..t]).map(|&u| row.amounts[u]).sum::<f64>();
        row.amounts.iter().sum::<f64>() - gone
    }

    /// Limit, what stays and the price of every further budget.
    pub(super) fn budgets(&self, solved: &Allocation, taken: &[usize]) -> Vec<serde_json::Value> {
        let one = |(row, price): (&Row, &f64)| json!({"name": row.name, "limit": row.limit, "kept": self.stays(row, taken), "price": price});
        self.rows.iter().zip(&solved.row_prices).map(one).collect()
    }

    /// How much more score goes than the relaxed optimum gives up, relative to all score.
    pub(super) fn rounding_loss(&self, solved: &Allocation, taken: &[usize]) -> f64 {
        let relaxed: f64 = self.scores.iter().zip(&solved.keep).map(|(s, z)| s * (1.0 - z)).sum();
        let rounded: f64 = self.at.iter().zip(taken).flat_map(|(at, &t)| &at[..t]).map(|&u| self.scores[u]).sum();
        (rounded - relaxed) / (self.scale * self.scores.len() as f64)
    }
}

/// Units of a kind in block `l` that no bundle of `queue` holds, and their weights.
fn remainder(dims: &ModelDims, l: usize, kind: UnitKind, queue: &Queue) -> (usize, u64) {
    let gone: usize = queue.iter().map(|b| b.members.len()).sum();
    let members = kind.count(&dims.blocks[l]) - gone;
    if kind == UnitKind::QueryHead {
        // Keys and values stay whatever happens to query heads.
        let group = dims.blocks[l].kv_heads as u64 * dims.unit_cost(l, UnitKind::KvGroup);
        return (members, group - gone as u64 * dims.unit_cost(l, kind));
    }
    (members, members as u64 * dims.unit_cost(l, kind))
}
