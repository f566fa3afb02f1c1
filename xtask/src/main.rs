//! Developer tasks: `cargo xtask run|sweep|status|show|log|table|diff|bench|verify|gc …` builds the binary `oops` and becomes it;
//! `cargo xtask ci` becomes `.ci/run`, `cargo xtask fuzz` runs the targets of tests/fuzz, `cargo xtask same-bytes` says that
//! stages whose source changed and whose `VERSION` did not give the bytes that they gave. Prints nothing itself on
//! stdout, which belongs to the command.

mod fuzz;

use std::{
    env,
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Commands that are handed to `oops`.
const COMMANDS: &[&str] = &[
    "run",
    "sweep",
    "status",
    "dag",
    "show",
    "generate",
    "bench",
    "log",
    "table",
    "diff",
    "export-plan",
    "schema",
    "completions",
    "verify",
    "gc",
    "export-cache",
    "import-cache",
    "stages",
    "data",
    "help",
];

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    if let Some(mut rustc) = fuzz::wrapped(&args) {
        return ended(become_process(&mut rustc));
    }
    let first = args.first().and_then(|a| a.to_str()).unwrap_or("help").to_owned();
    if first == "fuzz" {
        return ended(fuzz::fuzz(&args[1..]).map(|clean| ExitCode::from(u8::from(!clean))));
    }
    let task = match first.as_str() {
        "same-bytes" => Ok(same_bytes()),
        "ci" => Ok(Command::new(workspace().join(".ci/run"))),
        "--help" | "-h" | "--version" | "-V" => oops(),
        name if COMMANDS.contains(&name) => oops(),
        name => Err(format!("no task is called `{name}`; tasks: ci, fuzz, same-bytes, {}", COMMANDS.join(", "))),
    };
    let own = ["ci", "same-bytes"].contains(&first.as_str());
    let rest = if own { &args[1..] } else { &args[..] };
    ended(task.and_then(|mut command| become_process(command.args(rest))))
}

/// The exit code; a message goes to stderr.
fn ended(result: Result<ExitCode, String>) -> ExitCode {
    result.unwrap_or_else(|message| {
        let _ = writeln!(std::io::stderr(), "xtask: {message}");
        ExitCode::from(2)
    })
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// A build of this workspace, in the profile and target folder that everything else uses.
fn cargo_build() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--manifest-path"]).arg(workspace().join("Cargo.toml"));
    command
}

/// Runs a [`cargo_build`]; gives the folder of its binaries.
fn built(command: &mut Command) -> Result<PathBuf, String> {
    let ended = command.status().map_err(|e| format!("cannot start cargo: {e}"))?;
    if !ended.success() {
        return Err("the build failed".to_owned());
    }
    // This program itself lies in <target>/<profile>/.
    let here = env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    here.parent().map(Path::to_owned).ok_or_else(|| "cannot find the target folder".to_owned())
}

/// Writes down the sources of all stages: those whose `VERSION` stayed are said to give the same bytes.
fn same_bytes() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--quiet", "--package", "oops-cli", "--bin", "oops", "--manifest-path"]);
    command.arg(workspace().join("Cargo.toml")).args(["sources::", "--"]).env("OOPS_SAME_BYTES", "1");
    command
}

/// Builds `oops`, and finds it.
fn oops() -> Result<Command, String> {
    let folder = built(cargo_build().args(["--quiet", "--package", "oops-cli", "--bin", "oops"]))?;
    Ok(Command::new(folder.join(format!("oops{}", env::consts::EXE_SUFFIX))))
}

/// Becomes the command, so that signals and the exit code need no handing over.
#[cfg(unix)]
fn become_process(command: &mut Command) -> Result<ExitCode, String> {
    use std::os::unix::process::CommandExt as _;
    let error = command.exec();
    Err(format!("cannot start {}: {error}", command.get_program().to_string_lossy()))
}

/// Runs the command and hands its exit code on.
#[cfg(not(unix))]
fn become_process(command: &mut Command) -> Result<ExitCode, String> {
    let status = command.status().map_err(|e| e.to_string())?;
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(70)))
}
