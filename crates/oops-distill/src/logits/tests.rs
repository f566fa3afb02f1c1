//! Laws of the stage on tiny models.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use oops_artifact::Artifact;
use oops_core::BlockDims;
use oops_model::Block;
use oops_stage::{NoProgress, Progress, Workdir};
use serde_json::{Value, json};

use super::*;
use crate::testkit::{block, inputs, model, model_of, noise, tokens};

const HIDDEN: usize = 16;
const DIMS: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 24 };

fn teacher_blocks() -> Vec<Block> {
    vec![block(HIDDEN, DIMS, 1), block(HIDDEN, DIMS, 2)]
}

fn perturbed() -> Vec<Block> {
    let shifted = |b: &Block| b.map(&mut |_, _, t| Ok((t + noise(t.dims(), 99, 0.1)).unwrap())).unwrap();
    teacher_blocks().iter().map(shifted).collect()
}

fn inputs_in(root: &Path, student: &[Block]) -> Inputs {
    let teacher = model(&root.join("teacher"), HIDDEN, &teacher_blocks());
    inputs(model(&root.join("student"), HIDDEN, student), teacher, tokens(&root.join("tokens"), 40, 40))
}

fn params(changes: Value) -> Params {
    let mut all = json!({ "learning_rate": 3e-3, "epochs": 4, "heldout_fraction": 0.1, "checkpoint_steps": 5 });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn distil(root: &Path, name: &str, inputs: &Inputs, params: &Params, progress: &dyn Progress) -> Result<Artifact> {
    let cancel = AtomicBool::new(false);
    let cx = Cx::new(5, Workdir::open(root.join(name))?, progress, &cancel);
    Logits::run(params, inputs, &cx)?;
    Ok(model_of(&cx.work))
}

fn report(model: &Artifact) -> Value {
    let summary: Value = json::read(model.path("summary.json").unwrap()).unwrap();
    summary["training"].clone()
}

#[test]
fn an_unpruned_student_has_no_divergence_and_stays_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &teacher_blocks());
    let out = distil(root.path(), "out", &inputs, &params(json!({})), &NoProgress).unwrap();
    for l in 0..2 {
        let name = block_file(l);
        assert_eq!(out.tree.0[&name], inputs.one("student").unwrap().tree.0[&name]);
    }
    assert!(report(&out)["status"] == "exact" && report(&out)["divergence_before"] == 0.0);
}

#[test]
fn a_damaged_student_comes_closer_on_held_out_tokens() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &perturbed());
    for changes in [json!({}), json!({ "temperature": 2.0 }), json!({ "lora_rank": 4 }), json!({ "dtype": "bf16" })] {
        let out = distil(root.path(), &changes.to_string(), &inputs, &params(changes.clone()), &NoProgress).unwrap();
        let report = report(&out);
        let [before, after] = ["divergence_before", "divergence_after"].map(|k| report[k].as_f64().unwrap());
        assert!(after < 0.7 * before, "{changes}: {report}");
        let back = Checkpoint::open(&out.paths).unwrap();
        assert_eq!(back.config().dims.blocks, [DIMS, DIMS]);
        back.block(1).unwrap();
    }
}

#[test]
fn a_ruinous_learning_rate_keeps_the_start() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &perturbed());
    let wild = params(json!({ "learning_rate": 1e3, "patience": 2 }));
    let out = distil(root.path(), "out", &inputs, &wild, &NoProgress).unwrap();
    let report = report(&out);
    assert_eq!(report["divergence_before"], report["divergence_after"]);
    assert!(report["best_step"] == 0 && report["steps"].as_u64() < report["steps_planned"].as_u64());
    assert_eq!(out.tree.0[&block_file(0)], inputs.one("student").unwrap().tree.0[&block_file(0)]);
}

/// Stops the run once `steps` steps are done.
struct StopAfter<'a> {
    done: AtomicU64,
    steps: u64,
    cancel: &'a AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn begin(&self, _: u64, _: &str) {
        self.done.store(0, Ordering::Relaxed);
    }

    fn advance(&self, steps: u64) {
        if self.done.fetch_add(steps, Ordering::Relaxed) + steps >= self.steps {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }

    fn warn(&self, _: &str) {}
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &perturbed());
    let recipe = params(json!({ "epochs": 2 }));
    let whole = distil(root.path(), "whole", &inputs, &recipe, &NoProgress).unwrap();
    // 18 steps per epoch, evaluations after 9, 18, …: before the first checkpoint, between two, and after a best.
    // With the teacher's states in memory or on disk before the stop, and after it.
    for (stop, how) in [(3, 0), (13, 1), (22, 2), (22, 3)] {
        let name = format!("stopped-{stop}-{how}");
        let cancel = AtomicBool::new(false);
        let progress = StopAfter { done: AtomicU64::new(0), steps: stop, cancel: &cancel };
        let work = || Workdir::open(root.path().join(&name)).unwrap();
        let cx = Cx::new(5, work(), &progress, &cancel).spilling(how & 1 > 0);
        assert!(Logits::run(&recipe, &inputs, &cx).is_err());
        // What a kill leaves half-written is not in the journal, and other intervals change nothing.
        std::fs::write(root.path().join(&name).join("state/weights-000030.part"), b"torn").unwrap();
        let other = params(json!({ "epochs": 2, "checkpoint_steps": 7 }));
        let never = AtomicBool::new(false);
        let cx = Cx::new(5, work(), &NoProgress, &never).spilling(how & 2 > 0);
        Logits::run(&other, &inputs, &cx).unwrap();
        assert_eq!(model_of(&cx.work).tree, whole.tree, "stopped after {stop}, {how}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &perturbed());
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let recipe = params(json!({ "epochs": 1 }));
        pool.install(|| distil(root.path(), &format!("threads-{threads}"), &inputs, &recipe, &NoProgress)).unwrap()
    };
    assert_eq!(run(1).tree, run(2).tree);
}

#[test]
fn wrong_parameters_are_refused() {
    let check = |changes| Logits::check(&params(changes), &PortFacts::default(), &[]).is_ok();
    assert!(check(json!({})) && check(json!({ "lora_rank": 8 })));
    for wrong in [
        json!({ "learning_rate": 0.0 }),
        json!({ "temperature": 0.0 }),
        json!({ "epochs": 0 }),
        json!({ "checkpoint_steps": 0 }),
        json!({ "heldout_fraction": 0.6 }),
        json!({ "warmup_fraction": 1.0 }),
    ] {
        assert!(!check(wrong.clone()), "{wrong}");
    }
}
