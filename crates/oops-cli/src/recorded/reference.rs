//! Names of runs: an id or its first digits, `latest`, `latest~N`.

use oops_core::{Fault, Result};
use oops_store::{LoggedRun, Store};

/// Fewer digits say too little.
const LEAST_DIGITS: usize = 4;

/// Whether a word could name a run.
pub(crate) fn named(word: &str) -> bool {
    let digits = word.len() >= LEAST_DIGITS && word.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
    digits || word == "latest" || word.starts_with("latest~")
}

/// The run of this name.
pub(crate) fn find(store: &Store, word: &str) -> Result<LoggedRun> {
    let mut runs = store.runs();
    let unknown = |what: String| Fault::data(what).help("`oops log` lists the runs that were written down");
    if let Some(back) = word.strip_prefix("latest") {
        let back = match back.strip_prefix('~') {
            Some(number) => number.parse().map_err(|_| {
                Fault::config(format!("`{word}` is no run")).help("latest, latest~1 for the one before it, or an id")
            })?,
            None => 0usize,
        };
        let count = runs.len();
        let what = format!("there is no run `{word}`: {count} are written down in {}", store.root().display());
        return if back < count { Ok(runs.swap_remove(back)) } else { Err(unknown(what)) };
    }
    runs.retain(|r| r.id.starts_with(word));
    match runs.len() {
        0 => Err(unknown(format!("no run is called `{word}`"))),
        1 => Ok(runs.swap_remove(0)),
        n => {
            let ids: Vec<&str> = runs.iter().map(|r| r.id.as_str()).collect();
            Err(Fault::config(format!("{n} runs begin with `{word}`"))
                .help(format!("give more digits: {}", ids.join(", "))))
        }
    }
}
