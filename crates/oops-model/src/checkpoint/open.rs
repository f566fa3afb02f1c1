//! Opening: what the files are, what the configuration says, and whether every tensor that will be asked for is there in
//! its shape. Headers only, so that hours of work do not end at the last block.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::Device;
use oops_core::{Fault, Result, bail_if};
use serde_json::Map;

use super::Checkpoint;
use crate::{
    block::NORMS,
    gguf,
    hf::{biases, biases::Biases, config::Parsed, contents, files, json, json::Keys, quantised, safetensors::Shards},
    source::TensorSource as _,
    special::Special,
};

type Files = BTreeMap<String, PathBuf>;

impl Checkpoint {
    /// Opens a checkpoint from its files: name in the artifact → path on disk.
    pub fn open(files: &Files) -> Result<Self> {
        let opened = match files.iter().find(|(name, _)| files::is_gguf(Path::new(name))) {
            Some((_, path)) => Self::open_gguf(path)?,
            None => Self::open_folder(files)?,
        };
        opened.check_outer()?;
        opened.check_blocks()?;
        Ok(opened)
    }

    /// Opens the checkpoint at `path`.
    pub fn open_path(path: &Path) -> Result<Self> {
        Self::open(&Self::files(path)?.into_iter().collect())
    }

    fn open_gguf(path: &Path) -> Result<Self> {
        let model = gguf::open_gguf(path)?;
        let config = model.config;
        // The file has no key that speaks of biases: those that are stored count, as in llama.cpp.
        contents::check_biases(&config, &Biases::as_stored(config.family), &|name| model.tensors.shape(name))
            .map_err(|f| f.at(path.display()))?;
        Ok(Self {
            config,
            warnings: model.warnings,
            tensors: model.tensors,
            tokenizer_json: Some(model.tokenizer_json),
            chat_template: model.chat_template,
            special: model.special,
            gguf: true,
            device: Device::Cpu,
        })
    }

    fn open_folder(files: &Files) -> Result<Self> {
        let object = files.get("config.json").ok_or_else(|| Fault::data("the checkpoint has no config.json"))?;
        let object = json::read_object(object)?;
        let place = |f: Fault| f.at("config.json");
        // What the folder is comes before its tensors.
        let mut warnings: Vec<String> = quantised::check(Keys(&object)).map_err(place)?.into_iter().collect();
        let mut shards = shards(files, &mut warnings)?;
        contents::rename(&mut shards, &mut warnings)?;
        let generation = files.get("generation_config.json").map(|p| json::read_object(p)).transpose()?;
        let generation = generation.unwrap_or_else(Map::new);
        let parsed = crate::hf::config::read(&object, &generation, shards.dtype()).map_err(place)?;
        let Parsed { mut config, warnings: told } = parsed;
        let biases = biases::read(Keys(&object), config.family).map_err(place)?;
        contents::settle(&mut shards, &mut config, &biases, &mut warnings)?;
        contents::check_biases(&config, &biases, &|name| shards.shape(name))?;
        let tokenizer_json = files.get("tokenizer.json").map(|p| json::read_text(p)).transpose()?;
        let chat_template = files::chat_template(files)?;
        let special = Special::of_folder(files)?;
        let config = special.settle(config, tokenizer_json.as_deref());
        Ok(Self {
            config,
            warnings: told.into_iter().chain(warnings).collect(),
            tensors: Box::new(shards),
            tokenizer_json,
            chat_template,
            special,
            gguf: false,
            device: Device::Cpu,
        })
    }

    /// Checks names and shapes outside the blocks.
    fn check_outer(&self) -> Result<()> {
        let (vocab, hidden) = (self.config.dims.vocab, self.config.dims.hidden);
        self.check_shape("model.embed_tokens.weight", &[vocab, hidden])?;
        self.check_shape("model.norm.weight", &[hidden])?;
        if self.config.dims.tied {
            return Ok(());
        }
        bail_if(!self.has(contents::HEAD), || {
            Fault::data(format!("tensor `{}` is missing, and the configuration does not tie it to the embedding", contents::HEAD))
                .help("a base model without a head predicts no tokens: fetch the causal model, or set `tie_word_embeddings` if its head is the embedding")
        })?;
        self.check_shape(contents::HEAD, &[vocab, hidden])
    }

    /// Checks names and shapes of every block.
    fn check_blocks(&self) -> Result<()> {
        let family = self.config.family;
        for (l, dims) in self.config.dims.blocks.iter().enumerate() {
            let head_norm = NORMS[2..].iter().map(|n| format!("model.layers.{l}.{n}.weight")).find(|n| self.has(n));
            bail_if(!family.descriptor().qk_norm && head_norm.is_some(), || {
                let name = head_norm.unwrap_or_default();
                Fault::data(format!("tensor `{name}` is there, but {family:?} has no such norm"))
                    .help("check `model_type` (the architecture): Qwen3 has it")
            })?;
            for (name, shape) in self.block_tensors(l, dims) {
                // A part of no width needs no weights and no norm.
                let idle = shape.contains(&0)
                    || dims.query_heads == 0 && name.ends_with(&format!("{}.weight", NORMS[0]))
                    || dims.ffn == 0 && name.ends_with(&format!("{}.weight", NORMS[1]));
                if !idle || self.has(&name) {
                    self.check_shape(&name, &shape)?;
                }
            }
        }
        Ok(())
    }
}

/// The files of weights that count, opened and compared with the index.
fn shards(files: &Files, warnings: &mut Vec<String>) -> Result<Shards> {
    let index = files.get(files::INDEX);
    let single = files.contains_key(files::SINGLE);
    let counts = |name: &str| if single { name == files::SINGLE } else { files::is_shard(name) };
    let counted = files.iter().filter(|(name, _)| counts(name)).map(|(n, p)| (n.clone(), p.clone()));
    let counted: Vec<_> = counted.collect();
    bail_if(counted.is_empty(), || Fault::data("the checkpoint has no .safetensors file"))?;
    let shards = Shards::open(&counted)?;
    match index {
        Some(index) if single && files::is_stale(index) => warnings.push(format!(
            "`{}` is read, as in transformers; `{}` beside it is of other files, which are left alone: delete what is old",
            files::SINGLE,
            files::INDEX
        )),
        Some(index) => check_index(index, &shards)?,
        None => {}
    }
    Ok(shards)
}

/// Every tensor of the index must be in the shard that it names.
fn check_index(index: &Path, tensors: &Shards) -> Result<()> {
    for (tensor, shard) in files::weight_map(index)? {
        let found = tensors.file(&tensor);
        bail_if(found != Some(&shard) && !tensor.ends_with(".rotary_emb.inv_freq"), || {
            let found = found.map_or("is in no shard".to_owned(), |f| format!("is in `{f}`"));
            Fault::data(format!("tensor `{tensor}` {found}; the index says `{shard}`")).at(files::INDEX)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
