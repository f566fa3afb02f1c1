//! What a path is before anybody looks at tensors: where other programs keep checkpoints, and what is none.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use oops_core::{Fault, Result, bail_if};

use super::json::{Keys, read_object, read_text};

/// Names in a folder, sorted; of files and folders alike.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| Fault::reading(folder, &e))?;
    let mut names: Vec<String> = entries.iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Whether a file begins as a GGUF file does.
pub(crate) fn has_gguf_magic(path: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(path).and_then(|mut f| f.read_exact(&mut magic)).is_ok() && magic == *b"GGUF"
}

/// The folder or file that `path` stands for: the current snapshot of a model in the Hugging Face cache, the weights
/// that a manifest of Ollama names, else `path` itself.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf> {
    if path.is_dir() {
        return if is_hub_model(path) { snapshot(path) } else { Ok(path.to_owned()) };
    }
    match ollama_blob(path) {
        Some(blob) => blob.map_err(|f| f.at(path.display())),
        None => Ok(path.to_owned()),
    }
}

/// Whether a folder is a model's in the Hugging Face cache.
fn is_hub_model(folder: &Path) -> bool {
    folder.join("snapshots").is_dir() && (folder.join("refs").is_dir() || folder.join("blobs").is_dir())
}

/// The snapshot that `refs/main` names, or the only one.
fn snapshot(folder: &Path) -> Result<PathBuf> {
    let all = names(&folder.join("snapshots"))?;
    let main = folder.join("refs/main");
    let named = if main.is_file() { Some(read_text(&main)?.trim().to_owned()) } else { None };
    let found = match (&named, all.as_slice()) {
        (Some(name), _) => all.iter().find(|a| *a == name),
        (None, [one]) => Some(one),
        (None, _) => None,
    };
    found.map(|name| folder.join("snapshots").join(name)).ok_or_else(|| {
        let what = match named {
            Some(name) => format!("the snapshot that `refs/main` names ({name}) is not there"),
            None => format!("{} snapshots and no `refs/main` that says which", all.len()),
        };
        Fault::data(format!("a model in the Hugging Face cache: {what}"))
            .at(folder.display())
            .help(format!("give a folder inside `snapshots` ({}), or download the model again", all.join(", ")))
    })
}

/// The file of weights that a manifest of Ollama names; `None` if the file is no such manifest.
fn ollama_blob(path: &Path) -> Option<Result<PathBuf>> {
    // A manifest is a few hundred bytes.
    if fs::metadata(path).ok()?.len() > 1 << 16 {
        return None;
    }
    let manifest = read_object(path).ok()?;
    let layers = Keys(&manifest).get("layers")?.as_array()?;
    let layer = |kind: &str| layers.iter().find(|l| l["mediaType"] == format!("application/vnd.ollama.image.{kind}"));
    let digest = layer("model")?["digest"].as_str()?.replace(':', "-");
    if layer("adapter").is_some() {
        return Some(Err(Fault::data("a model of Ollama with an adapter, which is not applied here")));
    }
    let root = path.ancestors().find(|a| a.file_name().is_some_and(|n| n == "manifests"))?.parent()?;
    let blob = root.join("blobs").join(&digest);
    let missing = || Fault::data(format!("a manifest of Ollama whose weights (`blobs/{digest}`) are not there"));
    Some(if blob.is_file() { Ok(blob) } else { Err(missing().help("fetch the model again: `ollama pull`")) })
}

/// Refuses an adapter: transformers would load another folder's weights beneath it.
pub(crate) fn refuse_adapter(folder: &Path) -> Result<()> {
    let path = folder.join("adapter_config.json");
    if !path.is_file() {
        return Ok(());
    }
    let config = read_object(&path)?;
    let base = config.get("base_model_name_or_path").and_then(|b| b.as_str()).unwrap_or("a base model");
    Err(Fault::data(format!("an adapter (`adapter_config.json`, over {base}) is no model of its own")).help(
        "merge it first: `AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().save_pretrained(other)`",
    ))
}

/// Why a folder in which no weights were found is no checkpoint, and what to give instead.
pub(crate) fn strange(folder: &Path) -> Result<Fault> {
    let names = names(folder)?;
    let any = |test: &dyn Fn(&str) -> bool| names.iter().find(|n| test(n)).map(String::as_str);
    let ends = |ends: &'static [&'static str]| any(&move |n| ends.iter().any(|e| n.ends_with(e)));
    if let Some(inside) = inside(folder, &names) {
        return Ok(inside);
    }
    let own = |what: &str| {
        Fault::data(format!("the weights are in {what} own format"))
            .help("give the folder in transformers' format (of Meta's repositories the one above `original`)")
    };
    let (what, help) = match () {
        () if names.iter().any(|n| n == "params.json") => {
            return Ok(own(if ends(&["consolidated.safetensors"]).is_some() { "Mistral's" } else { "Meta's" }));
        }
        () if ends(&[".bin", ".pth", ".pt", ".ckpt"]).is_some() => (
            format!("the weights are pickled (`{}`)", ends(&[".bin", ".pth", ".pt", ".ckpt"]).unwrap_or_default()),
            "pickles can run code and are not read; convert them: \
             `AutoModelForCausalLM.from_pretrained(folder).save_pretrained(other)` of transformers writes safetensors",
        ),
        () if ends(&[".h5", ".msgpack", ".ot", ".onnx", ".mlmodel"]).is_some() => (
            format!(
                "the weights are another framework's (`{}`)",
                ends(&[".h5", ".msgpack", ".ot", ".onnx", ".mlmodel"]).unwrap_or_default()
            ),
            "fetch the safetensors form of the model",
        ),
        () if ends(&[".safetensors"]).is_some() => (
            format!(
                "`{}` is there, but neither model.safetensors nor model.safetensors.index.json",
                ends(&[".safetensors"]).unwrap_or_default()
            ),
            "these are the names that transformers loads: fetch the index too, or rename the only file",
        ),
        () if names.iter().any(|n| n == "config.json") => (
            "neither model.safetensors nor model.safetensors.index.json is in the folder".to_owned(),
            "weights must be safetensors; `save_pretrained` of transformers writes them",
        ),
        () => (
            "neither config.json nor a .gguf file is in the folder".to_owned(),
            "give a Hugging Face folder, a .gguf file, or a folder with a single .gguf file",
        ),
    };
    Ok(Fault::data(what).help(help))
}

/// A folder whose checkpoints are further inside.
fn inside(folder: &Path, names: &[String]) -> Option<Fault> {
    let few = |found: Vec<String>| {
        let more = if found.len() > 5 { format!(" and {} more", found.len() - 5) } else { String::new() };
        format!("{}{more}", found.iter().take(5).cloned().collect::<Vec<_>>().join(", "))
    };
    let all = |test: &dyn Fn(&str) -> bool| names.iter().filter(|n| test(n)).cloned().collect::<Vec<_>>();
    let models = all(&|n| n.starts_with("models--"));
    if !models.is_empty() {
        let what = "the Hugging Face cache, which holds many models";
        return Some(Fault::data(what).help(format!("give one of its folders: {}", few(models))));
    }
    if folder.join("manifests").is_dir() && folder.join("blobs").is_dir() {
        return Some(
            Fault::data("the models of Ollama, of which there may be many")
                .help("give a model's manifest (a file like `manifests/registry.ollama.ai/library/llama3.2/latest`)"),
        );
    }
    let manifests = all(&|n| ollama_blob(&folder.join(n)).is_some());
    if !manifests.is_empty() {
        let what = "a model of Ollama in one or more sizes";
        return Some(Fault::data(what).help(format!("give one of the files: {}", few(manifests))));
    }
    let weights = |n: &str| {
        let file = |name: &str| folder.join(n).join(name).is_file();
        file("config.json") || file("model.safetensors")
    };
    let found = all(&weights);
    let own = names.iter().any(|n| n == "config.json");
    (!own && !found.is_empty()).then(|| {
        Fault::data("no checkpoint itself, but folders in it are").help(format!("give one of them: {}", few(found)))
    })
}

/// Refuses one file that is no checkpoint by what it is called.
pub(crate) fn strange_file(path: &Path) -> Fault {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let help = match extension.as_str() {
        "safetensors" | "json" => "give the folder that holds the file, with config.json and all shards",
        "bin" | "pth" | "pt" | "ckpt" => {
            "pickles are not read; convert the model: `save_pretrained` of transformers writes a folder with safetensors"
        }
        _ => "give a Hugging Face folder, a .gguf file, or a folder with a single .gguf file",
    };
    Fault::data("a file that is no GGUF file is no checkpoint").at(path.display()).help(help)
}

/// Refuses several GGUF files in one folder, the parts of one model with what makes one file of them.
pub(crate) fn several(files: &[String]) -> Fault {
    let whole = |name: &str| Some(name.rsplit_once("-of-")?.0.rsplit_once('-')?.0.to_owned());
    let first = files.first().map(String::as_str).unwrap_or_default();
    match whole(first) {
        Some(stem) if files.iter().all(|f| whole(f).as_ref() == Some(&stem)) => {
            Fault::data(format!("the model is split into {} .gguf files", files.len()))
                .help(format!("make one of them first: `llama-gguf-split --merge {first} {stem}.gguf`"))
        }
        _ => Fault::data(format!("the folder holds {} .gguf files", files.len()))
            .help(format!("name the file itself: {}", files.join(", "))),
    }
}

/// Refuses a file that Git LFS left in the place of a real one.
pub(crate) fn refuse_pointer(path: &Path) -> Result<()> {
    let mut first = [0; 24];
    let read = fs::File::open(path).and_then(|mut f| f.read_exact(&mut first));
    bail_if(read.is_ok() && first.starts_with(b"version https://git-lfs"), || {
        Fault::data("a Git LFS pointer is in the place of the file")
            .at(path.display())
            .help("fetch the real one with `git lfs pull`")
    })
}

#[cfg(test)]
mod tests;
