//! Digests of the sources of all stage crates, as `src/sources.rs` needs them: what is compiled, without comments, blank
//! lines and tests.
#![allow(clippy::print_stdout, reason = "cargo reads it")]

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// Crates that have stages.
const CRATES: [&str; 9] = [
    "oops-source",
    "oops-calibrate",
    "oops-score",
    "oops-select",
    "oops-reconstruct",
    "oops-distill",
    "oops-eval",
    "oops-export",
    "oops-report",
];

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other("cargo sets it"));
    let crates = variable("CARGO_MANIFEST_DIR")?.join("..");
    let mut lines = String::new();
    for name in CRATES {
        let mut files = Vec::new();
        collect(&crates.join(name).join("src"), &mut files)?;
        files.sort();
        for file in files {
            let path = file.strip_prefix(&crates).unwrap_or(&file).to_string_lossy().replace('\\', "/");
            let _ = writeln!(lines, "    ({path:?}, {:#018x}),", digest(&fs::read_to_string(&file)?));
        }
        println!("cargo::rerun-if-changed=../{name}/src");
    }
    fs::write(
        variable("OUT_DIR")?.join("sources.rs"),
        format!(
            "#[allow(clippy::unreadable_literal, reason = \"digests\")]\nconst FILES: &[(&str, u64)] = &[\n{lines}];\n"
        ),
    )
}

/// All files below a folder that are compiled into the program.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_test = ["tests", "testkit", "testing"].contains(&name.as_str()) || name.ends_with("_tests");
        if path.is_dir() && !is_test {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") && !is_test {
            files.push(path);
        }
    }
    Ok(())
}

/// FNV-1a of the lines that are compiled: those above the tests at the end of the file, without comments.
fn digest(text: &str) -> u64 {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//"));
    let bytes = lines.flat_map(|l| l.bytes().chain([b'\n']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
