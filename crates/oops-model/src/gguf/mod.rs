//! Models in GGUF files, read without any runtime of that format: [`container`] finds, [`dequant`] decodes, [`names`]
//! and [`permute`] translate to Hugging Face's conventions, [`config`] and [`tokenizer`] read the metadata.
//! Everything about a file is checked when it is opened; weights are decoded when they are asked for. [`write`] is the
//! way back.

mod config;
mod container;
mod cursor;
mod dequant;
mod encode;
mod format;
mod kquant;
mod lowbit;
mod metadata;
mod names;
mod permute;
mod rope;
mod table;
#[cfg(test)]
mod testing;
mod tokenizer;
mod write;

pub use write::{GgufFormat, GgufMeta, GgufTarget, gguf_losses, write_gguf};

use std::{collections::BTreeMap, path::Path, sync::Arc};

use container::{Container, TensorInfo};
use oops_core::{Fault, Result, bail_if};

use crate::{
    ModelConfig,
    bytes::{DiskFile, FileBytes},
    hf::config::Parsed,
    source::TensorSource,
    special::Special,
};

/// An opened GGUF file.
pub(crate) struct GgufModel {
    /// The configuration.
    pub(crate) config: ModelConfig,
    /// Keys that are read otherwise than the user may think, or not at all: plain sentences.
    pub(crate) warnings: Vec<String>,
    /// The weights, by Hugging Face name.
    pub(crate) tensors: Box<dyn TensorSource>,
    /// Text of the `tokenizer.json` that the metadata stand for.
    pub(crate) tokenizer_json: String,
    /// Special tokens, and which of them are added to a text.
    pub(crate) special: Special,
    /// Jinja template of chats.
    pub(crate) chat_template: Option<String>,
}

/// Opens a GGUF file: versions 2 and 3, one part, architectures llama, deci, qwen2 and qwen3.
pub(crate) fn open_gguf(path: &Path) -> Result<GgufModel> {
    let file = path.display().to_string();
    open_bytes(Arc::new(DiskFile::open(path)?), &file).map_err(|f| f.at(file))
}

fn open_bytes(bytes: Arc<dyn FileBytes>, file: &str) -> Result<GgufModel> {
    let container = Container::read(bytes)?;
    let architecture = config::architecture(&container.metadata)?;
    let Parsed { config, warnings } = config::read(&container, architecture)?;
    let (tokenizer_json, special) = tokenizer::tokenizer_json(&container.metadata)?;
    let head_dim = architecture.permuted.then(|| config.dims.blocks.first().map_or(0, |b| b.head_dim));
    let chat_template = container.metadata.text("tokenizer.chat_template")?.map(str::to_owned);
    let names = translate(&container, config.dims.blocks.len())?;
    let tensors = Box::new(Tensors { file: file.to_owned(), names, container, head_dim });
    Ok(GgufModel { config, warnings, tensors, tokenizer_json, special, chat_template })
}

/// The text of a `tokenizer.json` that was read from a GGUF file, without Unicode normalisation.
pub(crate) fn not_normalised(tokenizer_json: &str) -> Result<String> {
    let mut json: serde_json::Value =
        serde_json::from_str(tokenizer_json).map_err(|e| Fault::internal(format!("our own tokenizer.json: {e}")))?;
    // SentencePiece tokenizers treat spaces there.
    if !json["pre_tokenizer"].is_null() {
        json["normalizer"] = serde_json::Value::Null;
    }
    Ok(json.to_string())
}

/// Hugging Face name → GGUF name, of a model with so many blocks. What belongs nowhere is refused, as llama.cpp refuses it.
fn translate(c: &Container, blocks: usize) -> Result<BTreeMap<String, String>> {
    let one = |gguf: &String| {
        let place = |what: String| Fault::data(what).at(format!("tensor `{gguf}`"));
        let name =
            names::hugging_face(gguf).ok_or_else(|| place("no supported architecture has this tensor".into()))?;
        let block = names::block(gguf);
        bail_if(block.is_some_and(|l| l >= blocks), || {
            place(format!("the metadata say {blocks} blocks, and the file holds this tensor of another"))
        })?;
        Ok((name, gguf.clone()))
    };
    c.tensors.keys().filter(|n| *n != names::ROPE_FACTORS).map(one).collect()
}

/// The weights of a file.
struct Tensors {
    /// Named in errors.
    file: String,
    container: Container,
    names: BTreeMap<String, String>,
    /// Channels per head where query and key rows are stored permuted.
    head_dim: Option<usize>,
}

impl Tensors {
    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.container.tensors.get(self.names.get(name)?)
    }
}

/// Whether a tensor's rows are those of queries or keys.
fn turns(name: &str) -> bool {
    [".q_proj.", ".k_proj."].iter().any(|part| name.contains(part))
}

impl TensorSource for Tensors {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.info(name)?.shape.clone())
    }

    fn load_f32(&self, name: &str) -> Result<Vec<f32>> {
        let place = |f: Fault| f.at(format!("tensor `{name}`")).at(&self.file);
        let info = self.info(name).ok_or_else(|| place(Fault::data("the tensor is missing")))?;
        let values = self.container.values(info).map_err(place)?;
        let Some(d) = self.head_dim.filter(|_| turns(name)) else { return Ok(values) };
        let width = if info.shape.len() == 1 { 1 } else { info.shape[info.shape.len() - 1] };
        bail_if(!values.len().is_multiple_of(d * width), || {
            place(Fault::data(format!("shape {:?} is not whole heads of {d} rows", info.shape)))
        })?;
        Ok(permute::unpermute(&values, d, width))
    }

    fn stored_bytes(&self) -> u64 {
        self.container.tensors.values().map(|t| t.span.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests;
