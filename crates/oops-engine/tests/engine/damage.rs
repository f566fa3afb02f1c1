//! Damage is a miss with a warning, never an answer.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use oops_store::Store;

use crate::fakes::{Bench, DIAMOND, files};

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Runs once, lets `damage` loose on one file of `folder` after the other, and expects the next run to warn and to
/// end with the same result.
fn recovers(folder: &str, damage: &dyn Fn(&Path)) {
    let bench = Bench::new(DIAMOND);
    bench.executed(&[]);
    let digest = bench.digest();
    let all = files(&bench.path("store").join(folder));
    assert!(all.len() >= 4, "{all:?}");
    for path in &all {
        bench.heard();
        damage(path);
        assert!(!bench.executed(&[]).is_empty(), "{}", path.display());
        assert!(bench.heard().iter().any(|l| l.starts_with("warning")), "{}", path.display());
        assert_eq!(bench.digest(), digest);
        let (_, damage) = Store::open(bench.path("store")).unwrap().verify().unwrap();
        assert_eq!(damage, []);
    }
}

#[test]
fn damaged_blobs_are_made_again() {
    recovers("blobs", &|p| overwrite(p, b"99\n"));
    recovers("blobs", &|p| overwrite(p, b""));
    recovers("blobs", &|p| fs::remove_file(p).unwrap());
}

#[test]
fn damaged_records_are_made_again() {
    recovers("actions", &|p| overwrite(p, b""));
    recovers("actions", &|p| overwrite(p, b"{\"preimage\": \"\", \"kind\": \"tokens\", \"files\": {}}"));
    recovers("actions", &|p| {
        let text = fs::read_to_string(p).unwrap();
        overwrite(p, &text.as_bytes()[..text.len() / 2]);
    });
    // Says that its key is made of something else.
    recovers("actions", &|p| {
        overwrite(p, fs::read_to_string(p).unwrap().replace("oops.action/1", "oops.action/0").as_bytes());
    });
}

#[test]
fn a_large_damaged_input_is_found_before_it_is_used() {
    let bench = Bench::new(DIAMOND);
    let pad = "b.with.pad=5000000";
    bench.executed(&[pad]);
    let large =
        files(&bench.path("store/blobs")).into_iter().find(|p| p.metadata().unwrap().len() == 5_000_000).unwrap();
    overwrite(&large, &vec![1; 5_000_000]);
    assert_eq!(bench.executed(&[pad]), [""; 0], "nobody reads it");
    bench.heard();
    assert_eq!(bench.executed(&[pad, "d.with.plus=1"]), ["b", "d", "e"]);
    assert!(bench.heard()[0].starts_with("warning b: its file `pad.bin` is damaged"));
    assert_eq!(fs::read(&large).unwrap(), vec![0; 5_000_000]);
}

#[test]
fn verify_takes_damage_out_of_service() {
    let bench = Bench::new(DIAMOND);
    let digest = bench.digest();
    for path in files(&bench.path("store/blobs")) {
        overwrite(&path, b"xx\n");
    }
    let (read, damage) = bench.store().verify().unwrap();
    assert!(read >= 10 && damage.len() >= 8, "{read} {damage:?}");
    assert_eq!(bench.store().verify().unwrap().1, []);
    assert_eq!(bench.digest(), digest);
}

#[test]
fn a_store_that_cannot_be_written_is_a_store_fault() {
    let bench = Bench::new(DIAMOND);
    fs::create_dir(bench.path("store")).unwrap();
    fs::write(bench.path("store/scratch"), "in the way").unwrap();
    let mut outcome = bench.select(&[], &oops_engine::Selection::default()).unwrap();
    let (_, fault) = outcome.failed.remove(0);
    assert_eq!(fault.class().exit_code(), 6);
    assert!(fault.to_string().contains("--cache DIR"), "{fault}");
    fs::write(bench.path("file"), "").unwrap();
    let fault = Store::open(bench.path("file")).err().unwrap();
    assert_eq!(fault.class().exit_code(), 6);
}
