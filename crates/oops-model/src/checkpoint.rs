//! A checkpoint on disk, opened without reading its weights.

mod open;
mod vocabulary;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use oops_core::{BlockDims, Fault, Result, bail_if};
use rayon::prelude::*;

use crate::{
    Block, Linear, ModelConfig, Tokenizer,
    block::{LINEARS, NORMS, linear_shapes},
    gguf,
    hf::files,
    lift::Lift,
    open_device,
    source::TensorSource,
    special::{self, Special},
};

/// A checkpoint; a block exists in memory only while the caller holds it.
pub struct Checkpoint {
    config: ModelConfig,
    warnings: Vec<String>,
    tensors: Box<dyn TensorSource>,
    tokenizer_json: Option<String>,
    chat_template: Option<String>,
    special: Special,
    /// Whether one GGUF file is all there is.
    gguf: bool,
    device: Device,
}

impl Checkpoint {
    /// The files that make up the checkpoint at `path`, as (name in the artifact, path).
    ///
    /// `path` is a Hugging Face folder, a `.gguf` file, or a folder that holds a single one.
    pub fn files(path: &Path) -> Result<Vec<(String, PathBuf)>> {
        files::list(path)
    }

    /// Opens a GGUF file as llama.cpp computes it, where that is otherwise than what was trained: text is not normalised,
    /// and the architectures that are read here have no sliding window.
    pub fn open_as_llama_cpp(path: &Path) -> Result<Self> {
        let mut opened = Self::open_path(path)?;
        opened.config.sliding_window = None;
        opened.tokenizer_json = opened.tokenizer_json.map(|json| gguf::not_normalised(&json)).transpose()?;
        Ok(opened)
    }

    /// The same checkpoint, whose tensors are loaded to a device; without this they lie in host memory.
    pub fn on(self, device: oops_core::Device) -> Result<Self> {
        Ok(Self { device: open_device(device)?, ..self })
    }

    /// A tensor where the checkpoint's own are loaded to; no copy where it lies there.
    pub fn beside(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_device(&self.device).lift()
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What the user should know of the files: keys that are read otherwise than one may think, or not at all; tensors
    /// that do not count.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Block `l`, f32; shapes are checked and every weight is finite.
    pub fn block(&self, l: usize) -> Result<Block> {
        let count = self.config.dims.blocks.len();
        let dims = *self.config.dims.blocks.get(l).ok_or_else(|| Fault::internal(format!("block {l} of {count}")))?;
        let [q, k, v, o, gate, up, down] = self.linears(l, &dims)?;
        let norm = |i: usize, width: usize| self.load(&format!("model.layers.{l}.{}.weight", NORMS[i]), &[width]);
        let qk_norm = self.config.family.descriptor().qk_norm;
        let head_norm = |i: usize| qk_norm.then(|| norm(i, dims.head_dim)).transpose();
        let (q_norm, k_norm) = (head_norm(2)?, head_norm(3)?);
        // A part of no width does nothing, whatever its norm; some formats store none.
        let part_norm = |i: usize, width: usize| {
            if width > 0 || self.has(&format!("model.layers.{l}.{}.weight", NORMS[i])) {
                return norm(i, self.config.dims.hidden);
            }
            Tensor::ones(self.config.dims.hidden, candle_core::DType::F32, &self.device).lift()
        };
        let (input_norm, ffn_norm) = (part_norm(0, dims.query_heads)?, part_norm(1, dims.ffn)?);
        Ok(Block { dims, input_norm, q, k, v, o, q_norm, k_norm, ffn_norm, gate, up, down })
    }

    fn linears(&self, l: usize, dims: &BlockDims) -> Result<[Linear; 7]> {
        let shapes = linear_shapes(dims, self.config.dims.hidden);
        // Opening has checked that those are there that must be.
        let layer = |(part, shape): (&str, [usize; 2])| {
            let name = |kind: &str| format!("model.layers.{l}.{part}.{kind}");
            let weight = self.load(&name("weight"), &shape)?;
            let bias = self.has(&name("bias")).then(|| self.load(&name("bias"), &shape[..1])).transpose()?;
            Ok(Linear { weight, bias })
        };
        let layers = LINEARS.into_iter().zip(shapes).map(layer).collect::<Result<Vec<_>>>()?;
        layers.try_into().map_err(|_| Fault::internal("a block has seven linear layers"))
    }

    /// The embedding, `[vocab, hidden]`.
    pub fn embedding(&self) -> Result<Tensor> {
        self.load("model.embed_tokens.weight", &[self.config.dims.vocab, self.config.dims.hidden])
    }

    /// The weight of the last RMSNorm, `[hidden]`.
    pub fn final_norm(&self) -> Result<Tensor> {
        self.load("model.norm.weight", &[self.config.dims.hidden])
    }

    /// The head, `[vocab, hidden]`; the embedding when tied.
    pub fn head(&self) -> Result<Tensor> {
        if self.config.dims.tied {
            return self.embedding();
        }
        self.load("lm_head.weight", &[self.config.dims.vocab, self.config.dims.hidden])
    }

    /// Whether there is a tokenizer, sound or not.
    pub fn has_tokenizer(&self) -> bool {
        self.tokenizer_json.is_some()
    }

    /// The tokenizer, which may have tokens beyond the embedding: a text that has one is refused when it is encoded.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let tokenizer = Tokenizer::from_json(self.tokenizer_json()?, self.config.bos)?.adding(&self.special)?;
        Ok(tokenizer.with_rows(self.config.dims.vocab))
    }

    /// The text of the tokenizer.json, as it is stored.
    pub(crate) fn tokenizer_json(&self) -> Result<&str> {
        self.tokenizer_json.as_deref().ok_or_else(|| {
            Fault::data("the checkpoint has no tokenizer.json").help("`save_pretrained` of a fast tokenizer writes one")
        })
    }

    /// Whether the checkpoint is a GGUF file, which has no files beside it.
    pub(crate) fn is_gguf(&self) -> bool {
        self.gguf
    }

    /// Spellings of the special tokens; of a model whose files do not say, those of its configuration's ids.
    pub(crate) fn special(&self) -> Result<Cow<'_, Special>> {
        if self.special.stated || self.tokenizer_json.is_none() {
            return Ok(Cow::Borrowed(&self.special));
        }
        let tokenizer = self.tokenizer()?;
        Ok(Cow::Owned(Special::of_ids(&self.config, self.special.adds, &|id| tokenizer.token(id))))
    }

    /// The text of a file that transformers looks for beside the weights, made from what is known: of
    /// tokenizer_config.json, generation_config.json and chat_template.jinja; `None` where there is nothing to say.
    pub fn companion(&self, name: &str) -> Result<Option<String>> {
        let pretty = |value: serde_json::Value| Some(format!("{value:#}\n"));
        Ok(match name {
            "tokenizer_config.json" if self.has_tokenizer() => {
                pretty(self.special()?.tokenizer_config(self.config.max_position))
            }
            "generation_config.json" => pretty(special::generation_config(&self.config)),
            "chat_template.jinja" => self.chat_template.clone(),
            _ => None,
        })
    }

    /// Jinja template that turns a chat into a prompt, if the checkpoint has one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Whether a tensor of this name (Hugging Face's) is stored.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.shape(name).is_some()
    }

    /// Values of the tensor `name` (Hugging Face's) of this shape, f32, finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.check_shape(name, shape)?;
        self.finite(name)
    }

    /// Names and shapes of the tensors of block `l` if its widths were `dims`: all weights, the norms of the family, the
    /// biases that are stored.
    pub fn block_tensors(&self, l: usize, dims: &BlockDims) -> Vec<(String, Vec<usize>)> {
        let hidden = self.config.dims.hidden;
        let name = |part: &str, kind: &str| format!("model.layers.{l}.{part}.{kind}");
        let linears = LINEARS.iter().zip(linear_shapes(dims, hidden)).flat_map(|(part, shape)| {
            let bias = (name(part, "bias"), vec![shape[0]]);
            [Some((name(part, "weight"), shape.to_vec())), Some(bias).filter(|b| self.has(&b.0))]
        });
        let qk_norm = self.config.family.descriptor().qk_norm;
        let norms = NORMS.iter().zip([hidden, hidden, dims.head_dim, dims.head_dim]);
        let norms = norms.take(if qk_norm { 4 } else { 2 }).map(|(part, width)| (name(part, "weight"), vec![width]));
        linears.flatten().chain(norms).collect()
    }

    /// Bytes that the weights take where they are stored.
    pub fn stored_bytes(&self) -> u64 {
        self.tensors.stored_bytes()
    }

    fn check_shape(&self, name: &str, shape: &[usize]) -> Result<()> {
        let stored = self.tensors.shape(name).ok_or_else(|| Fault::data(format!("tensor `{name}` is missing")))?;
        bail_if(stored != shape, || {
            let fault = Fault::data(format!("tensor `{name}` has shape {stored:?}; the configuration says {shape:?}"));
            self.place(fault, name)
        })
    }

    fn load(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if shape.contains(&0) && !self.has(name) {
            return Tensor::zeros(shape, candle_core::DType::F32, &self.device).lift();
        }
        Tensor::from_vec(self.tensor(name, shape)?, shape, &self.device).lift()
    }

    fn finite(&self, name: &str) -> Result<Vec<f32>> {
        let values = self.tensors.load_f32(name)?;
        if let Some(at) = values.par_iter().position_first(|v| !v.is_finite()) {
            let fault = Fault::data(format!("tensor `{name}` holds {} at position {at}", values[at]));
            let help = "every weight must be finite; the file is damaged or its training diverged";
            return Err(self.place(fault.help(help), name));
        }
        Ok(values)
    }

    fn place(&self, fault: Fault, tensor: &str) -> Fault {
        match self.tensors.file(tensor) {
            Some(file) => fault.at(file),
            None => fault,
        }
    }
}

#[cfg(test)]
mod tests;
