//! Writes that fail: short writes, full disks, folders without permission. One clear error, exit code 6, and with room
//! again the run goes on to the same bytes.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
};

use oops_core::Rng;
use support::{
    Done, Place,
    campaign::{ended, place, recovers, undisturbed},
};

/// Runs a line of bash in a place; `$0` is the binary.
fn bash(place: &Place, before: &[&str], line: &str) -> Done {
    let mut command = Command::new(before.first().copied().unwrap_or("bash"));
    command.args(before.get(1..).unwrap_or_default());
    if !before.is_empty() {
        command.arg("bash");
    }
    command.args(["-c", line, env!("CARGO_BIN_EXE_oops")]).current_dir(place.path(""));
    let Output { status, stdout, stderr } =
        command.env("OOPS_CACHE", place.path("store")).env("NO_COLOR", "1").output().expect("bash");
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    Done { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

#[test]
fn a_file_that_cannot_grow_further() {
    let (whole, _) = undisturbed();
    let mut rng = Rng::new(4, "file limits");
    let place = place();
    let mut failed = 0;
    for _ in 0..6 {
        // The system cuts the write that crosses the limit short and refuses the next one.
        let scale = 1 + rng.below(11);
        let limit = 1 + rng.below(1 << scale);
        let done = bash(&place, &[], &format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" run p.yaml --quiet"));
        ended(&done, &[0, 6], &format!("limit of {limit} KiB"));
        assert!(done.code == 0 || done.stderr.contains("cannot write"), "{}", done.stderr);
        failed += usize::from(done.code == 6);
        place.verified();
    }
    assert!(failed > 1, "some limit bites");
    recovers(&place, &whole, "file limits");
}

#[test]
fn a_full_disk() {
    let place = place();
    let mount = |size: &str| format!("mount -t tmpfs -o size={size} none store");
    fs::create_dir(place.path("store")).unwrap();
    let namespace = ["unshare", "--mount"];
    if bash(&place, &namespace, &mount("1m")).code != 0 {
        eprintln!("skipped: a_full_disk (no right to mount a small disk)");
        return;
    }
    for size in ["64k", "300k", "1m", "3m"] {
        // Too small, then collected, then large enough.
        let line = format!(
            "{} || exit 99; \"$0\" run p.yaml --quiet >&2; a=$?; \"$0\" verify >&2; b=$?; \"$0\" gc --delete >&2; c=$?; \
             mount -o remount,size=100m store; \"$0\" run p.yaml --quiet >&2; d=$?; \"$0\" verify >&2; echo $a $b $c $d $?",
            mount(size)
        );
        let done = bash(&place, &namespace, &line);
        assert_eq!(done.stdout.trim(), "6 0 0 0 0", "{size}: {}", done.stderr);
        assert!(done.stderr.contains("No space left") && done.stderr.contains("--cache"), "{}", done.stderr);
    }
}

#[test]
fn folders_that_may_not_be_written() {
    let (whole, _) = undisturbed();
    let place = place();
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    // Root may write everywhere, so it becomes nobody.
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let before: &[&str] = if root { &nobody } else { &[] };
    if root && bash(&place, before, "exec \"$0\" --version").code != 0 {
        eprintln!("skipped: folders_that_may_not_be_written (root cannot become nobody here)");
        return;
    }
    for folder in ["", "blobs", "actions", "tmp", "scratch", "sessions", "locks", "sources/path", "runs"] {
        let _ = fs::remove_dir_all(place.path("store"));
        let all =
            ["blobs", "actions", "tmp", "scratch", "sessions", "locks", "sources/path", "sources/digest", "runs", ""];
        let open = |mode: u32, names: &[&str]| {
            for name in names {
                let path = place.path("store").join(name);
                fs::create_dir_all(&path).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        };
        open(0o777, &all);
        open(0o555, &[folder]);
        let done = bash(&place, before, "exec \"$0\" run p.yaml --quiet");
        ended(&done, &[0, 6], folder);
        assert_eq!(done.code == 6, done.stderr.contains("cannot write"), "{folder}: {}", done.stderr);
        open(0o777, &[folder]);
        recovers(&place, &whole, folder);
    }
}
