//! No public function gives a finite result for what was not a finite number.

use oops_core::{Result, Rng};
use oops_linalg::{
    Bias, Conjugate, Cross, ExchangeOptions, Factored, Gram, Linear, RowSolver, Shift, Symmetric, eliminate,
    error_energy, exchange, in_metric, inverse_diagonal, obs_channels, obs_groups, obs_sequence, output_energy,
    packed_len,
    qp::{TransferOptions, transfer, unit_gains},
    reconstruction_error, ridge, ridge_bounded, ridge_cross, ridge_equality, ridge_path, shifted_error, stats,
};

const N: usize = 6;
const D: usize = 3;
const KEPT: [usize; 4] = [0, 1, 3, 4];
const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed, "noise");
    (0..n).map(|_| rng.uniform() as f32 - 0.5).collect()
}

/// A Gram matrix of 40 rows of which one has `value` in `channel`.
fn gram(channel: usize, value: f32) -> Gram {
    let (mut x, mut gram) = (noise(1, 40 * N), Gram::new(N));
    x[7 * N + channel] = value;
    gram.add(&x).unwrap();
    gram
}

/// Fails if a result came out that is finite as a whole.
fn refused<T: Copy + Into<f64>>(what: &str, found: Result<Vec<T>>) {
    if let Ok(values) = found {
        assert!(values.iter().any(|&v| !v.into().is_finite()), "{what} gave a finite result");
    }
}

fn values(found: Result<Factored>) -> Result<Vec<f64>> {
    found.map(|f| if f.values.is_empty() { vec![f64::NAN] } else { f.values })
}

/// Every function of a linear map; `check` gets its name and what it gave.
fn try_all(linear: &Linear<'_>, check: &dyn Fn(&str, Result<Vec<f64>>)) {
    let refused = |name: &str, found: Result<Vec<f64>>| check(name, found);
    let wide = |weight: Vec<f32>| weight.into_iter().map(f64::from).collect::<Vec<_>>();
    let (kept, groups) = (&KEPT[..], vec![vec![0], vec![1, 2], vec![3], vec![4, 5]]);
    let cut = linear.rows(kept);
    // Rows that do not change are not looked at, so all do.
    let moved: Vec<f32> = cut.iter().map(|w| 1.5 * w + 0.1).collect();
    refused("output_energy", Ok(vec![output_energy(linear)]));
    refused("error_energy", error_energy(linear, kept, &moved, None).map(|e| vec![e]));
    refused("reconstruction_error", reconstruction_error(linear, kept, &cut, None).map(|e| vec![e]));
    let shift = Shift { cross: &noise(5, N * D), energy: 2.0 };
    refused("shifted_error", shifted_error(linear, kept, &cut, &shift).map(Vec::from));
    refused("ridge", ridge(linear, kept, 1e-3).map(|r| wide(r.weight)));
    refused("ridge_path", ridge_path(linear, kept, &[1e-3], None).map(|mut r| wide(r.remove(0).weight)));
    refused("ridge_bounded", ridge_bounded(linear, kept, 1e-3, 1.0).map(|r| wide(r.ridge.weight)));
    refused("ridge_equality", ridge_equality(linear, kept, 1e-3, &[vec![1.0; N]]).map(|r| wide(r.weight)));
    refused("obs_sequence", obs_sequence(linear, kept, 1e-3, 2).map(|r| wide(r.weight)));
    refused("obs_channels", values(obs_channels(linear, 1e-3)));
    refused("obs_groups", values(obs_groups(linear, &groups, 1e-3)));
    refused("eliminate", eliminate(linear, &groups, 1e-3, 1).map(|e| e.costs));
    let options = ExchangeOptions { lambda: 1e-3, step: 1, rounds: 2 };
    refused("exchange", exchange(linear, &groups, &[0, 2], &[false; 4], options).map(|e| e.errors));
    let options = TransferOptions { neighbours: 2, lambda: 1e-3, means: None, bound: None, total: None };
    refused("transfer", transfer(linear, kept, &options).map(|t| wide(t.weight)));
    refused("unit_gains", unit_gains(linear, kept, &[0, 0, 1, 1], 2, 1e-3).map(|g| g.gains));
}

#[test]
fn every_function_gives_finite_numbers_for_a_sound_map() {
    let (gram, weight) = (gram(0, 0.25), noise(2, N * D));
    let sound = |name: &str, found: Result<Vec<f64>>| {
        let found = found.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!found.is_empty() && found.iter().all(|v| v.is_finite()), "{name}: {found:?}");
    };
    try_all(&Linear::new(gram.view(), &weight, D).unwrap(), &sound);
}

#[test]
fn a_token_that_is_not_finite_spoils_everything_that_is_made_of_its_gram_matrix() {
    let weight = noise(2, N * D);
    for bad in BAD {
        for channel in 0..N {
            let gram = gram(channel, bad);
            let check = |name: &str, found: Result<Vec<f64>>| {
                refused(&format!("{name} with {bad} in channel {channel}"), found);
            };
            try_all(&Linear::new(gram.view(), &weight, D).unwrap(), &check);
            refused("inverse_diagonal", values(inverse_diagonal(&gram.view(), 1e-3)));
            assert!(RowSolver::new(&gram.view(), 1e-3).is_err());
            refused("in_metric", in_metric(&noise(3, 2 * N), &gram.view(), 1e-3));
            assert!(Gram::from_packed(N, &gram.to_packed()).is_err());
        }
    }
}

#[test]
fn matrices_and_weights_are_refused_where_they_are_made() {
    let (good, weight) = (gram(0, 0.0).to_packed(), noise(2, N * D));
    for bad in BAD {
        for at in 0..packed_len(N) {
            let mut packed = good.clone();
            packed[at] = bad;
            assert!(Symmetric::packed(N, &packed).is_err(), "{bad} at {at}");
        }
        let mut full = vec![1.0; N * N];
        full[N * N - 2] = bad;
        assert!(Symmetric::full(N, &full).is_err());
        assert!(Symmetric::double(N, &full.iter().map(|&v| v.into()).collect::<Vec<_>>()).is_err());
        let mut weight = weight.clone();
        weight[4] = bad;
        assert!(Linear::new(Symmetric::packed(N, &good).unwrap(), &weight, D).is_err());
    }
}

#[test]
fn what_goes_with_a_sound_map_is_felt_too() {
    let (good, weight) = (gram(0, 0.0).to_packed(), noise(2, N * D));
    let linear = Linear::new(Symmetric::packed(N, &good).unwrap(), &weight, D).unwrap();
    let (cut, kept) = (linear.rows(&KEPT), &KEPT[..]);
    let spoilt = |values: &[f32], bad: f32| {
        let mut values = values.to_vec();
        values[1] = bad;
        values
    };
    for bad in BAD {
        let repaired = spoilt(&cut, bad);
        refused("error_energy", error_energy(&linear, kept, &repaired, None).map(|e| vec![e]));
        let (values, means) = (spoilt(&[1.0; D], bad), [1.0; N]);
        let error = error_energy(&linear, kept, &cut, Some(Bias { values: &values, means: &means }));
        refused("error_energy with a bias", error.map(|e| vec![e]));
        // Only channels that change meet their mean.
        let (values, means) = ([1.0; D], spoilt(&[1.0; N], bad).iter().map(|&m| f64::from(m)).collect::<Vec<_>>());
        let other =
            error_energy(&linear, &[0, 3], &linear.rows(&[0, 3]), Some(Bias { values: &values, means: &means }));
        refused("error_energy with a mean", other.map(|e| vec![e]));
        let target = noise(6, N * N);
        assert!(ridge_cross(&linear, &target, kept, 1e-3).is_ok());
        refused("ridge_cross", ridge_cross(&linear, &spoilt(&target, bad), kept, 1e-3).map(|r| r.weight));
        let cross = spoilt(&noise(5, N * D), bad);
        assert!(shifted_error(&linear, kept, &cut, &Shift { cross: &cross, energy: 1.0 }).is_err());
        assert!(shifted_error(&linear, kept, &cut, &Shift { cross: &noise(5, N * D), energy: bad.into() }).is_err());
        assert!(ridge_equality(&linear, kept, 1e-3, std::slice::from_ref(&means)).is_err());
        let options = TransferOptions { neighbours: 2, lambda: 1e-3, means: Some(&means), bound: None, total: None };
        assert!(transfer(&linear, kept, &options).is_err());
        for lambda in [f64::from(bad), -1.0] {
            assert!(ridge(&linear, kept, lambda).is_err() && obs_channels(&linear, lambda).is_err());
        }
        let mut rows = spoilt(&noise(7, 2 * N), bad);
        refused("RowSolver", RowSolver::new(linear.gram(), 1e-3).unwrap().solve(&mut rows).map(|()| rows));
    }
}

#[test]
fn sums_and_iterations_stop_or_show_it() {
    for bad in BAD {
        let mut cross = Cross::new(2, 1);
        cross.add(&[1.0, bad], &[1.0]).unwrap();
        refused("Cross", Ok(cross.scaled(0.5)));
        let mut cg = Conjugate::new(vec![1.0, 2.0], vec![1.0, 2.0]);
        let went_on = cg.advance(&[bad, 1.0]);
        assert!(!went_on || cg.solution().iter().any(|v| !v.is_finite()), "a step along {bad}");
    }
}

#[test]
fn spreads_and_token_weights_are_no_numbers_then() {
    for bad in [f64::NAN, f64::INFINITY] {
        let values = [1.0, bad, 3.0, 2.0];
        assert!(!stats::mean_std(&values).scale.is_finite());
        assert!(!stats::mean_std(&values).standardise(2.0).is_finite() || bad.is_infinite());
        assert!(stats::mean_std(&[1.0, 2.0]).standardise(bad).is_nan() || bad.is_infinite());
    }
    let values = [1.0, f64::NAN, 3.0];
    assert!(stats::median(&values).is_some_and(f64::is_nan));
    assert!(stats::median_mad(&values).scale.is_nan() && stats::median_mad(&values).standardise(1.0).is_nan());
    assert!(stats::TokenWeights::new(10.0, &values).of(1.0).is_nan());
    assert!(stats::slope(&[(0.0, 1.0), (1.0, f64::NAN)]).is_nan());
}
