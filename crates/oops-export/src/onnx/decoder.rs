//! The decoder as a graph. What both forms share is here: interface, projections, FFN, head; norms and attention are the
//! form's own ([`super::genai`], [`super::portable`]).
//!
//! Blocks keep their own widths. A half of no width is left out (its output bias, if it has one, stays); caches are
//! numbered over the blocks that have attention.

use std::collections::BTreeMap;

use oops_core::{BlockDims, Fault, Result, Site};
use oops_model::Checkpoint;

use super::{
    Form,
    draft::{Dim, Draft, Origin, Precision, int, value_info},
    genai, portable,
    proto::{FLOAT, INT64},
};

/// The key/value cache of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cache {
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

/// Names of a cache's input and output.
pub(super) fn cache_names(i: usize, part: &str) -> (String, String) {
    (format!("past_key_values.{i}.{part}"), format!("present.{i}.{part}"))
}

/// The caches of a model, in order.
pub(super) fn caches(blocks: &[BlockDims]) -> Vec<Cache> {
    let attends = blocks.iter().filter(|b| b.kv_heads > 0);
    attends.map(|b| Cache { kv_heads: b.kv_heads, head_dim: b.head_dim }).collect()
}

/// The residual stream, and what is to be added to it: a norm may do both in one.
pub(super) struct Stream {
    pub(super) residual: String,
    pub(super) pending: Option<String>,
}

impl Stream {
    /// Adds what is pending.
    pub(super) fn settle(&mut self, d: &mut Draft<'_>) {
        if let Some(branch) = self.pending.take() {
            self.residual = d.node(&format!("{branch}.sum"), "Add", &[&self.residual, &branch], vec![]);
        }
    }
}

/// One block while it is drawn.
pub(super) struct Part<'a> {
    pub(super) l: usize,
    pub(super) dims: BlockDims,
    shapes: &'a BTreeMap<String, Vec<usize>>,
}

impl Part<'_> {
    fn stored(&self, part: &str) -> String {
        format!("model.layers.{}.{part}", self.l)
    }

    /// The weight of a norm.
    pub(super) fn norm_weight(&self, d: &mut Draft<'_>, part: &str, width: usize) -> String {
        let name = self.stored(&format!("{part}.weight"));
        d.weight(&name, &[width], Origin::Stored(name.clone()))
    }

    /// The norm of every head, where the family has one.
    pub(super) fn head_norm(&self, d: &mut Draft<'_>, part: &str) -> Option<String> {
        let shape = self.shapes.get(&self.stored(&format!("{part}.weight")))?;
        Some(self.norm_weight(d, part, shape[0]))
    }

    /// x·Wᵀ + b.
    pub(super) fn linear(&self, d: &mut Draft<'_>, part: &str, x: &str) -> Result<String> {
        let stored = self.stored(&format!("{part}.weight"));
        let shape = self.shapes.get(&stored).ok_or_else(|| Fault::internal(format!("no shape of `{stored}`")))?;
        let w = d.weight(&format!("{stored}.transposed"), &[shape[1], shape[0]], Origin::Transposed(stored));
        let y = d.node(&self.stored(part), "MatMul", &[x, &w], vec![]);
        Ok(match self.bias(d, part) {
            Some(b) => d.node(&format!("{y}.biased"), "Add", &[&y, &b], vec![]),
            None => y,
        })
    }

    fn bias(&self, d: &mut Draft<'_>, part: &str) -> Option<String> {
        let name = self.stored(&format!("{part}.bias"));
        let shape = self.shapes.get(&name)?;
        Some(d.weight(&name, shape, Origin::Stored(name.clone())))
    }
}

/// Draws the whole decoder.
pub(super) fn draw(model: &Checkpoint, form: Form, precision: Precision) -> Result<Draft<'_>> {
    let mut d = Draft::new(model.config(), precision);
    let dims = &model.config().dims;
    interface(&mut d);
    let embedding = embedding(&mut d);
    let rows = d.node("model.embed_tokens", "Gather", &[&embedding, "input_ids"], vec![int("axis", 0)]);
    let mut stream = Stream { residual: rows, pending: None };
    let attends = !caches(&dims.blocks).is_empty();
    let shared = attends.then(|| match form {
        Form::Genai => Shared::Genai(genai::shared(&mut d)),
        Form::Portable => Shared::Portable(portable::shared(&mut d)),
    });
    let mut cache = 0;
    for (l, b) in dims.blocks.iter().enumerate() {
        let shapes: BTreeMap<_, _> = model.block_tensors(l, b).into_iter().filter(|(n, _)| model.has(n)).collect();
        let part = Part { l, dims: *b, shapes: &shapes };
        if let (true, Some(shared)) = (b.kv_heads > 0, &shared) {
            attention(&mut d, form, &part, shared, cache, &mut stream)?;
            cache += 1;
        } else {
            idle(&mut d, &part, Site::AttnOut, &mut stream);
        }
        match b.ffn {
            0 => idle(&mut d, &part, Site::MlpDown, &mut stream),
            _ => ffn(&mut d, form, &part, &mut stream)?,
        }
    }
    head(&mut d, form, &mut stream);
    Ok(d)
}

/// The embedding, `[vocab, hidden]`.
fn embedding(d: &mut Draft<'_>) -> String {
    let (table, dims) = ("model.embed_tokens.weight", &d.config.dims);
    d.weight(table, &[dims.vocab, dims.hidden], Origin::Stored(table.to_owned()))
}

/// What the attention of all blocks reads.
enum Shared {
    Genai(genai::Shared),
    Portable(portable::Shared),
}

/// Inputs and outputs, the same in both forms.
fn interface(d: &mut Draft<'_>) {
    let batch = || Dim::Free("batch_size");
    d.inputs.push(value_info("input_ids", INT64, &[batch(), Dim::Free("sequence_length")]));
    d.inputs.push(value_info("attention_mask", INT64, &[batch(), Dim::Free("total_sequence_length")]));
    let logits = [batch(), Dim::Free("sequence_length"), Dim::Fixed(d.config.dims.vocab)];
    d.outputs.push(value_info("logits", FLOAT, &logits));
    for (i, c) in caches(&d.config.dims.blocks).into_iter().enumerate() {
        let shape = |length| [batch(), Dim::Fixed(c.kv_heads), Dim::Free(length), Dim::Fixed(c.head_dim)];
        for part in ["key", "value"] {
            let (past, present) = cache_names(i, part);
            d.inputs.push(value_info(&past, d.precision.id(), &shape("past_sequence_length")));
            d.outputs.push(value_info(&present, d.precision.id(), &shape("total_sequence_length")));
        }
    }
}

/// RMSNorm of the stream.
fn norm(d: &mut Draft<'_>, form: Form, name: &str, weight: &str, stream: &mut Stream) -> String {
    match form {
        Form::Genai => genai::norm(d, name, weight, stream),
        Form::Portable => {
            stream.settle(d);
            portable::norm(d, name, &stream.residual, weight)
        }
    }
}

fn attention(
    d: &mut Draft<'_>,
    form: Form,
    part: &Part<'_>,
    shared: &Shared,
    cache: usize,
    stream: &mut Stream,
) -> Result<()> {
    let weight = part.norm_weight(d, "input_layernorm", d.config.dims.hidden);
    let x = norm(d, form, &part.stored("input_layernorm"), &weight, stream);
    let (q, k, v) = (
        part.linear(d, "self_attn.q_proj", &x)?,
        part.linear(d, "self_attn.k_proj", &x)?,
        part.linear(d, "self_attn.v_proj", &x)?,
    );
    let mixed = match shared {
        Shared::Genai(s) => genai::attention(d, part, s, cache, [&q, &k, &v]),
        Shared::Portable(s) => portable::attention(d, part, s, cache, [&q, &k, &v]),
    };
    stream.pending = Some(part.linear(d, "self_attn.o_proj", &mixed)?);
    Ok(())
}

/// down(silu(gate) ⊙ up).
fn ffn(d: &mut Draft<'_>, form: Form, part: &Part<'_>, stream: &mut Stream) -> Result<()> {
    let weight = part.norm_weight(d, "post_attention_layernorm", d.config.dims.hidden);
    let x = norm(d, form, &part.stored("post_attention_layernorm"), &weight, stream);
    let gate = part.linear(d, "mlp.gate_proj", &x)?;
    let up = part.linear(d, "mlp.up_proj", &x)?;
    let sigmoid = d.node(&format!("{gate}.sigmoid"), "Sigmoid", &[&gate], vec![]);
    let silu = d.node(&format!("{gate}.silu"), "Mul", &[&gate, &sigmoid], vec![]);
    let inner = d.node(&part.stored("mlp.inner"), "Mul", &[&silu, &up], vec![]);
    stream.pending = Some(part.linear(d, "mlp.down_proj", &inner)?);
    Ok(())
}

/// A half of no width: nothing but its output bias is left of it.
fn idle(d: &mut Draft<'_>, part: &Part<'_>, site: Site, stream: &mut Stream) {
    let projection = if site == Site::AttnOut { "self_attn.o_proj" } else { "mlp.down_proj" };
    if let Some(bias) = part.bias(d, projection) {
        stream.settle(d);
        stream.residual = d.node(&part.stored(projection), "Add", &[&stream.residual, &bias], vec![]);
    }
}

/// Final norm and head; logits are f32. A tied head reads the embedding as it lies there.
fn head(d: &mut Draft<'_>, form: Form, stream: &mut Stream) {
    let dims = &d.config.dims;
    let weight = d.weight("model.norm.weight", &[dims.hidden], Origin::Stored("model.norm.weight".to_owned()));
    let x = norm(d, form, "model.norm", &weight, stream);
    let logits = if dims.tied {
        let rows = d.list(&[-1, dims.hidden as i64]);
        let flat = d.node("lm_head.rows", "Reshape", &[&x, &rows], vec![]);
        let table = embedding(d);
        let flat = d.node("lm_head.flat", "Gemm", &[&flat, &table], vec![int("transB", 1)]);
        let (ids, vocab) = (d.node("input_ids.shape", "Shape", &["input_ids"], vec![]), d.list(&[dims.vocab as i64]));
        let shape = d.node("lm_head.shape", "Concat", &[&ids, &vocab], vec![int("axis", 0)]);
        d.node("lm_head", "Reshape", &[&flat, &shape], vec![])
    } else {
        let origin = Origin::Transposed("lm_head.weight".to_owned());
        let w = d.weight("lm_head.weight.transposed", &[dims.hidden, dims.vocab], origin);
        d.node("lm_head", "MatMul", &[&x, &w], vec![])
    };
    d.node("logits", "Cast", &[&logits], vec![int("to", FLOAT.into())]);
}
