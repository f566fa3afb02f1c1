//! Paths as people write them in pipeline files and on the command line: one rule for all of them.
//!
//! `~` and `~/…` stand for the home folder, `$NAME` and `${NAME}` for an environment variable, `$$` for one `$`. A variable
//! that is not set, `~name` and addresses (`file://…`, `https://…`) are refused: taken as they are they would be names of
//! files that nobody has.

use std::{
    env,
    path::{Path, PathBuf},
};

use oops_core::{Fault, Result, bail_if};

/// Gives the value of an environment variable, if it is set.
type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The path that `text` stands for: `~` is the home folder, `$NAME` and `${NAME}` an environment variable, `$$` one `$`. A variable
/// that is not set, `~name` and an address (`https://…`) are errors.
pub fn expand(text: &str) -> Result<PathBuf> {
    expand_with(text, &|name| env::var(name).ok()).map_err(|f| f.at(format!("path `{text}`")))
}

/// [`expand`]; a relative path is relative to `base`.
pub(crate) fn resolve(base: &Path, text: &str) -> Result<PathBuf> {
    Ok(base.join(expand(text)?))
}

fn expand_with(text: &str, lookup: &Lookup<'_>) -> Result<PathBuf> {
    refuse_addresses(text)?;
    let rest = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '\\']) => rest,
        Some(_) => {
            return Err(Fault::config("a path that begins with `~name` is not expanded")
                .help("`~/` stands for your own home folder; write `./~name` for a file that is called so"));
        }
        None => return variables(text, lookup).map(PathBuf::from),
    };
    let home = lookup("HOME").or_else(|| lookup("USERPROFILE"));
    let home = home.ok_or_else(|| Fault::config("`~` stands for the home folder, and `HOME` is not set"))?;
    Ok(PathBuf::from(home + &variables(rest, lookup)?))
}

fn refuse_addresses(text: &str) -> Result<()> {
    let scheme = text.split_once("://").map(|p| p.0);
    let scheme = scheme.filter(|s| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '+'));
    let Some(scheme) = scheme else { return Ok(()) };
    let help = match scheme {
        "file" => "write the path alone, without `file://`",
        _ => "nothing is downloaded: fetch the file or folder first (`hf download` for models), then give its path",
    };
    Err(Fault::config(format!("`{scheme}://` is an address, not a path")).help(help))
}

/// `text` with its variables put in.
fn variables(text: &str, lookup: &Lookup<'_>) -> Result<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (name, after) = variable(after)?;
        let unset = || {
            Fault::config(format!("the environment variable `{name}` is not set"))
                .help("set it, or write `$$` for a `$` that belongs to the name of a file")
        };
        out.push_str(&lookup(name).ok_or_else(unset)?);
        rest = after;
    }
    Ok(out + rest)
}

/// The name right after a `$`, and what follows it.
fn variable(text: &str) -> Result<(&str, &str)> {
    let end = |t: &str| t.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(t.len());
    let (name, rest) = match text.strip_prefix('{') {
        Some(inner) => inner.split_once('}').unwrap_or_default(),
        None => text.split_at(end(text)),
    };
    let named = !name.is_empty() && end(name) == name.len() && !name.starts_with(|c: char| c.is_ascii_digit());
    bail_if(!named, || {
        Fault::config("a `$` is not followed by the name of a variable")
            .help("write `$NAME` or `${NAME}` for an environment variable, `$$` for a `$` in the name of a file")
    })?;
    Ok((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<PathBuf> {
        expand_with(text, &|name| match name {
            "HOME" => Some("/people/ada".to_owned()),
            "MODELS" => Some("/data/models".to_owned()),
            "V" => Some("7".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn home_and_variables_are_put_in() {
        let cases = [
            ("~", "/people/ada"),
            ("~/m/x", "/people/ada/m/x"),
            ("$MODELS/llama", "/data/models/llama"),
            ("${MODELS}/llama-$V.gguf", "/data/models/llama-7.gguf"),
            ("~/v${V}b", "/people/ada/v7b"),
            ("a$$b", "a$b"),
            ("./~tmp", "./~tmp"),
            ("a~b/c:d#e[0]", "a~b/c:d#e[0]"),
            ("", ""),
        ];
        for (text, path) in cases {
            assert_eq!(with(text).unwrap(), Path::new(path), "{text}");
        }
    }

    #[test]
    fn what_stands_for_no_path_is_refused_with_what_to_write() {
        let cases = [
            ("$NOPE/x", "`NOPE` is not set"),
            ("${NOPE}", "`NOPE` is not set"),
            ("~ada/x", "./~name"),
            ("${MODELS/x", "${NAME}"),
            ("cost$", "$$"),
            ("$1", "$$"),
            ("file:///data/x", "without `file://`"),
            ("https://huggingface.co/x/y", "fetch the file"),
            ("hf://x/y", "fetch the file"),
        ];
        for (text, words) in cases {
            let fault = with(text).unwrap_err();
            assert!(fault.to_string().contains(words), "{text}: {fault}");
        }
    }

    #[test]
    fn relative_paths_are_relative_to_the_base() {
        let base = Path::new("/srv/pipelines");
        assert_eq!(resolve(base, "model").unwrap(), Path::new("/srv/pipelines/model"));
        assert_eq!(resolve(base, "/data/model").unwrap(), Path::new("/data/model"));
    }
}
