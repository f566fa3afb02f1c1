//! Laws of the stage on tiny models.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use candle_core::Tensor;
use oops_artifact::{Artifact, json};
use oops_core::{BlockDims, ModelDims};
use oops_model::{Block, Checkpoint};
use oops_stage::{NoProgress, Progress, Workdir};
use serde_json::{Value, json};

use super::*;
use crate::testkit::{block, inputs, model, model_of, noise, tokens};

const HIDDEN: usize = 16;
const DIMS: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 24 };
/// Without heads: what comes before attention gets no gradient, and must not be asked for one.
const HEADLESS: BlockDims = BlockDims { query_heads: 0, kv_heads: 0, ..DIMS };

fn teacher_blocks() -> Vec<Block> {
    vec![block(HIDDEN, DIMS, 1), block(HIDDEN, HEADLESS, 2), block(HIDDEN, DIMS, 3)]
}

fn perturbed(blocks: &[Block]) -> Vec<Block> {
    let shift = |t: &Tensor| t + noise(t.dims(), 99, 0.05);
    blocks.iter().map(|b| b.map(&mut |_, _, t| Ok(shift(t).unwrap())).unwrap()).collect()
}

fn inputs_in(root: &Path, student: &[Block]) -> Inputs {
    let teacher = model(&root.join("teacher"), HIDDEN, &teacher_blocks());
    inputs(model(&root.join("student"), HIDDEN, student), teacher, tokens(&root.join("tokens"), 20, 40))
}

fn params(changes: Value) -> Params {
    let mut all = json!({ "learning_rate": 1e-2, "epochs": 6 });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn distil(root: &Path, name: &str, inputs: &Inputs, params: &Params, progress: &dyn Progress) -> Result<Artifact> {
    let cancel = AtomicBool::new(false);
    let cx = Cx::new(5, Workdir::open(root.join(name))?, progress, &cancel);
    Blockwise::run(params, inputs, &cx)?;
    Ok(model_of(&cx.work))
}

fn reports(model: &Artifact) -> Vec<Value> {
    let summary: Value = json::read(model.path("summary.json").unwrap()).unwrap();
    summary["blocks"].as_array().unwrap().clone()
}

#[test]
fn an_unpruned_student_stays_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &teacher_blocks());
    let out = distil(root.path(), "out", &inputs, &params(json!({})), &NoProgress).unwrap();
    for l in 0..3 {
        let name = oops_model::block_file(l);
        assert_eq!(out.tree.0[&name], inputs.one("student").unwrap().tree.0[&name]);
    }
    assert!(reports(&out).iter().all(|r| r["status"] == "exact" && r["error_before"] == 0.0));
}

#[test]
fn a_damaged_student_comes_closer_on_held_out_tokens() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &perturbed(&teacher_blocks()));
    for changes in [json!({}), json!({ "target": "own_stream" }), json!({ "lora_rank": 4 }), json!({ "dtype": "bf16" })]
    {
        let out = distil(root.path(), &changes.to_string(), &inputs, &params(changes.clone()), &NoProgress).unwrap();
        for report in reports(&out) {
            let [before, after] = ["error_before", "error_after"].map(|k| report[k].as_f64().unwrap());
            assert!(after < 0.7 * before, "{changes}: {report}");
        }
        // The output is a checkpoint of the same widths.
        let back = Checkpoint::open(&out.paths).unwrap();
        assert_eq!(back.config().dims.blocks, [DIMS, HEADLESS, DIMS]);
        assert_eq!(oops_model::block_file(2), "model-block-002.safetensors");
        back.block(2).unwrap();
    }
}

#[test]
fn a_ruinous_learning_rate_keeps_the_start() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &perturbed(&teacher_blocks()));
    let wild = params(json!({ "learning_rate": 1e3, "patience": 2 }));
    let out = distil(root.path(), "out", &inputs, &wild, &NoProgress).unwrap();
    let reports = reports(&out);
    assert_eq!(reports[0]["error_before"], reports[0]["error_after"]);
    assert!(reports.iter().all(|r| r["best_step"] == 0 && r["steps"].as_u64() < r["steps_planned"].as_u64()));
    let name = oops_model::block_file(0);
    assert_eq!(out.tree.0[&name], inputs.one("student").unwrap().tree.0[&name]);
}

#[test]
fn a_learning_rate_that_is_too_high_is_tried_again_lower() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &perturbed(&teacher_blocks()));
    let run = |retries: usize| {
        let high = params(json!({ "learning_rate": 0.64, "patience": 2, "retries": retries }));
        reports(&distil(root.path(), &retries.to_string(), &inputs, &high, &NoProgress).unwrap())
    };
    assert!(run(0).iter().any(|r| r["status"] == "kept" && r["attempts"] == 1));
    for report in run(4) {
        let attempts = report["attempts"].as_u64().unwrap() as i32;
        let rate = report["learning_rate"].as_f64().unwrap();
        assert!((rate - 0.64 * 0.25f64.powi(attempts - 1)).abs() < 1e-12, "{report}");
        assert!(report["status"] == "trained" && report["error_after"].as_f64() < report["error_before"].as_f64());
    }
}

/// Stops the run once `blocks` blocks are done.
struct StopAfter<'a> {
    done: AtomicU64,
    blocks: u64,
    cancel: &'a AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn begin(&self, _: u64, _: &str) {}

    fn advance(&self, steps: u64) {
        if self.done.fetch_add(steps, Ordering::Relaxed) + steps >= self.blocks {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }

    fn warn(&self, _: &str) {}
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &perturbed(&teacher_blocks()));
    let recipe = params(json!({ "epochs": 2 }));
    let whole = distil(root.path(), "whole", &inputs, &recipe, &NoProgress).unwrap();
    // With streams in memory or on disk before the stop, and after it.
    for (stop, how) in (1..3).flat_map(|stop| (0..4).map(move |how| (stop, how))) {
        let name = format!("stopped-{stop}-{how}");
        let cancel = AtomicBool::new(false);
        let progress = StopAfter { done: AtomicU64::new(0), blocks: stop, cancel: &cancel };
        let work = || Workdir::open(root.path().join(&name)).unwrap();
        let cx = Cx::new(5, work(), &progress, &cancel).spilling(how & 1 > 0);
        assert!(Blockwise::run(&recipe, &inputs, &cx).is_err());
        // What a kill leaves half-written is not in the journal.
        std::fs::write(root.path().join(&name).join("state/streams-002.part"), b"torn").unwrap();
        let never = AtomicBool::new(false);
        let cx = Cx::new(5, work(), &NoProgress, &never).spilling(how & 2 > 0);
        Blockwise::run(&recipe, &inputs, &cx).unwrap();
        assert_eq!(model_of(&cx.work).tree, whole.tree, "stopped after {stop}, {how}");
        assert!(!root.path().join(&name).join("state/student.shelf").exists());
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let root = tempfile::tempdir().unwrap();
    let student = perturbed(&teacher_blocks());
    let inputs = inputs_in(root.path(), &student);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let recipe = params(json!({ "epochs": 1 }));
        pool.install(|| distil(root.path(), &format!("threads-{threads}"), &inputs, &recipe, &NoProgress)).unwrap()
    };
    assert_eq!(run(1).tree, run(2).tree);
}

#[test]
fn pairs_that_do_not_belong_together_and_wrong_parameters_are_refused() {
    let dims = |hidden| ModelDims { hidden, vocab: 50, tied: true, gated: true, blocks: vec![DIMS; 2] };
    assert!(pair::check(&dims(16), &dims(16)).is_ok() && pair::check(&dims(16), &dims(32)).is_err());
    let check = |changes| Blockwise::check(&params(changes), &PortFacts::default(), &[]).is_ok();
    assert!(check(json!({})) && check(json!({ "lora_rank": 8, "kappa": 0.0 })));
    for wrong in [
        json!({ "learning_rate": 0.0 }),
        json!({ "epochs": 0 }),
        json!({ "lora_rank": 0 }),
        json!({ "heldout_fraction": 0.0 }),
        json!({ "warmup_fraction": 1.0 }),
        json!({ "kappa": -1.0 }),
    ] {
        assert!(!check(wrong.clone()), "{wrong}");
    }
}
