//! What happens where no token may judge, and where some may not.

use super::*;

/// Warnings of a run, and the model that it left.
fn warned<S: Stage>(root: &Path, name: &str, inputs: &Inputs, params: &S::Params) -> (Vec<String>, Artifact) {
    let cancel = AtomicBool::new(false);
    let cx = Cx::new(5, Workdir::open(root.join(name)).unwrap(), &NoProgress, &cancel);
    S::run(params, inputs, &cx).unwrap();
    (cx.warnings(), artifact(Kind::Model, &cx.work))
}

/// Token sets of which nothing can judge: too few sequences, and held-out ones that are all fitted, too.
fn unjudged(root: &Path) -> Vec<Inputs> {
    let few = inputs_in(&root.join("few"), &cut(), 9);
    let mut copies = inputs_in(&root.join("copies"), &cut(), HELD);
    let mut set = TokenSet::read(copies.one("tokens").unwrap()).unwrap();
    (9..HELD).step_by(10).for_each(|i| set.sequences[i] = set.sequences[i - 5].clone());
    let work = Workdir::open(root.join("copied")).unwrap();
    set.write(&work).unwrap();
    copies.ports.insert("tokens".to_owned(), vec![artifact(Kind::Tokens, &work)]);
    vec![few, copies]
}

#[test]
fn what_nothing_can_judge_stays_the_plain_cut_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    for (i, inputs) in unjudged(root.path()).iter().enumerate() {
        let ridge = warned::<Ridge>(root.path(), &format!("ridge-{i}"), inputs, &params(json!({})));
        let joint = warned::<Joint>(root.path(), &format!("joint-{i}"), inputs, &joint(json!({})));
        let cut = slice_block(
            &Checkpoint::open(&inputs.one("model").unwrap().paths).unwrap().block(0).unwrap(),
            &self::cut().blocks[0],
        );
        for (warnings, out) in [ridge, joint] {
            assert!(warnings.len() == 1 && warnings[0].contains("6 of 6 modules stay plain cuts"), "{warnings:?}");
            for report in reports(&out) {
                assert_eq!((report.status.as_str(), report.judged_on_heldout), ("cut, not judged", false));
                assert!(
                    report.error_repaired == report.error_cut && report.refined.is_none() && report.tried.is_empty()
                );
            }
            let written = Checkpoint::open(&out.paths).unwrap().block(0).unwrap();
            assert_eq!(values(&written.down.weight).unwrap(), values(&cut.as_ref().unwrap().down.weight).unwrap());
        }
    }
}

#[test]
fn on_the_users_word_a_repair_stays_unjudged() {
    let root = tempfile::tempdir().unwrap();
    let recipe = params(json!({ "damping": 1e-2, "unjudged": "repair" }));
    for (i, inputs) in unjudged(root.path()).iter().enumerate() {
        let (warnings, out) = warned::<Ridge>(root.path(), &format!("out-{i}"), inputs, &recipe);
        assert_eq!(warnings, [""; 0]);
        for report in reports(&out) {
            assert_eq!((report.status.as_str(), report.damping), ("solved, not judged", Some(1e-2)));
            assert!(report.error_repaired < report.error_cut && !report.judged_on_heldout);
        }
    }
}

#[test]
fn the_summary_counts_what_is_fitted_judges_and_is_leaked() {
    let root = tempfile::tempdir().unwrap();
    let mut inputs = inputs_in(root.path(), &cut(), 2 * HELD);
    let mut set = TokenSet::read(inputs.one("tokens").unwrap()).unwrap();
    let before = Heldout::of(&set, PERIOD).counts();
    // One held-out sequence of fourteen is a fitted one.
    set.sequences[9] = set.sequences[0].clone();
    let counts = Heldout::of(&set, PERIOD).counts();
    assert!(counts.leaked >= before.leaked + 10 && counts.judging() > 0);
    let work = Workdir::open(root.path().join("copied")).unwrap();
    set.write(&work).unwrap();
    inputs.ports.insert("tokens".to_owned(), vec![artifact(Kind::Tokens, &work)]);
    let (warnings, out) = warned::<Ridge>(root.path(), "out", &inputs, &params(json!({})));
    assert_eq!(warnings, [""; 0]);
    let summary: Value = json::read(out.path(SUMMARY).unwrap()).unwrap();
    let judging = counts.heldout - counts.leaked;
    let fit = 2 * HELD * 12 - judging;
    assert_eq!(summary["tokens"], json!({ "fit": fit, "heldout": judging, "leaked": counts.leaked }));
    assert!(reports(&out).iter().all(|r| r.judged_on_heldout));
}
