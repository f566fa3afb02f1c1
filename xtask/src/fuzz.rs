//! `cargo xtask fuzz`: the targets of tests/fuzz with libFuzzer, guided by coverage, on Rust stable.
//!
//! Only the workspace's own crates are instrumented: cargo calls this program in place of rustc for them
//! (RUSTC_WORKSPACE_WRAPPER), which adds LLVM's coverage pass, overflow checks and assertions. Dependencies are those of
//! every other build.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{built, cargo_build, workspace};

/// Set while cargo calls this program in place of rustc.
const WRAPS: &str = "OOPS_XTASK_WRAPS_RUSTC";

/// What libFuzzer asks of the compiler (<https://clang.llvm.org/docs/SanitizerCoverage.html>), and checks that other
/// builds go without.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Coverflow-checks=on",
    "-Cdebug-assertions=on",
];

const HELP: &str = "usage: cargo xtask fuzz [--seconds N] [--build] [TARGET]…

Builds the fuzz targets (Linux, a C++ compiler for libFuzzer) and runs each for N seconds (default 60) on the inputs in
target/fuzz/<target>/corpus, which grow from run to run; a find stays in target/fuzz/<target>/ and ends with exit code 1.
--build stops before the runs. Targets: ";

/// The call of rustc that this process stands for, if it does.
pub(crate) fn wrapped(args: &[OsString]) -> Option<Command> {
    env::var_os(WRAPS)?;
    let (rustc, rest) = args.split_first()?;
    let mut command = Command::new(rustc);
    command.args(rest).args(FLAGS);
    Some(command)
}

/// Parses `args`, builds and runs; whether nothing was found.
pub(crate) fn fuzz(args: &[OsString]) -> Result<bool, String> {
    let known = targets()?;
    let (mut seconds, mut only_build, mut chosen) = (60, false, Vec::new());
    let mut args = args.iter().map(|a| a.to_string_lossy().into_owned());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--build" => only_build = true,
            "--seconds" => {
                let value = args.next().unwrap_or_default();
                seconds = value.parse().map_err(|_| format!("--seconds takes a number, not `{value}`"))?;
            }
            _ if known.contains(&arg) => chosen.push(arg),
            _ => return Err(format!("{HELP}{}", known.join(", "))),
        }
    }
    let folder = build(&known)?;
    if only_build {
        return Ok(true);
    }
    let chosen = if chosen.is_empty() { known } else { chosen };
    chosen.iter().try_fold(true, |clean, target| Ok(run(&folder, target, seconds)? && clean))
}

/// Names of all targets: those of the files in tests/fuzz/targets.
fn targets() -> Result<Vec<String>, String> {
    let folder = workspace().join("tests/fuzz/targets");
    let files = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let stem = |file: fs::DirEntry| file.path().file_stem().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = files.filter_map(|file| file.ok().and_then(stem)).collect();
    names.sort();
    Ok(names)
}

/// Builds everything; gives the folder of the binaries.
fn build(targets: &[String]) -> Result<PathBuf, String> {
    let this = env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    let mut command = cargo_build();
    // The whole workspace is selected, so that dependencies have the features that they have in every other build.
    command.args(["--locked", "--workspace", "--features", "oops-fuzz/libfuzzer"]);
    command.args(targets.iter().flat_map(|target| ["--bin".to_owned(), format!("fuzz_{target}")]));
    built(command.env(WRAPS, "1").env("RUSTC_WORKSPACE_WRAPPER", this))
}

/// Runs one target for `seconds`; whether nothing was found.
fn run(profile: &Path, target: &str, seconds: u64) -> Result<bool, String> {
    let place = profile.parent().unwrap_or(profile).join("fuzz").join(target);
    let (corpus, seeds) = (place.join("corpus"), place.join("seeds"));
    for folder in [&corpus, &seeds] {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let mut command = Command::new(profile.join(format!("fuzz_{target}")));
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", place.display()));
    command.args(["-max_len=65536", "-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1"]);
    command.env("OOPS_FUZZ_SEEDS", &seeds).arg(corpus).arg(seeds);
    Ok(command.status().map_err(|e| format!("{target}: {e}"))?.success())
}
