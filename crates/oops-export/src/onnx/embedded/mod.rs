//! Our own interpreter of the graphs that we write, so that every export is computed and compared, whatever is installed.
//!
//! It reads the files, not the draft: weights at their offsets, constants, nodes. All calls (prompts, and steps with the
//! cache) walk the graph side by side, node by node, so that each weight is read once and one is in memory at a time. A
//! call's cache is what the node before it made for the call before: nodes that read a cache are those that make the next.

mod attention;
mod operators;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::Path,
};

use candle_core::{DType, Device, Tensor};
use oops_core::{Fault, Result};
use prost::Message as _;

use super::{
    inspect::{external, unsound},
    proto::{BOOL, FLOAT, FLOAT16, GraphProto, INT64, ModelProto, NodeProto, TensorProto, ValueInfoProto},
    weights::DATA,
};
use crate::proof::Proof;

/// A graph and its weights, opened.
pub(super) struct Interpreter {
    graph: GraphProto,
    data: File,
    /// Positions of constants and weights by name.
    stored: BTreeMap<String, usize>,
    /// The last node that reads a value.
    last_use: BTreeMap<String, usize>,
}

/// One run of the graph: some tokens behind those that the cache holds.
struct Call {
    values: BTreeMap<String, Tensor>,
    /// Whether the cache is that of the call before.
    continues: bool,
}

/// The type of a tensor, by the specification's number; 32-bit integers are computed as 64-bit ones.
fn dtype(id: i32) -> Option<DType> {
    match id {
        FLOAT => Some(DType::F32),
        FLOAT16 => Some(DType::F16),
        INT64 => Some(DType::I64),
        BOOL => Some(DType::U8),
        _ => None,
    }
}

impl Interpreter {
    /// Opens the graph `bytes` with the weights in `folder`.
    pub(super) fn open(bytes: &[u8], folder: &Path) -> Result<Self> {
        let model = ModelProto::decode(bytes).map_err(|e| unsound(format!("its messages do not parse: {e}")))?;
        let graph = model.graph.ok_or_else(|| unsound("it has no graph".to_owned()))?;
        let path = folder.join(DATA);
        let data = File::open(&path).map_err(|e| Fault::reading(&path, &e))?;
        let stored = graph.initializer.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        let reads = graph.node.iter().enumerate().flat_map(|(i, n)| n.input.iter().map(move |name| (name.clone(), i)));
        let mut last_use: BTreeMap<String, usize> = reads.collect();
        last_use.insert("logits".to_owned(), usize::MAX);
        Ok(Self { graph, data, stored, last_use })
    }

    /// Logits of a proof's sequences, `[Σ lengths, vocab]`: each prompt at once, then token by token.
    pub(super) fn run(&self, proof: &Proof, between: &dyn Fn() -> Result<()>) -> Result<Vec<f32>> {
        let mut calls = self.calls(proof).map_err(|e| failed("its inputs", &e))?;
        // What depends on weights alone is the same for all calls.
        let mut common = BTreeMap::new();
        for (i, node) in self.graph.node.iter().enumerate() {
            between()?;
            self.node(node, &mut common, &mut calls).map_err(|e| failed(&format!("node `{}`", node.name), &e))?;
            let read_later = |name: &String, _: &mut Tensor| self.last_use.get(name).is_some_and(|last| *last > i);
            common.retain(read_later);
            calls.iter_mut().for_each(|call| call.values.retain(read_later));
        }
        let logits = |call: &Call| match call.values.get("logits") {
            Some(tensor) => tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).map_err(|e| failed("`logits`", &e)),
            None => Err(unsound("it makes no logits".to_owned())),
        };
        Ok(calls.iter().map(logits).collect::<Result<Vec<_>>>()?.concat())
    }

    /// The inputs of every call.
    fn calls(&self, proof: &Proof) -> candle_core::Result<Vec<Call>> {
        let mut calls = Vec::new();
        for (sequence, ranges) in proof.calls() {
            for Range { start, end } in ranges {
                let ids: Vec<i64> = sequence[start..end].iter().map(|&t| i64::from(t)).collect();
                let mut values = BTreeMap::from([
                    ("input_ids".to_owned(), Tensor::from_vec(ids, (1, end - start), &Device::Cpu)?),
                    ("attention_mask".to_owned(), Tensor::ones((1, end), DType::I64, &Device::Cpu)?),
                ]);
                if start == 0 {
                    values.extend(self.empty_caches()?);
                }
                calls.push(Call { values, continues: start > 0 });
            }
        }
        Ok(calls)
    }

    /// Caches of no tokens: inputs whose length is not fixed are empty, batches of one.
    fn empty_caches(&self) -> candle_core::Result<Vec<(String, Tensor)>> {
        let caches = self.graph.input.iter().filter(|v| v.name.starts_with("past_key_values."));
        let one = |v: &ValueInfoProto| {
            let tensor = v.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
            let dims = tensor.and_then(|t| t.shape.as_ref()).map_or(&[][..], |s| &s.dim);
            let fixed = |i: usize| dims.get(i).and_then(|d| d.dim_value).unwrap_or(0) as usize;
            let kind = tensor.and_then(|t| dtype(t.elem_type?)).unwrap_or(DType::F32);
            Ok((v.name.clone(), Tensor::zeros((1, fixed(1), 0, fixed(3)), kind, &Device::Cpu)?))
        };
        caches.map(one).collect()
    }

    /// Computes one node for all calls.
    fn node(
        &self,
        node: &NodeProto,
        common: &mut BTreeMap<String, Tensor>,
        calls: &mut [Call],
    ) -> candle_core::Result<()> {
        let mut weights = BTreeMap::new();
        for name in &node.input {
            if let Some(i) = self.stored.get(name) {
                weights.insert(name.clone(), self.tensor(&self.graph.initializer[*i])?);
            }
        }
        let named = |outputs: Vec<Tensor>| {
            let named = node.output.iter().cloned().zip(outputs);
            named.filter(|(name, _)| !name.is_empty()).collect::<Vec<_>>()
        };
        let given = |name: &String| weights.get(name).or_else(|| common.get(name)).cloned();
        if !node.input.is_empty() && node.input.iter().all(|name| given(name).is_some()) {
            let inputs: Vec<Option<Tensor>> = node.input.iter().map(given).collect();
            let outputs = named(operators::compute(node, &inputs)?);
            common.extend(outputs);
            return Ok(());
        }
        for c in 0..calls.len() {
            let (before, call) = calls.split_at(c);
            let value = |name: &String| {
                let past = || {
                    let present = name.replacen("past_key_values.", "present.", 1);
                    before.last().filter(|_| call[0].continues)?.values.get(&present).cloned()
                };
                call[0].values.get(name).cloned().or_else(|| given(name)).or_else(past)
            };
            let missing = |name: &String| candle_core::Error::msg(format!("`{name}` is not there"));
            let inputs = node.input.iter().map(|name| {
                if name.is_empty() { Ok(None) } else { value(name).map(Some).ok_or_else(|| missing(name)) }
            });
            let inputs = inputs.collect::<candle_core::Result<Vec<_>>>()?;
            calls[c].values.extend(named(operators::compute(node, &inputs)?));
        }
        Ok(())
    }

    /// A constant, or a weight from its place in the data file.
    fn tensor(&self, t: &TensorProto) -> candle_core::Result<Tensor> {
        let kind = t.data_type.and_then(dtype).ok_or_else(|| candle_core::Error::msg("a type that is not written"))?;
        let shape: Vec<usize> = t.dims.iter().map(|d| *d as usize).collect();
        if let Some(raw) = &t.raw_data {
            return Tensor::from_raw_buffer(raw, kind, &shape, &Device::Cpu);
        }
        let (_, offset, length) = external(t).ok_or_else(|| candle_core::Error::msg("values that lie nowhere"))?;
        let mut bytes = vec![0; length as usize];
        let mut file = &self.data;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        Tensor::from_raw_buffer(&bytes, kind, &shape, &Device::Cpu)
    }
}

fn failed(what: &str, e: &candle_core::Error) -> Fault {
    unsound(format!("{what} cannot be computed: {e}"))
}
