//! Laws of the pruned stream on a tiny model.

use std::{path::Path, sync::atomic::AtomicBool};

use oops_artifact::{Kind, SUMMARY, json};
use oops_core::{BlockPlan, Plan};
use oops_model::{Checkpoint, block_file, values};
use oops_stage::{Cx, Facts, Inputs, NoProgress, PortFacts, Progress, Stage};
use serde_json::{Value, json};

use super::*;
use crate::{
    guard::Report,
    method::Reconstructor,
    methods::{
        joint::JointRepair,
        ridge::{Params, RidgeRepair},
    },
    stage::ReconstructStage,
    testkit::{DIMS, artifact, inputs, model, plan, tokens},
};

mod heldout;
mod stops;

type Ridge = ReconstructStage<RidgeRepair>;
type Joint = ReconstructStage<JointRepair>;

fn joint(changes: Value) -> <JointRepair as Reconstructor>::Params {
    serde_json::from_value(changes).unwrap()
}

/// Sequences of which enough tokens are held out to judge.
const HELD: usize = 70;

/// A group and a third of the channels of every block go.
fn cut() -> Plan {
    let ffn = (0..24).filter(|j| j % 3 != 1).collect();
    Plan::new(vec![BlockPlan::of_groups(&DIMS, vec![1], ffn); 3])
}

fn inputs_in(root: &Path, what: &Plan, sequences: usize) -> Inputs {
    let tokens = tokens(&root.join("tokens"), sequences, 12);
    inputs(model(&root.join("model"), 3), plan(&root.join("plan"), what), tokens)
}

fn params(changes: Value) -> Params {
    let mut all = json!({ "stream": "pruned" });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn run(root: &Path, name: &str, inputs: &Inputs, params: &Params, progress: &dyn Progress) -> Result<Artifact> {
    run_stage::<Ridge>(root, name, inputs, params, progress)
}

fn run_stage<S: Stage>(
    root: &Path,
    name: &str,
    inputs: &Inputs,
    params: &S::Params,
    progress: &dyn Progress,
) -> Result<Artifact> {
    let cancel = AtomicBool::new(false);
    let cx = Cx::new(5, Workdir::open(root.join(name))?, progress, &cancel);
    S::run(params, inputs, &cx)?;
    Ok(artifact(Kind::Model, &cx.work))
}

fn reports(model: &Artifact) -> Vec<Report> {
    let summary: Value = json::read(model.path(SUMMARY).unwrap()).unwrap();
    serde_json::from_value(summary["modules"].clone()).unwrap()
}

/// ‖X_S Vᵀ − X Wᵀ‖² / ‖X Wᵀ‖² at every site, X being what the pruned model `out` feeds the dense module.
fn errors(dense: &Artifact, out: &Artifact, tokens: &Artifact) -> Vec<f64> {
    let (dense, out) = (Checkpoint::open(&dense.paths).unwrap(), Checkpoint::open(&out.paths).unwrap());
    let tokens = TokenSet::read(tokens).unwrap();
    let decoder = Decoder::new(dense.config(), 12).unwrap();
    let mut x = decoder.embed(&dense.embedding().unwrap(), &tokens.sequences.concat()).unwrap();
    let lengths = vec![12; tokens.sequences.len()];
    let mut errors = Vec::new();
    for l in 0..3 {
        let (whole, cut) = (dense.block(l).unwrap(), out.block(l).unwrap());
        for site in Site::ALL {
            let half = |b: &Block| if site == Site::MlpDown { without_attention(b).unwrap() } else { b.clone() };
            let output = |b: &Block| {
                let input = site_input(&decoder, &half(b), &x, &lengths, site).unwrap();
                values(&project(&input, b.projection(site)).unwrap()).unwrap()
            };
            let (wanted, found) = (output(&whole), output(&cut));
            let bias = values(whole.projection(site).bias.as_ref().unwrap()).unwrap();
            let square = |v: f32| f64::from(v).powi(2);
            let error: f64 = wanted.iter().zip(&found).map(|(a, b)| square(a - b)).sum();
            let energy: f64 = wanted.iter().enumerate().map(|(i, a)| square(a - bias[i % bias.len()])).sum();
            errors.push(error / energy);
            let moved = oops_model::matrix(found, lengths.len() * 12, bias.len()).unwrap();
            x = (x + moved).unwrap();
        }
    }
    errors
}

#[test]
fn reported_errors_are_those_of_the_written_model_on_its_own_stream() {
    let root = tempfile::tempdir().unwrap();
    // Fewer than ten sequences: none is held out, so that what is reported is what is written.
    let inputs = inputs_in(root.path(), &cut(), 9);
    let recipe = params(json!({ "damping": 1e-3, "unjudged": "repair" }));
    let out = run(root.path(), "out", &inputs, &recipe, &NoProgress).unwrap();
    let measured = errors(inputs.one("model").unwrap(), &out, inputs.one("tokens").unwrap());
    let reports = reports(&out);
    assert_eq!(reports.len(), measured.len());
    for (report, error) in reports.iter().zip(measured) {
        let repaired = report.error_repaired.unwrap();
        assert!((repaired / error - 1.0).abs() < 1e-3, "{report:?} {error}");
        assert!(repaired < report.error_cut.unwrap() && !report.judged_on_heldout);
        assert!(report.tried.is_empty() && report.damping == Some(1e-3), "{report:?}");
        assert_eq!(report.status, "solved, not judged");
    }
}

#[test]
fn nothing_removed_leaves_every_byte() {
    let root = tempfile::tempdir().unwrap();
    let full = Plan::new(vec![BlockPlan::full(&DIMS); 3]);
    let inputs = inputs_in(root.path(), &full, HELD);
    for out in [
        run(root.path(), "out", &inputs, &params(json!({})), &NoProgress).unwrap(),
        run_stage::<Joint>(root.path(), "joint", &inputs, &joint(json!({})), &NoProgress).unwrap(),
    ] {
        let dense = inputs.one("model").unwrap();
        assert!((0..3).all(|l| out.tree.0[&block_file(l)] == dense.tree.0[&block_file(l)]));
        assert!(reports(&out).is_empty());
    }
}

#[test]
fn targets_agree_until_the_streams_part() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &cut(), HELD);
    let with = |target: &str| {
        let name = format!("out-{target}");
        run(root.path(), &name, &inputs, &params(json!({ "target": target })), &NoProgress).unwrap()
    };
    let (own, dense, residual) = (with("own"), with("dense"), with("residual"));
    let first = |out: &Artifact| values(&Checkpoint::open(&out.paths).unwrap().block(0).unwrap().o.weight).unwrap();
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(near(&first(&own), &first(&dense)) && near(&first(&own), &first(&residual)));
    assert_ne!(own.tree.0[&block_file(1)], dense.tree.0[&block_file(1)]);
    assert_ne!(residual.tree.0[&block_file(1)], dense.tree.0[&block_file(1)]);
    for report in [own, dense, residual].iter().flat_map(reports) {
        assert!(report.error_repaired <= report.error_cut && report.judged_on_heldout, "{report:?}");
    }
}

#[test]
fn correcting_the_residual_brings_the_stream_closest_to_the_dense_one() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &cut(), HELD);
    let last = |model: &Artifact| {
        let (model, tokens) =
            (Checkpoint::open(&model.paths).unwrap(), TokenSet::read(inputs.one("tokens").unwrap()).unwrap());
        let decoder = Decoder::new(model.config(), 12).unwrap();
        let x = decoder.embed(&model.embedding().unwrap(), &tokens.sequences.concat()).unwrap();
        let through = |x, l| decoder.block(&model.block(l).unwrap(), &x, &[12; HELD], &mut |_, _| Ok(())).unwrap();
        values(&(0..3).fold(x, through)).unwrap()
    };
    let dense = last(inputs.one("model").unwrap());
    let gap = |target: &str| {
        let out = run(root.path(), target, &inputs, &params(json!({ "target": target })), &NoProgress).unwrap();
        last(&out).iter().zip(&dense).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    let (own, residual) = (gap("own"), gap("residual"));
    assert!(residual < own, "{residual} {own}");
}

#[test]
fn the_best_damping_is_kept_and_every_try_reported() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &cut(), HELD);
    let out = run(root.path(), "out", &inputs, &params(json!({ "damping": "auto" })), &NoProgress).unwrap();
    for report in reports(&out) {
        let errors: Vec<f64> = report.tried.iter().filter_map(|t| t.error).collect();
        let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
        assert_eq!((errors.len(), report.error_repaired), (4, Some(least)));
        assert!(report.tried.iter().any(|t| t.damping == report.damping && t.error == Some(least)));
    }
}

#[test]
fn an_ffn_that_goes_whole_has_nothing_to_refine() {
    let root = tempfile::tempdir().unwrap();
    let mut plan = cut();
    plan.blocks[1] = BlockPlan::of_groups(&DIMS, vec![0, 1], Vec::new());
    let out =
        run_stage::<Joint>(root.path(), "out", &inputs_in(root.path(), &plan, HELD), &joint(json!({})), &NoProgress);
    let refined: Vec<_> = reports(&out.unwrap()).iter().filter(|r| r.refined.is_some()).map(|r| r.block).collect();
    assert_eq!(refined, [0, 2]);
}

#[test]
fn whole_ffns_come_closer_to_their_target_than_the_ridge_repair() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &cut(), HELD);
    for target in ["own", "residual"] {
        let out =
            run_stage::<Joint>(root.path(), target, &inputs, &joint(json!({ "target": target })), &NoProgress).unwrap();
        for report in reports(&out) {
            let Some(refined) = report.refined else {
                assert_eq!(report.site, Site::AttnOut.to_string());
                continue;
            };
            assert!(refined.error_after < refined.error_before, "{refined:?}");
        }
        let summary: Value = json::read(out.path(SUMMARY).unwrap()).unwrap();
        assert_eq!(summary["joint_target"], target);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &cut(), HELD);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let recipe = params(json!({ "target": "residual" }));
        pool.install(|| {
            let joint =
                run_stage::<Joint>(root.path(), &format!("joint-{threads}"), &inputs, &joint(json!({})), &NoProgress);
            [run(root.path(), &format!("threads-{threads}"), &inputs, &recipe, &NoProgress).unwrap(), joint.unwrap()]
        })
    };
    assert_eq!(with(1).map(|out| out.tree), with(2).map(|out| out.tree));
}

#[test]
fn a_precision_is_felt_by_the_stream() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &cut(), 9);
    let out = run(
        root.path(),
        "out",
        &inputs,
        &params(json!({ "dtype": "bf16", "damping": 1e-3, "unjudged": "repair" })),
        &NoProgress,
    )
    .unwrap();
    let measured = errors(inputs.one("model").unwrap(), &out, inputs.one("tokens").unwrap());
    for (report, error) in reports(&out).iter().zip(measured) {
        // Rounding costs a little of each module's own, but nothing adds up from block to block.
        assert!((report.error_repaired.unwrap() / error - 1.0).abs() < 0.02, "{report:?} {error}");
    }
}

#[test]
fn what_is_missing_or_meaningless_is_refused() {
    let facts = |ports: &[&str]| PortFacts(ports.iter().map(|p| ((*p).to_owned(), vec![Facts::default()])).collect());
    let check = |changes, ports: &[&str]| Ridge::check(&params(changes), &facts(ports), &[]);
    assert!(check(json!({ "target": "residual" }), &["model", "plan", "tokens"]).is_ok());
    let missing = check(json!({}), &["model", "plan", "stats"]).unwrap_err();
    assert!(missing.to_string().contains("on the pruned stream needs calibration tokens"), "{missing}");
    assert!(check(json!({ "stream": "dense" }), &["model", "plan", "tokens"]).is_err());
    assert!(check(json!({ "stream": "dense" }), &["model", "plan", "stats"]).is_ok());
    assert!(check(json!({ "stream": "dense", "target": "dense" }), &["model", "plan", "stats"]).is_err());
    assert!(check(json!({ "damping": 11.0 }), &["model", "plan", "tokens"]).is_err());
    let check = |changes, ports: &[&str]| Joint::check(&joint(changes), &facts(ports), &[]);
    assert!(check(json!({}), &["model", "plan", "tokens"]).is_ok());
    assert!(check(json!({}), &["model", "plan", "stats"]).is_err());
    for wrong in [
        json!({ "target": "dense" }),
        json!({ "steps": 0 }),
        json!({ "iterations": 0 }),
        json!({ "step_damping": 0.0 }),
        json!({ "kappa": -1.0 }),
    ] {
        assert!(check(wrong.clone(), &["model", "plan", "tokens"]).is_err(), "{wrong}");
    }
}
