//! `select.qp`
//!
//! How much each block and kind of unit may keep, as a sparse quadratic program over all units (Clarabel):
//! min over z ∈ \[0,1\]^N, u: −Σ s_i z_i + (γ/2) Σ_l W_l (u_l − u0_l)², one row c_lᵀz_l = W_l u_l per block, the budget
//! Σ W_l u_l = ρ_keep Σ W_l, bounds u_min ≤ u_l ≤ u_max, z = 1 for protected units, and optionally further budgets: KV
//! cache, multiply-accumulates, bytes of the weight file.
//! Scores and costs are scaled to mean 1. The program fixes the *counts*; ranks pick the units. Rounding fills the budget
//! in order of z, then s/c, in whole bundles, those first that a further budget still needs gone.
//! γ = 0 is the global knapsack, γ → ∞ the prior's allocation. The multiplier of the budget row is the price of a
//! parameter.
//! *Reference.* The quadratic-programming allocation is ours; the prior is OWL's (arXiv 2310.05175).

use oops_artifact::Scores;
use oops_core::{Fault, ModelDims, Result, UnitKind, bail_if};
use oops_linalg::qp::{Allocation, Budget, BudgetRow, budget_qp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    budgets::{self, Budgets, Piece, Row},
    bundle::{Limits, Queue},
    prior,
    stage::{Common, Selected, Selector},
};

/// What the program is pulled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prior {
    /// Blocks with more outlier weights keep more.
    Owl,
    /// All blocks keep the same.
    Uniform,
}

/// Parameters of the quadratic program.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// Fraction of the decoder's linear weights that goes, 0 ≤ ρ < 1.
    remove_fraction: f64,
    /// FFN widths after the cut are multiples of this.
    #[serde(default = "crate::stage::one")]
    channel_multiple: usize,
    /// KV groups (or query heads per group) that stay in every block.
    #[serde(default = "crate::stage::one")]
    min_attention: usize,
    /// Multiples of channels that stay in every block.
    #[serde(default = "crate::stage::one")]
    min_multiples: usize,
    /// γ: how much the prior weighs against the scores.
    #[serde(default = "half")]
    gamma: f64,
    /// `owl` or `uniform`.
    #[serde(default = "owl_prior")]
    prior: Prior,
    /// λ of OWL: how far the prior of a block may be from the mean, as a fraction of its weights.
    #[serde(default = "prior::owl_lambda")]
    owl_lambda: f64,
    /// u_min: least fraction of a block's weights that stays.
    #[serde(default = "fifth")]
    min_keep: f64,
    /// u_max: largest fraction of a block's weights that stays.
    #[serde(default = "whole")]
    max_keep: f64,
    /// Further budgets; open unless stated.
    #[serde(default)]
    budgets: Budgets,
}

fn half() -> f64 {
    0.5
}

fn fifth() -> f64 {
    0.2
}

fn whole() -> f64 {
    1.0
}

fn owl_prior() -> Prior {
    Prior::Owl
}

pub(crate) struct Qp;

impl Selector for Qp {
    type Params = Params;
    const NAME: &'static str = "select.qp";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "counts per block from a sparse quadratic program, units by rank";

    fn common(p: &Params) -> Common {
        let limits = Limits {
            channel_multiple: p.channel_multiple,
            min_attention: p.min_attention,
            min_multiples: p.min_multiples,
        };
        Common { remove_fraction: p.remove_fraction, limits }
    }

    fn check(p: &Params) -> Result<()> {
        let keep = 1.0 - p.remove_fraction;
        bail_if(!(p.gamma.is_finite() && p.gamma >= 0.0), || Fault::config("`gamma` must be 0 or more"))?;
        bail_if(!(0.0 <= p.min_keep && p.min_keep <= keep && keep <= p.max_keep && p.max_keep <= 1.0), || {
            Fault::config(format!("0 ≤ `min_keep` ≤ {keep:.4} (what stays in all) ≤ `max_keep` ≤ 1 does not hold"))
        })?;
        p.budgets.check()
    }

    fn select(p: &Params, scores: &Scores, queues: &[Queue], budget: u64) -> Result<Selected> {
        let needs_owl = p.prior == Prior::Owl;
        bail_if(needs_owl && scores.info.outlier_share.is_none(), || prior::no_outlier_share(&scores.info.method))?;
        budgets::check_units(&p.budgets, scores)?;
        let keep = 1.0 - p.remove_fraction;
        let program = Program::new(p, scores, queues)?;
        let u0 = if needs_owl { prior::owl(scores, keep, p.owl_lambda) } else { vec![keep; program.blocks] };
        let solved = program.solve(p, &u0)?;
        let taken = program.round(queues, &solved, budget)?;
        let lost = program.rounding_loss(&solved, &taken);
        let details = json!({
            "status": format!("{:?}", solved.status), "iterations": solved.iterations, "residuals": solved.residuals,
            "fractional": solved.fractional, "rounding_loss": lost, "price_per_parameter": solved.price,
            "block_prices": solved.group_prices, "budgets": program.budgets(&solved, &taken),
            "prior": u0, "keep_fractions": solved.fractions,
        });
        Ok(Selected { taken, details })
    }
}

/// The units of all blocks in one list, in the order of their queues; units that no bundle holds must stay.
struct Program {
    blocks: usize,
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
    fn new(params: &Params, scores: &Scores, queues: &[Queue]) -> Result<Self> {
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

    fn solve(&self, p: &Params, u0: &[f64]) -> Result<Allocation> {
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
    fn round(&self, queues: &[Queue], solved: &Allocation, budget: u64) -> Result<Vec<usize>> {
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
        Ok(super::global::take_more(queues, &order, taken, left))
    }

    /// What stays of a row.
    fn stays(&self, row: &Row, taken: &[usize]) -> f64 {
        let gone = self.at.iter().zip(taken).flat_map(|(at, &t)| &at[..t]).map(|&u| row.amounts[u]).sum::<f64>();
        row.amounts.iter().sum::<f64>() - gone
    }

    /// Limit, what stays and the price of every further budget.
    fn budgets(&self, solved: &Allocation, taken: &[usize]) -> Vec<serde_json::Value> {
        let one = |(row, price): (&Row, &f64)| json!({"name": row.name, "limit": row.limit, "kept": self.stays(row, taken), "price": price});
        self.rows.iter().zip(&solved.row_prices).map(one).collect()
    }

    /// How much more score goes than the relaxed optimum gives up, relative to all score.
    fn rounding_loss(&self, solved: &Allocation, taken: &[usize]) -> f64 {
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

#[cfg(test)]
mod tests {
    use oops_artifact::Scale;

    use super::*;
    use crate::bundle::{bundles, testkit::*};

    fn run(json: serde_json::Value, percent: u64) -> (u64, Vec<usize>, Vec<Queue>, Selected) {
        let mut s = scores(UnitKind::KvGroup, Scale::Damage);
        s.info.outlier_share = Some(vec![0.0, 0.1, 0.2]);
        let queues = bundles(&s, &LIMITS);
        let p: Params = serde_json::from_value(json).unwrap();
        let budget = s.info.dims.decoder_params() * percent / 100;
        let selected = Qp::select(&p, &s, &queues, budget).unwrap();
        (budget, selected.taken.clone(), queues, selected)
    }

    fn spent(queues: &[Queue], taken: &[usize]) -> u64 {
        queues.iter().zip(taken).flat_map(|(q, &t)| &q[..t]).map(|b| b.cost).sum()
    }

    #[test]
    fn the_budget_is_met_to_one_bundle_and_the_solver_reports() {
        let (budget, taken, queues, selected) = run(json!({"remove_fraction": 0.4}), 40);
        let gone = spent(&queues, &taken);
        assert!(gone <= budget && budget - gone < 24, "{gone} of {budget}");
        assert!(selected.details["status"].as_str().unwrap().contains("Solved"), "{}", selected.details);
    }

    #[test]
    fn a_strong_prior_decides_the_blocks() {
        let (_, taken, queues, _) = run(json!({"remove_fraction": 0.4, "gamma": 1e6, "owl_lambda": 0.15}), 40);
        let gone = |l: usize| spent(&queues[2 * l..2 * l + 2], &taken[2 * l..2 * l + 2]);
        assert!(gone(0) > gone(1) && gone(1) > gone(2), "{taken:?}");
    }

    #[test]
    fn further_budgets_hold_after_rounding() {
        let (_, taken, queues, selected) =
            run(json!({"remove_fraction": 0.4, "budgets": {"kv_keep_fraction": 0.5}}), 40);
        let heads: usize = queues.iter().zip(&taken).step_by(2).map(|(_, t)| t).sum();
        // Nine groups: at least five must go.
        assert!(heads >= 5, "{taken:?}");
        assert_eq!(selected.details["budgets"][0]["kept"], 9.0 - heads as f64);
        let p: Params = serde_json::from_value(
            json!({"remove_fraction": 0.05, "min_keep": 0.0, "budgets": {"macs_keep_fraction": 0.2}}),
        )
        .unwrap();
        let mut s = scores(UnitKind::KvGroup, Scale::Damage);
        s.info.outlier_share = Some(vec![0.1; 3]);
        let queues = bundles(&s, &LIMITS);
        assert!(Qp::select(&p, &s, &queues, s.info.dims.decoder_params() / 20).is_err());
    }
}
