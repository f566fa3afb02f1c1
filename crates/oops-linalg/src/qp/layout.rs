//! The budget program as rows and columns: where each unit, group and limit sits, and in which units.

use oops_core::finite::smaller;

use super::{Allocation, Budget, BudgetRow, Outcome, Problem, Sparse};

/// Where things are: free units first, then the L fractions; equalities first, then bounds, then further rows.
pub(crate) struct Layout {
    /// The units that are not protected.
    free: Vec<usize>,
    /// Mean |score| and mean cost, by which both are divided.
    score_unit: f64,
    cost_unit: f64,
    /// W and the cost of protected units, per group, in cost units.
    totals: Vec<f64>,
    held: Vec<f64>,
    /// Score per cost, in units, above which scores are cut off; infinite for none.
    cap: f64,
}

impl Layout {
    pub(crate) fn new(b: &Budget<'_>) -> Self {
        let mean = |sum: f64| Some(sum / b.scores.len() as f64).filter(|m| *m > 0.0 && m.is_finite()).unwrap_or(1.0);
        let score_unit = mean(b.scores.iter().map(|s| s.abs()).sum());
        let cost_unit = mean(b.costs.iter().sum());
        let (mut totals, mut held) = (vec![0.0; b.prior.len()], vec![0.0; b.prior.len()]);
        for (i, &g) in b.groups.iter().enumerate() {
            totals[g] += b.costs[i] / cost_unit;
            held[g] += if b.protected[i] { b.costs[i] / cost_unit } else { 0.0 };
        }
        let free = (0..b.scores.len()).filter(|&i| !b.protected[i]).collect();
        Self { free, score_unit, cost_unit, totals, held, cap: f64::INFINITY }
    }

    /// The same program with the tail of the scores cut off far above the price that they will meet.
    ///
    /// A few units with ten thousand times the mean score are kept at any price, but the solver's gap is relative to the
    /// objective that they make up: without them the units at the margin are told apart better and in fewer iterations.
    /// Cutting changes nothing when [`Layout::is_exact`] holds afterwards.
    pub(crate) fn with_cap(mut self, b: &Budget<'_>) -> Self {
        let ratio = |i: usize| b.scores[i] / self.score_unit / (b.costs[i] / self.cost_unit);
        let mut ranked: Vec<(f64, f64)> = self.free.iter().map(|&i| (ratio(i), b.costs[i] / self.cost_unit)).collect();
        ranked.sort_unstable_by(|x, y| y.0.total_cmp(&x.0));
        let whole: f64 = self.totals.iter().sum();
        let mut left = b.keep_fraction * whole - self.held.iter().sum::<f64>();
        let margin = ranked.iter().find(|(_, cost)| {
            left -= cost;
            left <= 0.0
        });
        if let Some((price, _)) = margin.filter(|m| m.0 > 0.0) {
            self.cap = 10.0 * price + b.gamma;
        }
        self
    }

    /// Score of unit i in units, cut off at the cap.
    fn gain(&self, b: &Budget<'_>, i: usize) -> f64 {
        smaller(b.scores[i] / self.score_unit, self.cap * b.costs[i] / self.cost_unit)
    }

    /// Whether every score that was cut off still lies clearly above what its unit costs at the solution's prices, so
    /// that the point is optimal for the whole scores too.
    pub(crate) fn is_exact(&self, b: &Budget<'_>, outcome: &Outcome) -> bool {
        let further = self.further();
        self.free.iter().filter(|&&i| b.scores[i] / self.score_unit > self.gain(b, i)).all(|&i| {
            let rows = b.rows.iter().zip(&outcome.duals[further..]).map(|(r, y)| y * r.costs[i] / scale_of(r));
            let price = outcome.duals[b.groups[i]] * b.costs[i] / self.cost_unit + rows.sum::<f64>();
            price < 0.8 * self.gain(b, i)
        })
    }

    /// Where the further rows begin.
    fn further(&self) -> usize {
        3 * self.totals.len() + 1 + 2 * self.free.len()
    }

    /// Rows: L group balances and the budget as equalities; then z ≤ 1, −z ≤ 0, u ≤ u_max, −u ≤ −u_min, further rows.
    pub(crate) fn problem(&self, b: &Budget<'_>) -> Problem {
        let (n, l) = (self.free.len(), self.totals.len());
        let whole: f64 = self.totals.iter().sum();
        let (upper, bounds) = (l + 1, l + 1 + 2 * n);
        let further = self.further();
        let mut rows = Sparse::new(further + b.rows.len());
        let mut quadratic = Sparse::new(n + l);
        for (k, &i) in self.free.iter().enumerate() {
            let own = [(b.groups[i], b.costs[i] / self.cost_unit), (upper + k, 1.0), (upper + n + k, -1.0)];
            let extra = b.rows.iter().enumerate().map(|(r, row)| (further + r, row.costs[i] / scale_of(row)));
            rows.push(own.into_iter().chain(extra.filter(|e| e.1 != 0.0)));
            quadratic.push([]);
        }
        for (g, &w) in self.totals.iter().enumerate() {
            rows.push([(g, -w), (l, w / whole), (bounds + g, 1.0), (bounds + l + g, -1.0)]);
            quadratic.push([(n + g, b.gamma * w)]);
        }
        let fixed = |r: &BudgetRow| r.costs.iter().zip(b.protected).filter(|p| *p.1).map(|p| p.0).sum::<f64>();
        let limits = (self.held.iter().map(|h| -h))
            .chain([b.keep_fraction])
            .chain(std::iter::repeat_n(1.0, n))
            .chain(std::iter::repeat_n(0.0, n))
            .chain(b.most.iter().copied())
            .chain(b.least.iter().map(|u| -u))
            .chain(b.rows.iter().map(|r| (r.limit - fixed(r)) / scale_of(r)));
        let score = self.free.iter().map(|&i| -self.gain(b, i));
        let prior = self.totals.iter().zip(b.prior).map(|(w, u)| -b.gamma * w * u);
        Problem { quadratic, linear: score.chain(prior).collect(), rows, limits: limits.collect(), equalities: l + 1 }
    }

    /// The solver's answer in the caller's units.
    pub(crate) fn read(&self, b: &Budget<'_>, outcome: Outcome) -> Allocation {
        let (n, l) = (self.free.len(), self.totals.len());
        let mut keep = vec![1.0; b.scores.len()];
        for (&i, z) in self.free.iter().zip(&outcome.x) {
            keep[i] = z.clamp(0.0, 1.0);
        }
        let rate = self.score_unit / self.cost_unit;
        let further = &outcome.duals[self.further()..];
        Allocation {
            status: outcome.status,
            iterations: outcome.iterations,
            fractional: keep.iter().filter(|z| (1e-4..=1.0 - 1e-4).contains(*z)).count(),
            keep,
            fractions: outcome.x[n..].to_vec(),
            price: outcome.duals[l] / self.totals.iter().sum::<f64>() * rate,
            group_prices: outcome.duals[..l].iter().map(|y| y * rate).collect(),
            row_prices: further.iter().zip(b.rows).map(|(y, r)| y * self.score_unit / scale_of(r)).collect(),
            residuals: [outcome.primal_residual, outcome.dual_residual],
            seconds: outcome.seconds,
        }
    }
}

/// The mean of a further row, by which it is divided.
fn scale_of(row: &BudgetRow) -> f64 {
    let mean = row.costs.iter().sum::<f64>() / row.costs.len() as f64;
    if mean > 0.0 && mean.is_finite() { mean } else { 1.0 }
}
