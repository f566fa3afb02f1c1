//! How much each group of units may keep: the budget quadratic program.
//!
//! min over z ∈ [0,1]^N, u ∈ R^L:  −Σ_i s_i z_i + (γ/2) Σ_l W_l (u_l − u0_l)²
//! subject to c_lᵀz_l = W_l u_l (one row per group, W_l = Σ c_i over it), Σ_l W_l u_l = ρ Σ_l W_l, u_min ≤ u ≤ u_max,
//! z_i = 1 for protected units, and any further rows aᵀz ≤ limit. Scores and costs are first scaled to mean 1, so γ means
//! the same for every model. γ = 0 is the fractional knapsack; γ → ∞ gives each group its prior.
//!
//! The dual of the budget row is the price of a parameter: the score that one more unit of cost would buy.

use oops_core::{Fault, Result, bail_if};

use super::QpStatus;
use super::layout::Layout;

/// Everything that the program depends on. N units, L groups.
#[derive(Clone, Debug)]
pub struct Budget<'a> {
    /// s, N numbers, higher = keep.
    pub scores: &'a [f64],
    /// c, N positive numbers: the parameters that a unit takes with it.
    pub costs: &'a [f64],
    /// The group of each unit, below L.
    pub groups: &'a [usize],
    /// N flags: units that must stay.
    pub protected: &'a [bool],
    /// u0, L kept fractions that the prior wishes.
    pub prior: &'a [f64],
    /// γ ≥ 0: how much the prior weighs against the scores.
    pub gamma: f64,
    /// ρ: the kept fraction of all cost, 0 to 1.
    pub keep_fraction: f64,
    /// u_min, L numbers.
    pub least: &'a [f64],
    /// u_max, L numbers.
    pub most: &'a [f64],
    /// Further limits.
    pub rows: &'a [BudgetRow],
}

/// A further limit Σ a_i z_i ≤ limit over kept units, such as multiply-accumulates or key-value cache bytes.
#[derive(Clone, Debug)]
pub struct BudgetRow {
    /// a, N non-negative numbers.
    pub costs: Vec<f64>,
    /// The most that the kept units may add up to.
    pub limit: f64,
}

/// The optimum.
#[derive(Clone, Debug)]
pub struct Allocation {
    /// How the solve ended; nothing below means anything unless it is usable.
    pub status: QpStatus,
    /// Interior-point iterations.
    pub iterations: u32,
    /// z, N numbers in [0, 1].
    pub keep: Vec<f64>,
    /// u, the kept fraction of each group's cost.
    pub fractions: Vec<f64>,
    /// Score per cost that one more unit of total cost would buy.
    pub price: f64,
    /// Score per cost at the margin of each group, before the further rows: a unit far above it stays.
    pub group_prices: Vec<f64>,
    /// Score per unit of each further row's limit; 0 when the row does not bind.
    pub row_prices: Vec<f64>,
    /// How many units are neither kept nor removed by more than 1e-4.
    pub fractional: usize,
    /// Relative residuals of the rows and of the gradient.
    pub residuals: [f64; 2],
    /// Wall time.
    pub seconds: f64,
}

/// Solves the budget program. Fails on wrong lengths and impossible numbers; an infeasible budget is a status.
pub fn budget_qp(budget: &Budget<'_>) -> Result<Allocation> {
    budget.check()?;
    let layout = Layout::new(budget).with_cap(budget);
    let outcome = layout.problem(budget).solve()?;
    if outcome.status == QpStatus::Infeasible || outcome.status.is_usable() && layout.is_exact(budget, &outcome) {
        return Ok(layout.read(budget, outcome));
    }
    let layout = Layout::new(budget);
    let outcome = layout.problem(budget).solve()?;
    Ok(layout.read(budget, outcome))
}

impl Budget<'_> {
    fn check(&self) -> Result<()> {
        let (n, l) = (self.scores.len(), self.prior.len());
        let lengths = [self.costs.len(), self.groups.len(), self.protected.len()].iter().all(|&k| k == n)
            && self.least.len() == l
            && self.most.len() == l
            && self.rows.iter().all(|r| r.costs.len() == n)
            && self.groups.iter().all(|&g| g < l);
        bail_if(!lengths, || {
            Fault::internal(format!("a budget of {n} units in {l} groups has lists of other lengths"))
        })?;
        let positive = self.costs.iter().all(|c| c.is_finite() && *c > 0.0);
        bail_if(!positive, || Fault::data("a unit's cost is not a positive number"))?;
        bail_if(self.scores.iter().any(|s| !s.is_finite()), || Fault::data("a unit's score is not finite"))?;
        let fractions = (0.0..=1.0).contains(&self.keep_fraction) && self.gamma.is_finite() && self.gamma >= 0.0;
        let ordered = self.least.iter().zip(self.most).all(|(a, b)| a <= b) && self.prior.iter().all(|u| u.is_finite());
        bail_if(!(fractions && ordered), || {
            Fault::config(format!(
                "keep fraction {} or γ {} or a group's bounds are not allowed",
                self.keep_fraction, self.gamma
            ))
            .help("a keep fraction from 0 to 1, γ of 0 or more, and lower bounds that do not exceed the upper ones")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::normal;

    struct Case {
        scores: Vec<f64>,
        costs: Vec<f64>,
        groups: Vec<usize>,
        protected: Vec<bool>,
        prior: Vec<f64>,
        least: Vec<f64>,
        most: Vec<f64>,
    }

    impl Case {
        /// Heavy-tailed scores in groups of unequal size; groups 0, 2, … hold costly units.
        fn new(per_group: usize, groups: usize) -> Self {
            let n = per_group * groups;
            let group: Vec<usize> = (0..n).map(|i| i % groups).collect();
            Self {
                scores: normal(31, n).iter().map(|x| f64::from(3.0 * x).exp()).collect(),
                costs: group.iter().map(|g| if g % 2 == 0 { 40.0 } else { 3.0 }).collect(),
                protected: vec![false; n],
                prior: (0..groups).map(|g| 0.5 + 0.3 * g as f64 / groups as f64).collect(),
                least: vec![0.0; groups],
                most: vec![1.0; groups],
                groups: group,
            }
        }

        fn budget(&self, gamma: f64) -> Budget<'_> {
            Budget {
                scores: &self.scores,
                costs: &self.costs,
                groups: &self.groups,
                protected: &self.protected,
                prior: &self.prior,
                gamma,
                keep_fraction: 0.7,
                least: &self.least,
                most: &self.most,
                rows: &[],
            }
        }
    }

    /// Kept score and kept cost fraction of an allocation.
    fn totals(case: &Case, keep: &[f64]) -> (f64, f64) {
        let dot = |v: &[f64]| v.iter().zip(keep).map(|(a, z)| a * z).sum::<f64>();
        (dot(&case.scores), dot(&case.costs) / case.costs.iter().sum::<f64>())
    }

    #[test]
    fn without_a_prior_it_is_the_knapsack_sorted_by_ratio() {
        let case = Case::new(250, 4);
        let found = budget_qp(&case.budget(0.0)).unwrap();
        let (score, kept) = totals(&case, &found.keep);
        let mut order: Vec<usize> = (0..1000).collect();
        order.sort_by(|&a, &b| (case.scores[b] / case.costs[b]).total_cmp(&(case.scores[a] / case.costs[a])));
        let (mut left, mut best, mut price) = (0.7 * case.costs.iter().sum::<f64>(), 0.0, 0.0);
        for i in order {
            let share = (left / case.costs[i]).clamp(0.0, 1.0);
            (left, best) = (left - share * case.costs[i], best + share * case.scores[i]);
            price = if share > 0.0 { case.scores[i] / case.costs[i] } else { price };
        }
        assert!(found.status.is_usable() && (kept - 0.7).abs() < 1e-6 && (score / best - 1.0).abs() < 1e-6);
        assert!((found.price / price - 1.0).abs() < 0.02, "{} {price}", found.price);
        assert!(found.fractional <= 8, "{}", found.fractional);
    }

    /// Kept fraction of one group at total price `mu`: where the marginal ratio minus the pull to the prior meets it.
    fn fraction_at(case: &Case, g: usize, gamma: f64, mu: f64, units: (f64, f64)) -> f64 {
        let mut own: Vec<usize> = (0..case.scores.len()).filter(|&i| case.groups[i] == g).collect();
        let ratio = |i: usize| case.scores[i] / units.0 / (case.costs[i] / units.1);
        own.sort_by(|&a, &b| ratio(b).total_cmp(&ratio(a)));
        let total: f64 = own.iter().map(|&i| case.costs[i]).sum();
        let marginal = |u: f64| {
            let mut left = u * total;
            let at = own.iter().position(|&i| {
                left -= case.costs[i];
                left < 0.0
            });
            at.map_or(0.0, |k| ratio(own[k])) - gamma * (u - case.prior[g]) - mu
        };
        let (mut low, mut high) = (case.least[g], case.most[g]);
        for _ in 0..60 {
            let u = f64::midpoint(low, high);
            if marginal(u) > 0.0 { low = u } else { high = u }
        }
        low
    }

    #[test]
    fn with_a_prior_it_meets_the_dual_bisection() {
        let mut case = Case::new(200, 5);
        (case.least, case.most) = (vec![0.2; 5], vec![0.85; 5]);
        let gamma = 0.5;
        let found = budget_qp(&case.budget(gamma)).unwrap();
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let units = (mean(&case.scores), mean(&case.costs));
        let weight = |g: usize| (0..1000).filter(|i| i % 5 == g).map(|i| case.costs[i]).sum::<f64>();
        let whole: f64 = (0..5).map(weight).sum();
        let fractions = |mu: f64| (0..5).map(|g| fraction_at(&case, g, gamma, mu, units)).collect::<Vec<_>>();
        let (mut low, mut high) = (-10.0, 1e4);
        for _ in 0..60 {
            let mu = f64::midpoint(low, high);
            let kept: f64 = fractions(mu).iter().enumerate().map(|(g, u)| u * weight(g)).sum();
            if kept > 0.7 * whole { low = mu } else { high = mu }
        }
        let expected = fractions(high);
        let close = found.fractions.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(found.status.is_usable() && close, "{:?} {expected:?}", found.fractions);
        assert!((found.price * units.1 / units.0 - high).abs() < 0.02 * high.abs().max(0.1), "{} {high}", found.price);
    }

    #[test]
    fn a_heavy_prior_decides_alone_and_protection_holds() {
        let mut case = Case::new(100, 4);
        case.prior = vec![0.6, 0.9, 0.7, 0.8];
        // The prior must spend the budget exactly for it to be met: costs are 40, 3, 40, 3.
        let keep = (0.6 * 40.0 + 0.9 * 3.0 + 0.7 * 40.0 + 0.8 * 3.0) / 86.0;
        let worst = (0..400).min_by(|&a, &b| case.scores[a].total_cmp(&case.scores[b])).unwrap();
        case.protected[worst] = true;
        let found = budget_qp(&Budget { keep_fraction: keep, ..case.budget(1e6) }).unwrap();
        assert!(found.fractions.iter().zip(&case.prior).all(|(a, b)| (a - b).abs() < 1e-3), "{:?}", found.fractions);
        assert_eq!(found.keep[worst], 1.0);
    }

    #[test]
    fn a_group_that_may_keep_little_has_a_price_above_the_cap() {
        // Group 0 may keep 5 %: its marginal unit has a far higher ratio than the whole budget's, so the cut-off tail
        // would hide the ranking at its margin. The best units must stay all the same.
        let mut case = Case::new(200, 2);
        case.most = vec![0.05, 1.0];
        let found = budget_qp(&Budget { keep_fraction: 0.1, ..case.budget(0.0) }).unwrap();
        let mut own: Vec<usize> = (0..400).filter(|i| i % 2 == 0).collect();
        own.sort_by(|&a, &b| case.scores[b].total_cmp(&case.scores[a]));
        assert!(own[..10].iter().all(|&i| found.keep[i] > 0.99) && own[11..].iter().all(|&i| found.keep[i] < 0.01));
    }

    #[test]
    fn programs_without_an_interior_are_solved() {
        let mut case = Case::new(50, 3);
        let everything = budget_qp(&Budget { keep_fraction: 1.0, ..case.budget(0.5) }).unwrap();
        assert!(everything.status.is_usable() && everything.keep.iter().all(|z| *z > 0.999), "{:?}", everything.status);
        let nothing = budget_qp(&Budget { keep_fraction: 0.0, ..case.budget(0.5) }).unwrap();
        assert!(nothing.status.is_usable() && nothing.keep.iter().all(|z| *z < 0.001), "{:?}", nothing.status);
        (case.least[1], case.most[1]) = (0.4, 0.4);
        let fixed = budget_qp(&case.budget(0.0)).unwrap();
        assert!(fixed.status.is_usable() && (fixed.fractions[1] - 0.4).abs() < 1e-4, "{:?}", fixed.fractions);
    }

    #[test]
    fn further_rows_bind_and_have_a_price_and_impossible_budgets_are_statuses() {
        let case = Case::new(100, 4);
        let per_unit: Vec<f64> = case.groups.iter().map(|&g| f64::from(u8::from(g == 1))).collect();
        let rows = [BudgetRow { costs: per_unit, limit: 30.0 }];
        let found = budget_qp(&Budget { rows: &rows, ..case.budget(0.0) }).unwrap();
        let kept: f64 = found.keep.iter().zip(&case.groups).filter(|(_, g)| **g == 1).map(|(z, _)| z).sum();
        assert!(found.status.is_usable() && kept < 30.0 + 1e-4 && found.row_prices[0] > 0.0, "{kept}");
        let least = [0.8; 4];
        let impossible = budget_qp(&Budget { least: &least, ..case.budget(0.0) }).unwrap();
        assert_eq!(impossible.status, QpStatus::Infeasible);
    }
}
