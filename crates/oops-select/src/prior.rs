//! What an allocation starts from: the kept fraction that each block would get before any score is looked at.

use oops_artifact::Scores;
use oops_core::Fault;

/// λ of OWL, as published.
pub(crate) fn owl_lambda() -> f64 {
    0.08
}

/// The fault of a score artifact without OWL's outlier shares.
pub(crate) fn no_outlier_share(method: &str) -> Fault {
    Fault::config(format!("`{method}` states no share of outlier weights, which an OWL prior needs"))
        .help("use score.oops, or another prior")
}

/// OWL: u0_l = u + λ·(2·(LOD_l − min)/(max − min) − 1), shifted so that Σ W_l u0_l = u·Σ W_l; blocks alike if the shares
/// are, or if there are none.
pub(crate) fn owl(scores: &Scores, keep: f64, lambda: f64) -> Vec<f64> {
    let dims = &scores.info.dims;
    let n = dims.blocks.len();
    let Some(share) = &scores.info.outlier_share else { return vec![keep; n] };
    let (least, most) = share.iter().fold((f64::MAX, f64::MIN), |(a, b), &s| (a.min(s), b.max(s)));
    let spread = |s: f64| if most > least { lambda * (2.0 * (s - least) / (most - least) - 1.0) } else { 0.0 };
    let weights: Vec<f64> = (0..n).map(|l| dims.block_params(l) as f64).collect();
    let total: f64 = weights.iter().sum();
    let mean = share.iter().zip(&weights).map(|(&s, w)| spread(s) * w / total).sum::<f64>();
    share.iter().map(|&s| (keep + spread(s) - mean).clamp(0.0, 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use oops_artifact::Scale;
    use oops_core::UnitKind;

    use super::*;
    use crate::bundle::testkit::scores;

    #[test]
    fn the_prior_keeps_the_mean_and_spreads_by_lambda() {
        let mut s = scores(UnitKind::KvGroup, Scale::Damage);
        assert_eq!(owl(&s, 0.7, 0.08), [0.7; 3]);
        s.info.outlier_share = Some(vec![0.0, 0.1, 0.2]);
        let u = owl(&s, 0.7, 0.08);
        assert!((u.iter().sum::<f64>() - 2.1).abs() < 1e-12 && (u[2] - u[0] - 0.16).abs() < 1e-12, "{u:?}");
    }
}
