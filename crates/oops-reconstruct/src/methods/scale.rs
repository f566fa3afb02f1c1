//! `reconstruct.scale`
//!
//! *What it does.* One gain per kept unit (an FFN channel, a query head), folded into its weights.
//! *Formula.* V = diag(g) W_S with min over e = g − 1 of ½ eᵀ(A + λ m I)e − rᵀe, A_uv = Σ_{i∈u, j∈v} H_ij w_iᵀw_j,
//! r_u = Σ_{i∈u, p∈P} H_ip w_iᵀw_p, 0 ≤ g ≤ 2, m = mean diag A. Clarabel up to 1024 units where a bound is active, ADMM
//! beyond.
//! *Needs.* Gram matrices of the dense stream, or tokens for the pruned one.
//! *When it misleads.* As many unknowns as units: it cannot mix channels, so it repairs far less than ridge.
//! *Reference.* Kwon et al. (arXiv 2204.09656) tune masks in this way; bounds and pull to 1 are ours.

use oops_core::Result;
use oops_linalg::qp::unit_gains;

use crate::{
    guard::Repair,
    method::Reconstructor,
    options::{DampedParams, Options},
    problem::{Module, Tokens},
};

pub(crate) struct UnitGains;

impl Reconstructor for UnitGains {
    type Params = DampedParams;
    const NAME: &'static str = "reconstruct.scale";
    const VERSION: u32 = 4;
    const ABOUT: &'static str = "one gain between 0 and 2 per kept unit, folded into its weights";

    fn options(params: &DampedParams) -> Options {
        params.options()
    }

    fn repair(_: &DampedParams, module: &Module, tokens: &Tokens, damping: f64) -> Result<Repair> {
        let (unit_of, units) = units(module);
        let found = unit_gains(&module.linear(tokens)?, &module.kept, &unit_of, units, damping)?;
        let gain = |k: usize| found.gains[unit_of[k / module.outputs]];
        let weight = module.cut().iter().enumerate().map(|(k, &w)| (f64::from(w) * gain(k)) as f32).collect();
        let status = format!("{:?}", found.status).to_lowercase();
        Ok(Repair { weight, bias: None, condition: None, status })
    }
}

/// The unit of each kept channel, counted from 0 without gaps, and how many there are.
fn units(module: &Module) -> (Vec<usize>, usize) {
    let mut unit_of = Vec::with_capacity(module.kept.len());
    let (mut last, mut count) = (None, 0);
    for unit in module.kept.iter().map(|j| j / module.unit) {
        count += usize::from(last != Some(unit));
        last = Some(unit);
        unit_of.push(count - 1);
    }
    (unit_of, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{case, error};

    #[test]
    fn two_channels_that_say_the_same_become_one_of_double_gain() {
        let module = Module { weight: vec![1.0, 1.0], channels: 2, outputs: 1, kept: vec![1], unit: 1 };
        let tokens = Tokens { gram: vec![1.0; 3], mean: vec![0.0; 2], shift: None };
        let found = UnitGains::repair(&DampedParams::default(), &module, &tokens, 0.0).unwrap();
        assert_eq!((found.weight, found.status.as_str()), (vec![2.0], "solved"));
    }

    #[test]
    fn channels_of_a_head_share_a_gain_and_the_error_falls() {
        let (module, tokens) = case(24, 5, 4);
        assert_eq!(units(&Module { kept: vec![4, 5, 12, 13, 23], ..case(24, 5, 4).0 }), (vec![0, 0, 1, 1, 2], 3));
        let found = UnitGains::repair(&DampedParams::default(), &module, &tokens, 1e-4).unwrap();
        let cut = module.cut();
        assert!(error(&module, &tokens, &found.weight) < error(&module, &tokens, &cut));
        let gain = |i: usize| found.weight[i * 5] / cut[i * 5];
        let (unit_of, _) = units(&module);
        for i in 1..module.kept.len() {
            assert!(unit_of[i] != unit_of[i - 1] || (gain(i) - gain(i - 1)).abs() < 1e-4);
            assert!((0.0..=2.0).contains(&gain(i)));
        }
    }
}
