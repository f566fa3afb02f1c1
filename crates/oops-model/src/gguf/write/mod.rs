//! A checkpoint as one GGUF file, as llama.cpp and everything around it reads them.
//!
//! Uniform models keep their own architecture. Models whose blocks differ become `deci`, the one architecture whose
//! loader takes every width per block; it turns adjacent pairs, so query and key rows are permuted for it whatever the
//! family. Two shapes that runtimes get wrong are never written: an FFN-free block that has attention (its attention
//! output is dropped in silence) gets a small FFN of zeros, and an attention-free first block (the head width is read
//! from it) gets one head of zeros. Both leave the function as it is.

mod container;
mod metadata;
mod tokenizer;

use std::path::Path;

use oops_core::{BlockDims, Fault, Result, bail_if};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{format::Format, names, permute::permute};
use crate::{Checkpoint, Family, block::LINEARS};
use container::{Row, Value};
use tokenizer::{Document, ENDS};

/// How weights are stored in a GGUF file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GgufFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    #[default]
    F16,
    /// bfloat16.
    Bf16,
    /// 8.5 bits per weight: 32 signed bytes and a scale.
    Q8_0,
    /// 4.5 bits per weight: 32 nibbles and a scale; embedding and head in Q8_0.
    Q4_0,
}

impl GgufFormat {
    fn stored(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::F16 => Format::F16,
            Self::Bf16 => Format::BF16,
            Self::Q8_0 => Format::Q8_0,
            Self::Q4_0 => Format::Q4_0,
        }
    }

    /// The field's name for it.
    pub fn name(self) -> &'static str {
        self.stored().name()
    }
}

/// What goes into a file besides weights.
#[derive(Clone, Debug, Default)]
pub struct GgufMeta {
    /// Name of the model.
    pub name: String,
    /// Jinja template of chats.
    pub chat_template: Option<String>,
}

/// The architecture under which a file is written, and the widths that it states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTarget {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Widths per block as written.
    pub blocks: Vec<BlockDims>,
    /// What llama.cpp does otherwise than the model with its tokenizer, in sentences.
    pub lost: Vec<String>,
    permuted: bool,
}

/// FFN channels of zeros that stand in for no FFN: one block of a quantised format.
const ZERO_FFN: usize = 32;

impl GgufTarget {
    /// Where a checkpoint can go; a fault that says why if nowhere.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let (config, dims) = (checkpoint.config(), &checkpoint.config().dims);
        let blocks = written(&dims.blocks);
        let uniform = blocks.windows(2).all(|w| w[0] == w[1]) && blocks.iter().all(|b| b.kv_heads > 0 && b.ffn > 0);
        let has = |part: &&str| (0..dims.blocks.len()).any(|l| checkpoint.has(&bias(l, part)));
        let extra = LINEARS[3..].iter().find(|p| has(p)).copied();
        let why =
            if uniform { extra.map(|p| format!("`{p}` has a bias")) } else { Some("its blocks differ".to_owned()) };
        let lost = gguf_losses(checkpoint)?;
        let own = |architecture: &'static str, permuted: bool| {
            metadata::check_rope(&config.rope, architecture)?;
            Ok(Self { architecture, blocks: blocks.clone(), lost: lost.clone(), permuted })
        };
        // The loader of `qwen2` takes the width of all heads from the hidden width.
        let fills = |b: &BlockDims| b.query_heads * b.head_dim == dims.hidden;
        match (config.family, why) {
            (Family::Llama | Family::Mistral, _) if uniform => own("llama", true),
            (Family::Qwen2, None) if blocks.iter().all(fills) => own("qwen2", false),
            (Family::Qwen3, None) => own("qwen3", false),
            (Family::Qwen3, Some(why)) => Err(Fault::data(format!("no GGUF architecture can hold this model: {why}"))
                .help("Qwen3 normalises heads, which only `qwen3` does, with one width for all blocks and no such bias; prune it with the same counts in every block (select.uniform) and without bias compensation")),
            _ => own("deci", true),
        }
    }
}

/// What llama.cpp does otherwise than a model with its tokenizer, whatever is cut from it: sentences for card and user. A
/// fault if no file can hold the tokenizer.
pub fn gguf_losses(checkpoint: &Checkpoint) -> Result<Vec<String>> {
    let config = checkpoint.config();
    let mut out = Vec::new();
    if let Some(window) = config.sliding_window.filter(|w| *w < config.max_position) {
        out.push(format!(
            "llama.cpp has no sliding window for {:?}: the file's context is the window, {window} of {} tokens, up to which it computes the same; do not run it with a longer one",
            config.family, config.max_position
        ));
    }
    if config.eos.len() > ENDS.len() {
        out.push(format!(
            "a GGUF file has {} tokens that end a text, the model {}: llama.cpp does not stop at {:?}, unless it knows their names",
            ENDS.len(),
            config.eos.len(),
            &config.eos[ENDS.len()..]
        ));
    }
    out.extend(Document::read(checkpoint.tokenizer_json()?)?.lost);
    Ok(out)
}

/// The widths that are written for these.
fn written(blocks: &[BlockDims]) -> Vec<BlockDims> {
    let one = |(l, b): (usize, &BlockDims)| {
        let heads = if l == 0 && b.kv_heads == 0 { (1, 1) } else { (b.query_heads, b.kv_heads) };
        let ffn = if b.ffn == 0 && heads.1 > 0 { ZERO_FFN } else { b.ffn };
        BlockDims { query_heads: heads.0, kv_heads: heads.1, ffn, ..*b }
    };
    blocks.iter().enumerate().map(one).collect()
}

fn bias(l: usize, part: &str) -> String {
    format!("model.layers.{l}.{part}.bias")
}

/// Where the values of a tensor come from.
enum Origin {
    /// The checkpoint's tensor of this name.
    Stored(String),
    /// Nowhere: it is all zeros (or, a norm that acts on nothing, all ones).
    Constant(f32),
    /// These.
    Values(Vec<f32>),
}

/// Writes `checkpoint` to `path`.
///
/// Norms and biases are f32; weights whose rows are not whole blocks of `format` are F16. Reads one tensor at a time.
pub fn write_gguf(path: &Path, checkpoint: &Checkpoint, format: GgufFormat, meta: &GgufMeta) -> Result<GgufTarget> {
    let target = GgufTarget::of(checkpoint)?;
    let mut pairs = metadata::pairs(checkpoint.config(), &target, format, meta);
    let config = checkpoint.config();
    let document = Document::read(&checkpoint.tokenizer()?.to_json()?)?;
    pairs.extend(tokenizer::pairs(&document, config.dims.vocab, config.bos, &config.eos));
    if let Some(template) = &meta.chat_template {
        pairs.push(("tokenizer.chat_template".to_owned(), Value::Text(template.clone())));
    }
    let (rows, origins): (Vec<Row>, Vec<Origin>) = layout(checkpoint, &target, format)?.into_iter().unzip();
    container::write(path, &pairs, &rows, &mut |i| {
        let (row, origin) = (&rows[i], &origins[i]);
        match origin {
            Origin::Values(values) => Ok(values.clone()),
            Origin::Constant(v) => Ok(vec![*v; row.shape.iter().product()]),
            Origin::Stored(name) => {
                let values = checkpoint.tensor(name, &row.shape)?;
                Ok(if target.permuted && super::turns(name) { turned(&values, row, &target) } else { values })
            }
        }
    })?;
    Ok(target)
}

fn turned(values: &[f32], row: &Row, target: &GgufTarget) -> Vec<f32> {
    let head_dim = target.blocks.first().map_or(0, |b| b.head_dim);
    permute(values, head_dim, if row.shape.len() == 1 { 1 } else { row.shape[1] })
}

/// Every tensor of the file in order.
fn layout(checkpoint: &Checkpoint, target: &GgufTarget, format: GgufFormat) -> Result<Vec<(Row, Origin)>> {
    let dims = &checkpoint.config().dims;
    let outer = if format == GgufFormat::Q4_0 { Format::Q8_0 } else { format.stored() };
    let stored = |name: &str, shape: Vec<usize>, format: Format| {
        let gguf = names::gguf(name).ok_or_else(|| Fault::internal(format!("`{name}` has no GGUF name")))?;
        Ok::<_, Fault>((row(gguf, shape, format), Origin::Stored(name.to_owned())))
    };
    let matrix = || vec![dims.vocab, dims.hidden];
    let mut out = vec![
        stored("model.embed_tokens.weight", matrix(), outer)?,
        stored("model.norm.weight", vec![dims.hidden], Format::F32)?,
    ];
    if !dims.tied {
        out.push(stored("lm_head.weight", matrix(), outer)?);
    }
    if let Some(factors) = metadata::rope_factors(&checkpoint.config().rope, target) {
        out.push((row(names::ROPE_FACTORS.to_owned(), vec![factors.len()], Format::F32), Origin::Values(factors)));
    }
    for (l, to) in target.blocks.iter().enumerate() {
        for (name, shape) in checkpoint.block_tensors(l, to) {
            let made = names::gguf(&name).ok_or_else(|| Fault::internal(format!("`{name}` has no GGUF name")))?;
            let origin = origin(checkpoint, l, to, &name);
            let Some(origin) = origin else { continue };
            out.push((row(made, shape, format.stored()), origin));
        }
    }
    bail_if(out.iter().any(|(r, _)| r.shape.contains(&0)), || Fault::internal("a tensor without values"))?;
    Ok(out)
}

/// Where a tensor of a block comes from; `None` for one of a part that the block does not have.
fn origin(checkpoint: &Checkpoint, l: usize, to: &BlockDims, name: &str) -> Option<Origin> {
    let from = checkpoint.config().dims.blocks[l];
    let attention = name.contains(".self_attn.") || name.contains(".input_layernorm.");
    let (had, has) = if attention { (from.kv_heads, to.kv_heads) } else { (from.ffn, to.ffn) };
    match (had, has) {
        (_, 0) => None,
        (0, _) if !name.contains("norm") => Some(Origin::Constant(0.0)),
        (0, _) if !checkpoint.has(name) => Some(Origin::Constant(1.0)),
        _ => Some(Origin::Stored(name.to_owned())),
    }
}

/// A row of the table in the format that the tensor can have.
fn row(name: String, shape: Vec<usize>, wanted: Format) -> Row {
    let format = match shape.as_slice() {
        [_, width] if width.is_multiple_of(wanted.block()) => wanted,
        [_, _] => Format::F16,
        _ => Format::F32,
    };
    Row { name, shape, format }
}

#[cfg(test)]
mod tests;
