//! A run on the pruned stream that is stopped goes on to the same bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

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

/// A run that is stopped behind some block, its streams in memory or on disk, and goes on gives the bytes of one that is not.
fn check_stops<S: Stage>(root: &Path, inputs: &Inputs, recipe: &S::Params, tag: &str) {
    let whole = run_stage::<S>(root, &format!("whole-{tag}"), inputs, recipe, &NoProgress).unwrap();
    // With streams in memory or on disk before the stop, and after it.
    for (stop, how) in (1..3).flat_map(|stop| (0..4).map(move |how| (stop, how))) {
        let name = format!("stopped-{tag}-{stop}-{how}");
        let cancel = AtomicBool::new(false);
        let progress = StopAfter { done: AtomicU64::new(0), blocks: stop, cancel: &cancel };
        let work = || Workdir::open(root.join(&name)).unwrap();
        let cx = Cx::new(5, work(), &progress, &cancel).spilling(how & 1 > 0);
        assert!(S::run(recipe, inputs, &cx).is_err());
        // What a kill leaves half-written is not in the journal.
        std::fs::write(root.join(&name).join("state/walk-002.part"), b"torn").unwrap();
        let never = AtomicBool::new(false);
        let cx = Cx::new(5, work(), &NoProgress, &never).spilling(how & 2 > 0);
        S::run(recipe, inputs, &cx).unwrap();
        assert_eq!(artifact(Kind::Model, &cx.work).tree, whole.tree, "stopped after {stop}, {how}");
        assert!(!root.join(&name).join("state/pruned.shelf").exists());
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let inputs = inputs_in(root.path(), &cut(), HELD);
    for target in ["own", "residual"] {
        check_stops::<Ridge>(root.path(), &inputs, &params(json!({ "target": target })), target);
        check_stops::<Joint>(root.path(), &inputs, &joint(json!({ "target": target })), &format!("joint-{target}"));
    }
}
