//! Which files make up a checkpoint folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use oops_core::{Fault, Result, bail_if};

use super::{
    json::{Keys, missing, read_object},
    places, quantised,
};

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

/// Lists (name in the artifact, path) for the checkpoint at `path`: a folder, a GGUF file, or a folder that holds a
/// single one; or where the caches of Hugging Face and Ollama keep such.
pub(crate) fn list(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let metadata = fs::metadata(path).map_err(|e| Fault::reading(path, &e))?;
    let path = places::resolve(path)?;
    if metadata.is_file() {
        places::refuse_pointer(&path)?;
        bail_if(!is_gguf(&path) && !places::has_gguf_magic(&path), || places::strange_file(&path))?;
        return Ok(vec![(GGUF.to_owned(), path)]);
    }
    in_folder(&path).map_err(|f| f.at(path.display()))
}

fn in_folder(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    places::refuse_adapter(path)?;
    quantised::check_folder(path)?;
    let whole = [SINGLE, INDEX].iter().any(|name| path.join(name).is_file());
    if whole && path.join("config.json").is_file() {
        return folder(path);
    }
    match only_gguf(path)? {
        Some(one) => Ok(vec![(GGUF.to_owned(), one)]),
        None if whole => Err(Fault::data("config.json is not in the folder")
            .help("fetch the whole checkpoint: weights alone do not say what they are")),
        None => Err(places::strange(path)?),
    }
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

/// The only GGUF file of a folder.
fn only_gguf(folder: &Path) -> Result<Option<PathBuf>> {
    let mut found = places::names(folder)?;
    found.retain(|name| is_gguf(Path::new(name)));
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(folder.join(one))),
        several => Err(places::several(several)),
    }
}

/// Files of a folder with weights. As transformers, model.safetensors comes before an index; the index then travels only
/// to tell whether it is one of other files.
fn folder(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut names: Vec<String> = COMPANIONS.iter().map(|n| (*n).to_owned()).collect();
    names.extend([SINGLE.to_owned(), INDEX.to_owned()]);
    names.retain(|n| folder.join(n).is_file());
    if !folder.join(SINGLE).is_file() {
        names.extend(shards(&folder.join(INDEX))?);
    }
    let at = |n: String| {
        let path = folder.join(&n);
        bail_if(!path.is_file(), || Fault::data(format!("shard `{n}` is missing")).help("download it again"))?;
        places::refuse_pointer(&path)?;
        Ok((n, path))
    };
    names.into_iter().map(at).collect()
}

/// Whether an index is of other files than model.safetensors, which stands beside it and counts.
pub(crate) fn is_stale(index: &Path) -> bool {
    weight_map(index).is_ok_and(|map| map.iter().any(|(_, shard)| shard != SINGLE))
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
