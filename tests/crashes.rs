//! Kills at random instants, and processes side by side. `OOPS_CRASHES=N` asks for N kills (default 12).

#![allow(clippy::print_stderr, reason = "a campaign says what it did")]

mod support;

use std::{
    fs,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use oops_core::Rng;
use serde_json::Value;
use support::{
    Place, campaign,
    campaign::{STAGES, Trees, ended, killed, packed, place, recovers, trees, undisturbed},
    names,
};

/// How many kills a part makes: its share of the asked number, or the short form's.
fn kills(share: usize, short: usize) -> usize {
    let asked = std::env::var("OOPS_CRASHES").ok().map(|n| n.parse::<usize>().expect("OOPS_CRASHES is a number"));
    asked.map_or(short, |n| (n * share).div_ceil(100))
}

/// A random instant within a time and a bit.
fn instant(rng: &mut Rng, within: Duration) -> Duration {
    within.mul_f64(rng.uniform() * 1.05)
}

#[test]
fn kills_of_a_run_lose_nothing_that_is_finished() {
    let (whole, took) = undisturbed();
    let mut rng = Rng::new(1, "kills of runs");
    let (wanted, mut hit, mut stores) = (kills(55, 5), 0, 0);
    while hit < wanted {
        let place = place();
        stores += 1;
        // Up to four kills, one after the other, in one store.
        for _ in 0..=rng.below(4) {
            let delay = instant(&mut rng, took);
            // Now and then with so little memory that activations lie on disk.
            let run: &[&str] = [&["run", "p.yaml"][..], &["run", "p.yaml", "--memory", "1MiB"]][rng.below(2)];
            hit += usize::from(killed(&place, run, delay));
            place.verified();
        }
        recovers(&place, &whole, &format!("store {stores}"));
    }
    eprintln!("run: {hit} kills in {stores} stores, a run takes {took:.2?}");
}

#[test]
fn kills_of_a_collection_or_a_check_leave_a_valid_store() {
    let (whole, _) = undisturbed();
    let mut rng = Rng::new(2, "kills of gc");
    let place = place();
    place.run(&place.path("p.yaml"), &[]);
    let short = Duration::from_millis(30);
    let (mut hit, mut tries) = (0, 0);
    while hit < kills(15, 3) {
        tries += 1;
        hit += usize::from(killed(&place, &["gc", "--older-than", "0s", "--delete"], instant(&mut rng, short)));
        recovers(&place, &whole, &format!("gc, try {tries}"));
    }
    eprintln!("gc: {hit} kills in {tries} tries");
    let (mut hit, mut tries) = (0, 0);
    while hit < kills(15, 2) {
        tries += 1;
        let blob = damage(&place, &mut rng);
        hit += usize::from(killed(&place, &["verify"], instant(&mut rng, short)));
        // Whatever the killed one did, the next finds the rest, and then there is none.
        ended(&place.oops(&["verify"]), &[0, 1], &blob);
        recovers(&place, &whole, &format!("verify, try {tries}"));
    }
    eprintln!("verify: {hit} kills in {tries} tries");
}

/// Damages one blob.
fn damage(place: &Place, rng: &mut Rng) -> String {
    let folders =
        fs::read_dir(place.path("store/blobs")).unwrap().flat_map(|d| fs::read_dir(d.unwrap().path()).unwrap());
    let mut blobs: Vec<_> = folders.map(|e| e.unwrap().path()).collect();
    blobs.sort();
    let path = &blobs[rng.below(blobs.len())];
    let bytes = vec![1; fs::metadata(path).unwrap().len() as usize];
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn kills_of_an_import_take_in_nothing_half() {
    let (whole, _) = undisturbed();
    let from = place();
    from.run(&from.path("p.yaml"), &[]);
    let file = packed(&from);
    let file = file.to_str().unwrap();
    let mut rng = Rng::new(3, "kills of imports");
    let (mut hit, mut tries) = (0, 0);
    while hit < kills(15, 2) {
        tries += 1;
        let place = place();
        hit += usize::from(killed(&place, &["import-cache", file], instant(&mut rng, Duration::from_millis(60))));
        place.verified();
        ended(&place.oops(&["import-cache", file]), &[0], "import again");
        let run = place.run(&place.path("p.yaml"), &[]);
        assert_eq!(names(&run, "executed"), ["dense"], "only what refers to files outside runs");
        assert_eq!(trees(&place), whole);
        place.verified();
    }
    eprintln!("import: {hit} kills in {tries} tries");
}

/// Runs the pipeline in `n` processes at once; the last lines of all.
fn together(place: &Place, n: usize) -> Vec<Value> {
    let start = || {
        let mut command = place.command(&["run", "p.yaml", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    };
    let children: Vec<_> = (0..n).map(|_| start()).collect();
    let end = |child: std::process::Child| {
        let out = child.wait_with_output().expect("an end");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("UTF-8");
        serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a JSON line")
    };
    children.into_iter().map(end).collect()
}

#[test]
fn processes_side_by_side_make_each_result_once() {
    let (whole, _) = undisturbed();
    for n in 2..=4 {
        let place = place();
        let runs = together(&place, n);
        let mut made: Vec<String> = runs.iter().flat_map(|r| names(r, "executed")).collect();
        made.sort();
        let mut once = made.clone();
        once.dedup();
        assert_eq!((made.len(), once.len()), (STAGES, STAGES), "{n} processes: {made:?}");
        assert_eq!(trees(&place), whole);
        place.verified();
    }
}

/// Sets a flag when it is dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn runs_end_well_while_others_collect_and_verify() {
    let (whole, _): (Trees, _) = undisturbed();
    let place = place();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Set however this block is left: the scope waits for the thread below even if a run failed.
        let runs = Stopping(&stop);
        let disturb = scope.spawn(|| {
            let mut collections = 0;
            while !stop.load(Ordering::Relaxed) {
                ended(&place.oops(&["gc", "--older-than", "0s", "--keep-size", "1B", "--delete"]), &[0], "gc");
                ended(&place.oops(&["verify"]), &[0], "verify");
                collections += 1;
            }
            collections
        });
        for _ in 0..3 {
            together(&place, 2);
        }
        drop(runs);
        assert!(disturb.join().expect("no panic") > 0);
    });
    place.verified();
    campaign::recovers(&place, &whole, "after collections");
}
