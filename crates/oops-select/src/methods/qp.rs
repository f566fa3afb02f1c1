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

mod program;

use oops_artifact::Scores;
use oops_core::{Fault, Result, bail_if};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    budgets::{self, Budgets},
    bundle::Queue,
    prior,
    stage::{Selected, Selector, selection_params},
};

use program::Program;

/// What the program is pulled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prior {
    /// Blocks with more outlier weights keep more.
    Owl,
    /// All blocks keep the same.
    Uniform,
}

selection_params! {
    /// Parameters of the quadratic program.
    pub(crate) struct Params {
        /// γ: how much the prior weighs against the scores. 1 does well on SmolLM2 and on the model in data/, 2 on the former
        /// alone (docs/results.md, "gamma").
        #[serde(default = "one")]
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
        #[serde(default = "one")]
        max_keep: f64,
        /// Further budgets; open unless stated.
        #[serde(default)]
        budgets: Budgets,
    }
}

fn fifth() -> f64 {
    0.2
}

fn one() -> f64 {
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

#[cfg(test)]
mod tests {
    use oops_artifact::Scale;
    use oops_core::UnitKind;

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
