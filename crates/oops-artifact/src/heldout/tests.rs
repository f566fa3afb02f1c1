//! Cases of leaked tokens by hand, and random windows against a plain search.

use oops_core::Rng;

use super::*;

/// A token set; `parts` are offset and sequence.
fn set(bos: bool, parts: Vec<(u64, Vec<u32>)>) -> TokenSet {
    let (offsets, sequences): (Vec<u64>, Vec<Vec<u32>>) = parts.into_iter().unzip();
    let mut set = TokenSet { offsets, ..TokenSet::of(sequences, 1 << 20) };
    (set.info.bos, set.info.packing) = (bos, "random".into());
    set
}

/// Whether each token of the last sequence, the only one that is held out, is unleaked.
fn last(bos: bool, parts: Vec<(u64, Vec<u32>)>) -> Vec<bool> {
    let period = parts.len();
    leaks::unleaked(&set(bos, parts), period).remove(period - 1)
}

/// Tokens that occur nowhere else.
fn own(from: u32, n: usize) -> Vec<u32> {
    (from..).take(n).collect()
}

#[test]
fn places_that_a_fitted_window_covers_do_not_judge() {
    let text = own(0, 40);
    let window = |at: usize, n: usize| (at as u64, text[at..at + n].to_vec());
    assert_eq!(last(false, vec![window(0, 8), window(6, 6)]), [false, false, true, true, true, true]);
    assert_eq!(
        last(false, vec![window(0, 2), window(8, 2), window(1, 8)])[..],
        [false, true, true, true, true, true, true, false]
    );
    assert_eq!(last(false, vec![window(0, 8), window(8, 4)]), [true; 4]);
    // Behind a BOS token the text goes on; the BOS token is everybody's.
    let with_bos = |at: usize, n: usize| (at as u64, [vec![99], text[at..at + n].to_vec()].concat());
    assert_eq!(last(true, vec![with_bos(0, 8), with_bos(6, 4)]), [false, false, false, true, true]);
}

#[test]
fn places_of_another_text_are_other_places() {
    assert_eq!(last(false, vec![(0, own(0, 8)), (4, own(100, 8))]), [true; 8]);
}

#[test]
fn long_runs_and_whole_short_sequences_that_are_fitted_do_not_judge() {
    let run = own(1000, RUN);
    let with = |part: &[u32]| (500, [own(1, 5), part.to_vec(), own(40, 3)].concat());
    let found = last(false, vec![(0, [own(300, 9), run.clone()].concat()), with(&run)]);
    assert_eq!(found, [vec![true; 5], vec![false; RUN], vec![true; 3]].concat());
    // One token less is a phrase.
    let found = last(false, vec![(0, [own(300, 9), run[1..].to_vec()].concat()), with(&run[1..])]);
    assert!(found.iter().all(|&j| j));
    let short = own(7, 4);
    assert_eq!(last(false, vec![(0, [own(300, 9), short.clone()].concat()), (500, short.clone())]), [false; 4]);
    let with_bos = |part: &[u32]| [vec![99], part.to_vec()].concat();
    let parts = vec![(0, with_bos(&[own(300, 9), short.clone()].concat())), (500, with_bos(&short))];
    assert_eq!(last(true, parts), [false; 5]);
}

#[test]
fn a_start_that_a_fitted_sequence_has_does_not_judge() {
    let parts = vec![(0, vec![1, 2, 9, 9]), (50, vec![1, 3, 9, 9]), (90, vec![0, 2, 3]), (200, vec![1, 2, 3, 4])];
    assert_eq!(last(false, parts), [false, false, true, true]);
}

#[test]
fn rows_that_repeat_leave_nothing_to_judge_by() {
    let story = own(0, 200);
    let copies = set(false, (0..20).map(|i| (i * 200, story.clone())).collect());
    let heldout = Heldout::of(&copies, 10);
    assert_eq!(heldout.counts(), HeldoutCounts { fitted: 3600, heldout: 400, leaked: 400 });
    assert!(heldout.judges(9, 200).iter().all(|&j| !j) && heldout.holds_out(9));
    assert!(heldout.counts().lack().unwrap().contains("of 400 held-out tokens 400 are in fitted"));
}

#[test]
fn too_few_tokens_are_none() {
    let with = |n: usize| {
        let parts = (0..10).map(|i| (i * 10_000, own(10_000 * i as u32, if i == 9 { n } else { 300 })));
        Heldout::of(&set(false, parts.collect()), 10)
    };
    let (few, enough) = (with(LEAST_TOKENS - 1), with(LEAST_TOKENS));
    assert_eq!((few.counts().judging(), enough.counts().judging()), (0, LEAST_TOKENS));
    assert!(few.judges(9, LEAST_TOKENS - 1).iter().all(|&j| !j) && enough.judges(9, LEAST_TOKENS)[5]);
    assert!(few.counts().lack().unwrap().contains("the other 63 are too few"), "{:?}", few.counts().lack());
    assert!(enough.counts().lack().is_none());
    let many = HeldoutCounts { fitted: 100_000, heldout: 999, leaked: 0 };
    assert_eq!((many.judging(), HeldoutCounts { heldout: 1000, ..many }.judging()), (0, 1000));
    let none = Heldout::of(&set(false, vec![(0, own(0, 500))]), 10);
    assert!(none.counts().lack().unwrap().contains("no sequence is held out"));
}

#[test]
fn random_windows_of_a_text_are_leaked_where_they_overlap_and_nowhere_else() {
    let (mut rng, length) = (Rng::new(3, "windows"), 96);
    // No token twice in the text: a token is fitted if and only if it is in a fitted window.
    let windows: Vec<(u64, Vec<u32>)> =
        (0..60).map(|_| rng.below(9000)).map(|at| (at as u64, own(at as u32, length))).collect();
    let (mut leaked, set) = (0, set(false, windows.clone()));
    let heldout = Heldout::of(&set, 10);
    for h in (9..60).step_by(10) {
        for (t, judges) in heldout.judges(h, length).into_iter().enumerate() {
            let fitted = windows.iter().enumerate().any(|(i, w)| i % 10 != 9 && w.1.contains(&windows[h].1[t]));
            assert_eq!(judges, !fitted, "window {h}, token {t}");
            leaked += usize::from(fitted);
        }
    }
    assert!(leaked > 0 && heldout.counts() == HeldoutCounts { fitted: 54 * length, heldout: 6 * length, leaked });
}

#[test]
fn windows_of_two_texts_in_turn_are_told_apart_by_what_they_hold() {
    let (mut rng, length) = (Rng::new(4, "mix"), 96);
    let windows: Vec<(u64, Vec<u32>)> = (0..80)
        .map(|i| {
            let at = rng.below(3000);
            (at as u64, own((at + 100_000 * (i % 2)) as u32, length))
        })
        .collect();
    let heldout = Heldout::of(&set(false, windows.clone()), 10);
    for h in (9..80).step_by(10) {
        let judges = heldout.judges(h, length);
        let fitted = |t: &u32| windows.iter().enumerate().any(|(i, w)| i % 10 != 9 && w.1.contains(t));
        assert!(windows[h].1.iter().zip(judges).all(|(t, judges)| judges != fitted(t)), "window {h}");
    }
}
