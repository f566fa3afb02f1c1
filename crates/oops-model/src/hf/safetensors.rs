//! Weights in safetensors files, mapped into memory; headers are checked when the files are opened.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
    path::{Path, PathBuf},
};

use oops_core::{Fault, Result, bail_if};
use safetensors::{Dtype, SafeTensors};

use super::precision;
use crate::{
    DType,
    block::{LINEARS, NORMS},
    mapped::{FileBytes as _, Mapped},
    source::TensorSource,
};

/// The tensors of one or more files.
pub(crate) struct Shards {
    files: Vec<(String, Mapped)>,
    tensors: BTreeMap<String, Stored>,
}

struct Stored {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Shards {
    /// Opens `files`, given as (name in messages, path).
    pub(crate) fn open(files: &[(String, PathBuf)]) -> Result<Self> {
        let mut shards = Self { files: Vec::new(), tensors: BTreeMap::new() };
        files.iter().try_for_each(|(name, path)| shards.add(name, path).map_err(|f| f.at(name)))?;
        Ok(shards)
    }

    fn add(&mut self, name: &str, path: &Path) -> Result<()> {
        let map = Mapped::open(path)?;
        let broken =
            |e| Fault::data(format!("not a complete safetensors file: {e}")).help("download or copy the file again");
        let (header, metadata) = SafeTensors::read_metadata(map.as_ref()).map_err(broken)?;
        let start = 8 + header;
        for (tensor, info) in metadata.tensors().into_iter().collect::<BTreeMap<_, _>>() {
            if !is_weight(&tensor)? {
                continue;
            }
            bail_if(!precision::is_readable(info.dtype), || {
                Fault::data(format!("the weights are {:?}", info.dtype))
                    .help("weights must be F32, F16 or BF16")
                    .at(format!("tensor `{tensor}`"))
            })?;
            let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
            let stored = Stored { file: self.files.len(), dtype: info.dtype, shape: info.shape.clone(), bytes };
            match self.tensors.entry(tensor) {
                Entry::Vacant(e) => drop(e.insert(stored)),
                Entry::Occupied(e) => {
                    let other = &self.files.get(e.get().file).map_or(name, |f| &f.0);
                    return Err(Fault::data(format!("tensor `{}` is in `{other}` too", e.key())));
                }
            }
        }
        self.files.push((name.to_owned(), map));
        Ok(())
    }

    /// The precision of most values.
    pub(crate) fn dtype(&self) -> DType {
        let mut bytes = BTreeMap::<_, usize>::new();
        for t in self.tensors.values() {
            *bytes.entry(t.dtype).or_default() += t.bytes.len() / if t.dtype == Dtype::F32 { 4 } else { 2 };
        }
        match bytes.into_iter().max_by_key(|b| b.1).map(|b| b.0) {
            Some(Dtype::F16) => DType::F16,
            Some(Dtype::BF16) => DType::BF16,
            _ => DType::F32,
        }
    }
}

impl TensorSource for Shards {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.tensors.get(name)?.shape.clone())
    }

    fn load_f32(&self, name: &str) -> Result<Vec<f32>> {
        let stored = self.tensors.get(name).ok_or_else(|| Fault::data(format!("tensor `{name}` is missing")))?;
        let file = &self.files[stored.file].1;
        let values = precision::decode(&file.as_ref()[stored.bytes.clone()], stored.dtype);
        file.release(stored.bytes.clone());
        Ok(values)
    }

    fn file(&self, name: &str) -> Option<&str> {
        self.files.get(self.tensors.get(name)?.file).map(|f| f.0.as_str())
    }

    fn stored_bytes(&self) -> u64 {
        self.tensors.values().map(|t| t.bytes.len() as u64).sum()
    }
}

/// Whether a tensor is a weight of the decoders that we read; one that would change the model in a way that we do not
/// compute is a fault, buffers that follow from the configuration are skipped.
fn is_weight(name: &str) -> Result<bool> {
    if ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"].contains(&name) {
        return Ok(true);
    }
    let part = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')).map(|p| p.1);
    let linear = |part: &str| LINEARS.iter().any(|l| matches!(part.strip_prefix(l), Some(".weight" | ".bias")));
    let norm = |part: &str| NORMS.iter().any(|n| part.strip_prefix(n) == Some(".weight"));
    match part {
        Some(part) if linear(part) || norm(part) => Ok(true),
        _ if name.ends_with(".rotary_emb.inv_freq") => Ok(false),
        _ => Err(Fault::data(format!("tensor `{name}` belongs to no supported decoder"))
            .help("supported are the tensors of llama, mistral, qwen2 and qwen3 under Hugging Face's names")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_told_from_buffers_and_strangers() {
        assert!(is_weight("model.layers.3.self_attn.q_proj.bias").unwrap());
        assert!(is_weight("model.layers.31.post_attention_layernorm.weight").unwrap());
        assert!(!is_weight("model.layers.0.self_attn.rotary_emb.inv_freq").unwrap());
        assert!(is_weight("model.layers.0.mlp.experts.0.w1.weight").is_err());
        assert!(is_weight("model.layers.0.self_attn.q_proj.qweight").is_err());
    }
}
