//! Laws of all methods, on random dimensions and multiples: a plan stays within its budget, misses it by less than a bundle
//! while there is one that may go, and asking for more (by a bundle at least) never removes less.

use oops_artifact::{BlockScores, Scale, Scores, ScoresInfo};
use oops_core::{BlockDims, ModelDims, Rng, UnitKind};
use serde_json::{Value, json};

use crate::{
    bundle::{Limits, Queue, bundles, check_budget, testkit::LIMITS},
    methods::{Global, Owl, Qp, Uniform},
    miss::missed,
    stage::{HasCommon as _, Selector, spent},
};

struct Case {
    scores: Scores,
    limits: Limits,
    queues: Vec<Queue>,
}

/// A model of a few blocks (alike, or each its own), with random scores, of which some are protected.
fn case(rng: &mut Rng, alike: bool) -> Case {
    let mut whole = |from: usize, to: usize| from + (rng.uniform() * (to - from + 1) as f64) as usize;
    let (head_dim, hidden, count) = (2 * whole(1, 3), whole(4, 20), whole(1, 4));
    let block = |whole: &mut dyn FnMut(usize, usize) -> usize| {
        let kv_heads = whole(1, 5);
        BlockDims { query_heads: kv_heads * whole(1, 3), kv_heads, head_dim, ffn: whole(8, 160) }
    };
    let first = block(&mut whole);
    let blocks = (0..count).map(|_| if alike { first } else { block(&mut whole) }).collect::<Vec<_>>();
    let channel_multiple = [1, 1, 2, 5, 8, 32][whole(0, 5)];
    let attention_unit = [UnitKind::KvGroup, UnitKind::QueryHead][whole(0, 1)];
    let limits = Limits { channel_multiple, ..LIMITS };
    let mut draw = |n: usize| (0..n).map(|_| rng.uniform()).collect::<Vec<_>>();
    let scored = blocks.iter().map(|b| {
        let mut scores = BlockScores::plain(draw(attention_unit.count(b)), draw(b.ffn));
        scores.ffn.protected = draw(b.ffn).iter().map(|v| *v < 0.05).collect();
        scores
    });
    let scored = scored.collect();
    let dims = ModelDims { hidden, vocab: 16, tied: false, gated: true, blocks };
    let share = draw(count).iter().map(|v| v / 10.0).collect();
    let info =
        ScoresInfo { method: "test".into(), scale: Scale::Damage, attention_unit, dims, outlier_share: Some(share) };
    let scores = Scores { info, blocks: scored };
    let queues = bundles(&scores, &limits);
    Case { scores, limits, queues }
}

/// Weights that go, for a row of budgets that can be met.
fn removed<S: Selector>(case: &Case, more: &Value, step: f64) -> Vec<(u64, u64)> {
    let dims = &case.scores.info.dims;
    let mut out = Vec::new();
    for k in 0..(0.95 / step) as usize {
        let mut params = json!({ "remove_fraction": k as f64 * step });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let params: S::Params = serde_json::from_value(params).unwrap();
        let budget = params.common().budget(dims);
        if check_budget(dims, case.scores.info.attention_unit, &case.limits, budget).is_err() {
            break;
        }
        let Ok(selected) = S::select(&params, &case.scores, &case.queues, budget) else { continue };
        let gone = spent(&case.queues, &selected.taken);
        assert!(gone <= budget, "{gone} of {budget}");
        // Another bundle that may go would not fit.
        let open = case.queues.iter().zip(&selected.taken).filter_map(|(q, &t)| q.get(t)).map(|b| b.cost).max();
        let same = more.get("targets").is_some();
        assert!(same || open.is_none_or(|cost| budget - gone < cost), "{}: {gone} of {budget}", S::NAME);
        let far = missed::<S>(&params, &case.scores, &case.queues, &selected.taken);
        assert!(far.is_none_or(|m| same || m.above.is_none()), "{}: {gone} of {budget}", S::NAME);
        out.push((budget, gone));
    }
    out
}

#[test]
fn asking_for_more_never_removes_less() {
    let mut rng = Rng::new(7, "monotone");
    for _ in 0..60 {
        let case = case(&mut rng, true);
        let strict = [
            removed::<Global>(&case, &json!({}), 0.007),
            removed::<Uniform>(&case, &json!({ "targets": ["hf"] }), 0.007),
        ];
        for list in strict {
            assert!(list.is_sorted_by_key(|(_, gone)| *gone), "{:?} {:?}: {list:?}", case.scores.info, case.limits);
        }
    }
}

#[test]
fn asking_for_a_bundle_more_never_removes_less() {
    let mut rng = Rng::new(8, "monotone");
    for i in 0..40 {
        let case = case(&mut rng, false);
        let bundle = case.queues.iter().flatten().map(|b| b.cost).max().unwrap_or(0);
        let mut lists = vec![
            removed::<Uniform>(&case, &json!({}), 0.011),
            removed::<Owl>(&case, &json!({ "owl_lambda": 0.03 }), 0.011),
        ];
        if i % 8 == 0 {
            lists.push(removed::<Qp>(&case, &json!({ "min_keep": 0.0 }), 0.07));
        }
        for list in lists {
            for (k, (budget, gone)) in list.iter().enumerate() {
                let less = list[k..].iter().find(|(more, less)| *more >= budget + bundle && less < gone);
                assert!(less.is_none(), "{budget}: {gone}, but {less:?}; {:?}", case.scores.info.dims);
            }
        }
    }
}

/// SmolLM2-135M, with equal scores.
fn smollm2(multiple: usize) -> Case {
    let block = BlockDims { query_heads: 9, kv_heads: 3, head_dim: 64, ffn: 1536 };
    let dims = ModelDims { hidden: 576, vocab: 16, tied: true, gated: true, blocks: vec![block; 30] };
    let blocks = vec![BlockScores::plain(vec![0.0; 3], vec![0.0; 1536]); 30];
    let (scale, attention_unit) = (Scale::Damage, UnitKind::KvGroup);
    let info = ScoresInfo { method: "test".into(), scale, attention_unit, dims, outlier_share: None };
    let (scores, limits) = (Scores { info, blocks }, Limits { channel_multiple: multiple, ..LIMITS });
    let queues = bundles(&scores, &limits);
    Case { scores, limits, queues }
}

fn uniform(case: &Case, fraction: f64, targets: &[&str]) -> Vec<usize> {
    let params = json!({ "remove_fraction": fraction, "targets": targets });
    let params: <Uniform as Selector>::Params = serde_json::from_value(params).unwrap();
    Uniform::select(&params, &case.scores, &case.queues, params.common().budget(&case.scores.info.dims)).unwrap().taken
}

#[test]
fn one_width_with_multiples_of_256_removes_what_is_nearest_below() {
    let case = smollm2(256);
    let per_mille = |fraction: f64| {
        let gone = spent(&case.queues, &uniform(&case, fraction, &["hf", "gguf_k"]));
        (1000.0 * gone as f64 / case.scores.info.dims.decoder_params() as f64).round() as u64
    };
    let asked = [0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.55];
    assert_eq!(asked.map(per_mille), [0, 125, 125, 208, 208, 333, 458, 542]);
}

#[test]
fn single_channels_go_as_they_always_did() {
    let case = smollm2(1);
    for (fraction, attention) in [(0.1, 0), (0.2, 1), (0.3, 1), (0.5, 1), (0.6, 2)] {
        // A group is 294 912 weights, a channel 1728, a block 3 538 944.
        let left = fraction * 3_538_944.0 - f64::from(attention) * 294_912.0;
        let channels = (left / 1728.0).floor() as usize;
        let same = uniform(&case, fraction, &["hf"]);
        assert!(same.chunks(2).all(|c| c == [attention as usize, channels]), "{fraction}: {:?}", &same[..2]);
        let each = uniform(&case, fraction, &[]);
        assert!(each.chunks(2).all(|c| c[0] == attention as usize && c[1].abs_diff(channels) <= 1), "{fraction}");
    }
}
