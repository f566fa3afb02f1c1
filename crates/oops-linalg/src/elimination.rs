//! What each group of channels costs when its turn comes: groups go cheapest first, and the rest repairs each removal as
//! well as it can before the next one is judged.
//!
//! With A = H + λ m I and V the weights repaired so far, group g costs ½ tr(V_gᵀ ((A⁻¹)_gg)⁻¹ V_g); A⁻¹ and V are updated
//! as in [`crate::obs_sequence`]. One-shot costs ([`crate::obs_groups`]) call two channels cheap that only each other could
//! replace; here the second one to go is as dear as it is. The costs of what is gone add up to ½ tr((W − V)ᵀ A (W − V)) of
//! the best repair, so a block's costs in this order are its curve of error against width.
//!
//! Reference: backward elimination of the optimal brain surgeon (Hassibi & Stork 1993), for structures Kurtic et al.,
//! ZipLM (arXiv 2302.04089).

use oops_core::Result;

use crate::damped::{Damped, SolveStatus};
use crate::inverse::check_groups;
use crate::linear::Linear;
use crate::sequence::State;

/// An order in which groups of channels go.
#[derive(Clone, Debug)]
pub struct Elimination {
    /// Groups, the first to go first; empty when `status` is [`SolveStatus::NotPositiveDefinite`].
    pub order: Vec<usize>,
    /// What each group costs at its turn, in the order of the groups.
    pub costs: Vec<f64>,
    /// How the factorisation ended.
    pub status: SolveStatus,
}

/// Removes all `groups` (disjoint sorted lists of channels), cheapest first, at most `chunk` channels between updates.
///
/// A group that is larger goes alone. n³ + 2 n² outputs operations; 16 n² + 8 n outputs bytes at the peak, where factor and
/// inverse are both there.
pub fn eliminate(linear: &Linear<'_>, groups: &[Vec<usize>], lambda: f64, chunk: usize) -> Result<Elimination> {
    check_groups(linear, groups)?;
    let all: Vec<usize> = (0..linear.channels()).collect();
    let damped = Damped::new(linear.gram(), &all, lambda)?;
    let Some(factor) = &damped.factor else {
        return Ok(Elimination { order: Vec::new(), costs: Vec::new(), status: damped.status });
    };
    let mut state = State::new(linear, factor);
    let (mut left, mut order): (Vec<usize>, Vec<usize>) = ((0..groups.len()).collect(), Vec::new());
    let mut costs = vec![0.0; groups.len()];
    while !left.is_empty() {
        let step = state.cheapest(groups, &mut left, chunk);
        step.iter().for_each(|&(cost, g)| costs[g] = cost);
        order.extend(step.iter().map(|s| s.1));
        if !state.remove(groups, &step) {
            return Ok(Elimination { order: Vec::new(), costs: Vec::new(), status: SolveStatus::NotPositiveDefinite });
        }
    }
    Ok(Elimination { order, costs, status: damped.status })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{massive_spectrum, normal, with_threads};
    use crate::{Symmetric, error_energy, obs_channels, ridge};

    #[test]
    fn of_two_alike_the_second_is_dear() {
        // Channels 0 and 1 are nearly the same signal, 2 stands alone with less energy.
        let linear =
            Linear::new(Symmetric::packed(3, &[1.0, 0.999, 1.0, 0.0, 0.0, 0.25]).unwrap(), &[1.0; 3], 1).unwrap();
        let groups: Vec<Vec<usize>> = (0..3).map(|j| vec![j]).collect();
        let found = eliminate(&linear, &groups, 0.0, 1).unwrap();
        assert_eq!(found.order, [0, 2, 1]);
        // The second of the pair carries both: V = 1.999, energy 1.999² / 2.
        assert!((found.costs[1] - 0.5 * 1.999f64.powi(2)).abs() < 1e-6, "{:?}", found.costs);
        assert!((found.costs[2] - 0.125).abs() < 1e-12);
        assert!(obs_channels(&linear, 0.0).unwrap().values[1] < 2e-3, "one at a time, both look free");
    }

    #[test]
    fn costs_add_up_to_half_the_error_of_the_best_repair() {
        let (n, d) = (80, 6);
        let (packed, w) = (massive_spectrum(61, 2 * n, n), normal(62, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        for (size, chunk) in [(1, 1), (1, 7), (8, 1), (4, 9)] {
            let groups: Vec<Vec<usize>> = (0..n / size).map(|g| (g * size..(g + 1) * size).collect()).collect();
            let found = eliminate(&linear, &groups, 0.0, chunk).unwrap();
            let gone = &found.order[..groups.len() / 2];
            let kept: Vec<usize> = (0..n).filter(|j| !gone.contains(&(j / size))).collect();
            let v = ridge(&linear, &kept, 0.0).unwrap().weight;
            let error = error_energy(&linear, &kept, &v, None).unwrap();
            let sum: f64 = gone.iter().map(|&g| found.costs[g]).sum();
            // Costs inside a step do not know of each other: exact only one at a time.
            let slack = if chunk <= size { 1e-3 } else { 0.5 };
            assert!((2.0 * sum / error - 1.0).abs() < slack, "{size} {chunk}: {sum} {error}");
        }
    }

    #[test]
    fn every_group_goes_once_and_threads_do_not_matter() {
        let (n, d) = (120, 5);
        let (packed, w) = (massive_spectrum(63, 2 * n, n), normal(64, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let groups: Vec<Vec<usize>> = (0..n).map(|j| vec![j]).collect();
        let run = |threads| with_threads(threads, || eliminate(&linear, &groups, 1e-3, 16).unwrap());
        let (one, two) = (run(1), run(2));
        assert_eq!((&one.order, &one.costs), (&two.order, &two.costs));
        let mut sorted = one.order.clone();
        sorted.sort_unstable();
        assert!(sorted == (0..n).collect::<Vec<_>>() && one.costs.iter().all(|c| c.is_finite() && *c >= 0.0));
        assert!(eliminate(&linear, &[vec![]], 0.0, 1).is_err());
    }
}
