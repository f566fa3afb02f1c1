//! What is in the files and what the configuration says of it, brought together by one rule for each disagreement:
//!
//! | the files have | the configuration says | rule |
//! |---|---|---|
//! | names without `model.` (a base model), or with another prefix | – | read under the usual names; another prefix is told |
//! | a bias | none | left out, told (as transformers) |
//! | no bias | one | refused (transformers would make one up) |
//! | a head of other values than the embedding | `tie_word_embeddings` | used, told (as transformers 5; transformers 4 ties) |
//! | a head equal to the embedding | `tie_word_embeddings` | tied (as transformers) |
//! | no head | not tied | refused (transformers would make one up) |
//! | more blocks | fewer | left out, told (as transformers) |
//! | tensors outside the blocks that no decoder of ours has | – | left out, told (as transformers) |
//! | such tensors inside a block, or of quantised weights, or of an adapter | – | refused: what is computed without them is another model |
//! | rotary frequencies and other buffers | – | left out: they follow from the configuration |

use std::collections::{BTreeMap, BTreeSet};

use oops_core::{Fault, Result, bail_if};

use super::{biases::Biases, quantised, safetensors::Shards};
use crate::{
    ModelConfig,
    block::{LINEARS, NORMS},
};

/// Tensors outside the blocks, under the usual names.
const EMBEDDING: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
pub(crate) const HEAD: &str = "lm_head.weight";
/// What comes before the names of the decoder in transformers' causal classes.
const USUAL: &str = "model.";

/// Buffers that follow from the configuration, by the ends of their names.
const BUFFERS: [&str; 5] =
    ["rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached", "self_attn.masked_bias", "position_ids"];

/// Scales of a key and value cache in 8 bits, which the weights do not need.
const CACHE_SCALES: [&str; 2] = [".k_scale", ".v_scale"];

/// Gives the decoder's tensors their usual names. A sentence is added where they had quite another one.
pub(crate) fn rename(shards: &mut Shards, warnings: &mut Vec<String>) -> Result<()> {
    quantised::check_names(shards.names())?;
    refuse_adapter(shards)?;
    let prefix = prefix(shards)?;
    if prefix == USUAL {
        return Ok(());
    }
    let outer = prefix.strip_suffix(USUAL).unwrap_or_default();
    let head = Some(format!("{outer}{HEAD}")).filter(|h| shards.names().any(|n| n == h)).unwrap_or(HEAD.to_owned());
    if !prefix.is_empty() {
        warnings.push(format!(
            "the decoder's tensors are named `{prefix}…` where transformers' class has `{USUAL}…`: they are read, and \
             transformers would not find them"
        ));
    }
    shards.rename(|name| {
        Some(match name.strip_prefix(prefix.as_str()) {
            _ if name == head => HEAD.to_owned(),
            _ if name == HEAD => format!("another {HEAD}"),
            Some(rest) => format!("{USUAL}{rest}"),
            None => name.to_owned(),
        })
    });
    Ok(())
}

fn refuse_adapter(shards: &Shards) -> Result<()> {
    let adapter =
        shards.names().find(|n| n.contains(".lora_A.") || n.contains(".lora_B.") || n.contains(".base_layer."));
    bail_if(adapter.is_some(), || {
        Fault::data(format!("the files hold an adapter that is not merged (tensor `{}`)", adapter.unwrap_or_default()))
            .help("merge it first: `merge_and_unload()` of peft, then `save_pretrained`")
    })
}

/// What comes before `embed_tokens` and `layers`.
fn prefix(shards: &Shards) -> Result<String> {
    let tail = EMBEDDING.trim_start_matches(USUAL);
    let before: BTreeSet<&str> = shards.names().filter_map(|n| n.strip_suffix(tail)).collect();
    let found: Vec<&&str> = before.iter().filter(|p| p.is_empty() || p.ends_with('.')).collect();
    match found.as_slice() {
        _ if before.contains(USUAL) => Ok(USUAL.to_owned()),
        [one] => Ok((**one).to_owned()),
        // Whoever asks for the embedding says that it is missing.
        [] => Ok(USUAL.to_owned()),
        many => Err(Fault::data(format!("the files hold several decoders, named {many:?}"))
            .help("save the text model alone: `save_pretrained` of its own class")),
    }
}

/// Leaves out what does not count, by the rules above; says what was left out.
pub(crate) fn settle(
    shards: &mut Shards,
    config: &mut ModelConfig,
    biases: &Biases,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut out = LeftOut::default();
    for name in shards.names() {
        out.judge(name, config, biases)?;
    }
    warnings.extend(out.told(config));
    let names = out.names;
    shards.rename(|name| (!names.contains(name)).then(|| name.to_owned()));
    shards.check_types()?;
    tie(shards, config, warnings)?;
    config.dtype = shards.dtype();
    Ok(())
}

/// A head of its own beside a configuration that ties.
fn tie(shards: &mut Shards, config: &mut ModelConfig, warnings: &mut Vec<String>) -> Result<()> {
    if !config.dims.tied || !shards.names().any(|n| n == HEAD) {
        return Ok(());
    }
    if shards.equal(HEAD, EMBEDDING)? {
        shards.rename(|name| (name != HEAD).then(|| name.to_owned()));
        return Ok(());
    }
    config.dims.tied = false;
    warnings.push(format!(
        "config.json ties the head to the embedding (`tie_word_embeddings`), and the files hold a `{HEAD}` of other values: \
         it is used, as in transformers 5 (transformers 4 ties); set `tie_word_embeddings` to what is meant"
    ));
    Ok(())
}

/// Tensors that do not count.
#[derive(Default)]
struct LeftOut {
    names: BTreeSet<String>,
    /// Biases that the configuration denies: layer → how many.
    biases: BTreeMap<&'static str, usize>,
    /// Blocks beyond the last, and their tensors.
    blocks: BTreeSet<usize>,
    of_blocks: usize,
    /// Names that mean nothing here.
    strange: Vec<String>,
}

impl LeftOut {
    fn judge(&mut self, name: &str, config: &ModelConfig, biases: &Biases) -> Result<()> {
        if [EMBEDDING, NORM, HEAD].contains(&name) {
            return Ok(());
        }
        if !BUFFERS.iter().any(|b| name.ends_with(b)) {
            let block = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
            match block.and_then(|(l, part)| Some((l.parse().ok()?, part))) {
                _ if CACHE_SCALES.iter().any(|s| name.ends_with(s)) => self.strange.push(name.to_owned()),
                Some((l, _)) if l >= config.dims.blocks.len() => {
                    self.blocks.insert(l);
                    self.of_blocks += 1;
                }
                Some((l, part)) => match belongs(name, part, l, biases)? {
                    None => return Ok(()),
                    Some(layer) => *self.biases.entry(layer).or_default() += 1,
                },
                None => self.strange.push(name.to_owned()),
            }
        }
        self.names.insert(name.to_owned());
        Ok(())
    }

    /// What the user should know of it.
    fn told(&self, config: &ModelConfig) -> Vec<String> {
        let mut told = Vec::new();
        if !self.biases.is_empty() {
            let layers: Vec<&str> = self.biases.keys().copied().collect();
            let count: usize = self.biases.values().sum();
            told.push(format!(
                "the files hold {count} biases (of {}) that config.json denies: they are left out, as in transformers; if they \
                 belong to the model, set `attention_bias` or `mlp_bias` in config.json",
                layers.join(", ")
            ));
        }
        if let (Some(first), Some(last)) = (self.blocks.first(), self.blocks.last()) {
            told.push(format!(
                "config.json says {} blocks, the files hold blocks {first} to {last} too: their {} tensors are left out, as in \
                 transformers; check `num_hidden_layers`",
                config.dims.blocks.len(),
                self.of_blocks
            ));
        }
        if let Some(first) = self.strange.first() {
            told.push(format!(
                "{} tensors belong to no part of the decoder (the first is `{first}`): they are left out, as in transformers",
                self.strange.len()
            ));
        }
        told
    }
}

/// Judges tensor `part` of block `l`: `None` where it is a weight that counts, the layer of a bias that does not.
fn belongs(name: &str, part: &str, l: usize, biases: &Biases) -> Result<Option<&'static str>> {
    if let Some(layer) = LINEARS.iter().find(|n| part.strip_prefix(**n) == Some(".bias")) {
        return Ok((!biases.counts(l, layer)).then_some(layer));
    }
    if LINEARS.iter().any(|n| part.strip_prefix(n) == Some(".weight")) {
        return Ok(None);
    }
    bail_if(!NORMS.iter().any(|n| part.strip_prefix(n) == Some(".weight")), || {
        Fault::data(format!("tensor `{name}` belongs to no supported decoder"))
            .help("supported are the tensors of llama, mistral, qwen2 and qwen3 under Hugging Face's names")
    })?;
    Ok(None)
}

/// Fails if a bias that the configuration promises is missing.
pub(crate) fn check_biases(
    config: &ModelConfig,
    biases: &Biases,
    shape: &dyn Fn(&str) -> Option<Vec<usize>>,
) -> Result<()> {
    for (l, dims) in config.dims.blocks.iter().enumerate() {
        let widths = crate::block::linear_shapes(dims, config.dims.hidden);
        for (part, width) in LINEARS.iter().zip(widths).filter(|(part, _)| biases.promises(l, part)) {
            let name = format!("model.layers.{l}.{part}.bias");
            bail_if(width[0] > 0 && shape(&name).is_none(), || {
                Fault::data(format!("tensor `{name}` is missing, and by the configuration this layer has a bias"))
                    .help("fetch the checkpoint again, or correct `attention_bias` or `mlp_bias` in config.json")
            })?;
        }
    }
    Ok(())
}
