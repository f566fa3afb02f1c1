//! Which files make up a checkpoint folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use oops_core::{Fault, Result, bail_if};

use super::json::{Keys, missing, read_object};

/// The index of a sharded checkpoint.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// The only file of weights, where there is one.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The name under which a GGUF file is kept, whatever it is called on disk.
pub(crate) const GGUF: &str = "model.gguf";

/// Files beside the weights that travel with a model when they exist.
const COMPANIONS: [&str; 14] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
];

/// Lists (name in the artifact, path) for the checkpoint at `path`: a folder, a `.gguf` file, or a folder that holds a
/// single one.
pub(crate) fn list(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let metadata = fs::metadata(path).map_err(|e| Fault::reading(path, &e))?;
    if metadata.is_file() {
        bail_if(!is_gguf(path), || {
            Fault::data("a file that is not `.gguf` is no checkpoint")
                .at(path.display())
                .help("give a Hugging Face folder, a .gguf file, or a folder with a single .gguf file")
        })?;
        return Ok(vec![(GGUF.to_owned(), path.to_owned())]);
    }
    if path.join("config.json").is_file() { folder(path).map_err(|f| f.at(path.display())) } else { only_gguf(path) }
}

/// The chat template of a folder: a file of its own, or an entry of tokenizer_config.json (the one named `default`
/// where there are several).
pub(crate) fn chat_template(files: &BTreeMap<String, PathBuf>) -> Result<Option<String>> {
    if let Some(path) = files.get("chat_template.jinja") {
        return super::json::read_text(path).map(Some);
    }
    let Some(path) = files.get("tokenizer_config.json") else { return Ok(None) };
    let object = read_object(path)?;
    let named = |list: &Vec<serde_json::Value>| {
        let default = list.iter().find(|t| t["name"] == "default").or(list.first())?;
        default["template"].as_str().map(str::to_owned)
    };
    Ok(Keys(&object).get("chat_template").and_then(|t| match t {
        serde_json::Value::Array(list) => named(list),
        other => other.as_str().map(str::to_owned),
    }))
}

/// Whether a name is that of a GGUF file.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

/// Whether a name is that of a safetensors file.
pub(crate) fn is_shard(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "safetensors")
}

fn only_gguf(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| Fault::reading(folder, &e))?;
    let mut found: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(|p| is_gguf(p)).collect();
    let fault = |what: String| Fault::data(what).at(folder.display());
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(vec![(GGUF.to_owned(), one)]),
        (None, _) => Err(fault("neither config.json nor a .gguf file is in the folder".into())
            .help("give a Hugging Face folder, a .gguf file, or a folder with a single .gguf file")),
        (_, more) => Err(fault(format!("the folder holds {} .gguf files", more + 1)).help("name the file itself")),
    }
}

fn folder(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut names: Vec<String> = COMPANIONS.iter().map(|n| (*n).to_owned()).collect();
    names.retain(|n| folder.join(n).is_file());
    if folder.join(INDEX).is_file() {
        names.push(INDEX.to_owned());
        names.extend(shards(&folder.join(INDEX))?);
    } else if folder.join(SINGLE).is_file() {
        names.push(SINGLE.to_owned());
    } else {
        return Err(Fault::data(format!("neither {SINGLE} nor {INDEX} is in the folder"))
            .help("weights must be safetensors; `save_pretrained` of transformers writes them"));
    }
    let at = |n: String| {
        let path = folder.join(&n);
        bail_if(!path.is_file(), || Fault::data(format!("shard `{n}` is missing")).help("download it again"))?;
        Ok((n, path))
    };
    names.into_iter().map(at).collect()
}

/// The shards that an index names, sorted.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    Ok(weight_map(index)?.into_iter().map(|(_, shard)| shard).collect())
}

/// (tensor, shard) pairs of an index.
pub(crate) fn weight_map(index: &Path) -> Result<Vec<(String, String)>> {
    let read = || {
        let object = read_object(index)?;
        let map = Keys(&object).get("weight_map").and_then(|m| m.as_object());
        let map = map.ok_or_else(|| missing("weight_map"))?;
        let plain = |s: &str| !s.is_empty() && !s.contains(['/', '\\']) && is_shard(s);
        let entry = |(tensor, shard): (&String, &serde_json::Value)| match shard.as_str().filter(|s| plain(s)) {
            Some(shard) => Ok((tensor.clone(), shard.to_owned())),
            None => Err(Fault::data(format!("tensor `{tensor}` is said to be in {shard}"))
                .help("shards must be .safetensors files in the same folder")),
        };
        map.iter().map(entry).collect::<Result<_>>()
    };
    read().map_err(|f: Fault| f.at(index.display()))
}
