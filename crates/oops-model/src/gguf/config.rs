//! GGUF metadata to [`ModelConfig`]. Keys are `<architecture>.<name>`; counts may be one number or one per block.

mod table;

use std::collections::{BTreeMap, BTreeSet};

use oops_core::{BlockDims, Fault, ModelDims, Result, bail_if};

use super::{container::Container, format::Format, metadata::Metadata, names::ROPE_FACTORS, rope};
use crate::{DType, Family, ModelConfig, hf::config::Parsed};

/// What an architecture name stands for.
pub(super) struct Architecture {
    pub(super) name: &'static str,
    family: Family,
    /// Whether converters store query and key rows for rotary embedding of adjacent pairs.
    pub(super) permuted: bool,
}

const ARCHITECTURES: [Architecture; 4] = [
    Architecture { name: "llama", family: Family::Llama, permuted: true },
    Architecture { name: "deci", family: Family::Llama, permuted: true },
    Architecture { name: "qwen2", family: Family::Qwen2, permuted: false },
    Architecture { name: "qwen3", family: Family::Qwen3, permuted: false },
];

/// The architecture of a file.
pub(super) fn architecture(m: &Metadata) -> Result<&'static Architecture> {
    let key = "general.architecture";
    let name = m.text(key)?.ok_or_else(|| Metadata::missing(key))?;
    ARCHITECTURES.iter().find(|a| a.name == name).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
        Fault::data(format!("architecture `{name}` cannot be read"))
            .at(format!("metadata `{key}`"))
            .help(format!("the architectures that are read are {} (Mistral is `llama`)", known.join(", ")))
    })
}

/// Reads the configuration.
pub(super) fn read(c: &Container, arch: &Architecture) -> Result<Parsed> {
    let keys = Keys { m: &c.metadata, arch: arch.name };
    let mut warnings = Vec::new();
    table::check(&c.metadata, arch.name, &mut warnings)?;
    keys.refuse_experts()?;
    let hidden = keys.unsigned("embedding_length")?;
    let blocks = blocks(&keys, c, hidden)?;
    let head_dim = blocks.first().map_or(0, |b| b.head_dim);
    let sliding_window = c.metadata.unsigned(&keys.key("attention.sliding_window"))?.filter(|&w| w > 0);
    let mistral = arch.family == Family::Llama && sliding_window.is_some();
    warnings.extend(sliding_window.map(|w| {
        format!(
            "the sliding window of {w} tokens (`{}`) is applied here; llama.cpp passes it over",
            keys.key("attention.sliding_window")
        )
    }));
    let token = |name: &str| token_id(&c.metadata, name);
    let mut eos: Vec<u32> = [token("eos")?, token("eot")?, token("eom")?].into_iter().flatten().collect();
    eos.extend(super::tokenizer::ends(&c.metadata)?);
    let mut seen = BTreeSet::new();
    eos.retain(|&id| seen.insert(id));
    let config = ModelConfig {
        family: if mistral { Family::Mistral } else { arch.family },
        dims: ModelDims {
            hidden,
            vocab: vocabulary(c, hidden)?,
            tied: !c.tensors.contains_key("output.weight"),
            gated: true,
            blocks,
        },
        norm_eps: norm_eps(&keys)?,
        rope: rope::read(&c.metadata, arch.name, head_dim, rope_factors(c)?.as_deref())?,
        max_position: keys.unsigned("context_length")?,
        sliding_window,
        bos: token("bos")?,
        eos,
        dtype: dtype(c),
    };
    Ok(Parsed { config, warnings })
}

/// Access to keys of an architecture.
struct Keys<'a> {
    m: &'a Metadata,
    arch: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn unsigned(&self, name: &str) -> Result<usize> {
        let key = self.key(name);
        let n = self.m.unsigned(&key)?.ok_or_else(|| Metadata::missing(&key))?;
        bail_if(n == 0, || Fault::data("0 is not allowed").at(format!("metadata `{key}`")))?;
        Ok(n)
    }

    fn refuse_experts(&self) -> Result<()> {
        let key = self.key("expert_count");
        let experts = self.m.unsigned(&key)?.unwrap_or(0);
        bail_if(experts > 0, || {
            Fault::data(format!("mixtures of experts are not supported (this one has {experts})"))
                .at(format!("metadata `{key}`"))
        })
    }
}

fn blocks(keys: &Keys<'_>, c: &Container, hidden: usize) -> Result<Vec<BlockDims>> {
    let n = keys.unsigned("block_count")?;
    // Most blocks have nine tensors or more, one at least four; the bound keeps the lists below in proportion to the file.
    bail_if(n > c.tensors.len() / 4, || {
        let what = format!("{n} blocks cannot be made of {} tensors", c.tensors.len());
        Fault::data(what).at(format!("metadata `{}`", keys.key("block_count")))
    })?;
    let list = |name: &str| keys.m.per_block(&keys.key(name), n);
    let missing = |name: &str| Metadata::missing(&keys.key(name));
    let query = list("attention.head_count")?.ok_or_else(|| missing("attention.head_count"))?;
    let kv = list("attention.head_count_kv")?.unwrap_or_else(|| query.clone());
    let ffn = list("feed_forward_length")?.ok_or_else(|| missing("feed_forward_length"))?;
    let head_dim = head_dim(keys, hidden, query.first().copied().unwrap_or(0))?;
    let dims = |l: usize| BlockDims { query_heads: query[l], kv_heads: kv[l], head_dim, ffn: ffn[l] };
    (0..n).map(|l| block(dims(l), l, keys.arch == "deci")).collect()
}

/// Checks the widths of block `l`. `partial`: blocks without attention or FFN exist. (The one that has attention and no FFN
/// does not: its runtime drops the attention output.)
fn block(b: BlockDims, l: usize, partial: bool) -> Result<BlockDims> {
    let place = |f: Fault| f.at(format!("block {l}"));
    let none = b.query_heads == 0 && b.kv_heads == 0;
    bail_if(if partial { !none && (b.kv_heads == 0 || b.ffn == 0) } else { b.kv_heads == 0 || b.ffn == 0 }, || {
        place(Fault::data("the block has no attention or no FFN")).help(
            "every block must have query heads, key/value heads and FFN channels (`deci` may go without attention)",
        )
    })?;
    bail_if(!none && (b.query_heads == 0 || !b.query_heads.is_multiple_of(b.kv_heads)), || {
        place(Fault::data(format!("{} query heads cannot share {} key/value heads", b.query_heads, b.kv_heads)))
    })?;
    Ok(b)
}

fn head_dim(keys: &Keys<'_>, hidden: usize, query_heads: usize) -> Result<usize> {
    let listed = keys.m.unsigned(&keys.key("attention.key_length"))?;
    let value = keys.m.unsigned(&keys.key("attention.value_length"))?;
    let d = listed.or(hidden.checked_div(query_heads)).unwrap_or(0);
    bail_if(value.is_some_and(|v| v != d), || {
        let what = format!("keys of {d} channels per head and values of {} are not supported", value.unwrap_or(0));
        Fault::data(what).at(format!("metadata `{}`", keys.key("attention.value_length")))
    })?;
    bail_if(d == 0 || !d.is_multiple_of(2), || {
        let what = format!("{d} channels per head; an even number is needed");
        Fault::data(what).at(format!("metadata `{}`", keys.key("attention.key_length")))
    })?;
    Ok(d)
}

/// Rows of the embedding; the metadata's own count may lack padding.
fn vocabulary(c: &Container, hidden: usize) -> Result<usize> {
    let name = "token_embd.weight";
    match c.tensors.get(name).map(|t| t.shape.as_slice()) {
        Some(&[rows, width]) if width == hidden => Ok(rows),
        Some(shape) => {
            Err(Fault::data(format!("shape {shape:?}; [vocabulary, {hidden}] is needed"))
                .at(format!("tensor `{name}`")))
        }
        None => Err(Fault::data("the tensor is missing").at(format!("tensor `{name}`"))),
    }
}

fn norm_eps(keys: &Keys<'_>) -> Result<f64> {
    let key = keys.key("attention.layer_norm_rms_epsilon");
    let stored = keys.m.float(&key)?.ok_or_else(|| Metadata::missing(&key))?;
    // The file holds binary32: its shortest decimal is the number that was meant (1e-5, not 9.99999974e-6).
    (stored as f32)
        .to_string()
        .parse()
        .ok()
        .filter(|e| *e > 0.0)
        .ok_or_else(|| Fault::data(format!("ε = {stored} is not positive")).at(format!("metadata `{key}`")))
}

fn rope_factors(c: &Container) -> Result<Option<Vec<f32>>> {
    c.tensors.get(ROPE_FACTORS).map(|t| c.values(t)).transpose()
}

fn token_id(m: &Metadata, name: &str) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    let id = m.unsigned(&key)?.map(u32::try_from).transpose();
    id.map_err(|_| Fault::data("the id does not fit into 32 bits").at(format!("metadata `{key}`")))
}

/// The format of most values.
fn dtype(c: &Container) -> DType {
    let mut values = BTreeMap::<Format, usize>::new();
    for t in c.tensors.values() {
        *values.entry(t.format).or_default() += t.shape.iter().product::<usize>();
    }
    match values.into_iter().max_by_key(|v| v.1).map(|v| v.0) {
        None | Some(Format::F32) => DType::F32,
        Some(Format::F16) => DType::F16,
        Some(Format::BF16) => DType::BF16,
        Some(other) => DType::Quantized(other.name().to_owned()),
    }
}
