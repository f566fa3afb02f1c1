//! A small GGUF writer for tests.

use std::sync::Arc;

/// A file under construction; version 3, alignment 32.
#[derive(Clone, Default)]
pub(crate) struct Gguf {
    pairs: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

fn string(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat()
}

/// Wraps bytes as a file.
pub(crate) fn bytes_of(bytes: Vec<u8>) -> Arc<Vec<u8>> {
    Arc::new(bytes)
}

impl Gguf {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn pair(mut self, key: &str, tag: u32, value: &[u8]) -> Self {
        self.pairs.push([&string(key), &tag.to_le_bytes()[..], value].concat());
        self
    }

    fn array(self, key: &str, tag: u32, n: usize, items: &[u8]) -> Self {
        let value = [&tag.to_le_bytes()[..], &(n as u64).to_le_bytes(), items].concat();
        self.pair(key, 9, &value)
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.pair(key, 8, &string(value))
    }

    pub(crate) fn unsigned(self, key: &str, value: u32) -> Self {
        self.pair(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn float(self, key: &str, value: f32) -> Self {
        self.pair(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn boolean(self, key: &str, value: bool) -> Self {
        self.pair(key, 7, &[u8::from(value)])
    }

    pub(crate) fn texts<S: AsRef<str>>(self, key: &str, values: &[S]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|s| string(s.as_ref())).collect();
        self.array(key, 8, values.len(), &items)
    }

    pub(crate) fn integers(self, key: &str, values: &[i32]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.array(key, 5, values.len(), &items)
    }

    pub(crate) fn floats(self, key: &str, values: &[f32]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.array(key, 6, values.len(), &items)
    }

    /// An F32 tensor; shape slowest dimension first.
    pub(crate) fn tensor(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.raw(name, shape, 0, values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// A tensor of any type id.
    pub(crate) fn raw(mut self, name: &str, shape: &[usize], id: u32, bytes: Vec<u8>) -> Self {
        self.tensors.push((name.to_owned(), shape.to_vec(), id, bytes));
        self
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        out.extend(self.pairs.concat());
        let mut offset = 0_usize;
        for (name, shape, id, bytes) in &self.tensors {
            out.extend(string(name));
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&d| out.extend((d as u64).to_le_bytes()));
            out.extend(id.to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset += bytes.len().next_multiple_of(32);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        // No padding at the end, so that every truncation cuts a tensor.
        for (i, (_, _, _, bytes)) in self.tensors.iter().enumerate() {
            out.extend(bytes);
            if i + 1 < self.tensors.len() {
                out.resize(out.len().next_multiple_of(32), 0);
            }
        }
        out
    }
}

/// One block: hidden 4, two query heads and one key/value head of 2 channels, FFN 3, five tokens, tied.
pub(crate) fn metadata(arch: &str) -> Gguf {
    let key = |name: &str| format!("{arch}.{name}");
    Gguf::new()
        .text("general.architecture", arch)
        .unsigned(&key("block_count"), 1)
        .unsigned(&key("context_length"), 16)
        .unsigned(&key("embedding_length"), 4)
        .unsigned(&key("feed_forward_length"), 3)
        .unsigned(&key("attention.head_count"), 2)
        .unsigned(&key("attention.head_count_kv"), 1)
        .float(&key("attention.layer_norm_rms_epsilon"), 1e-5)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &["<s>", "a", "b", "ab", "</s>"])
        .integers("tokenizer.ggml.token_type", &[3, 1, 1, 1, 3])
        .texts("tokenizer.ggml.merges", &["a b"])
        .unsigned("tokenizer.ggml.bos_token_id", 0)
        .unsigned("tokenizer.ggml.eos_token_id", 4)
}

/// `n` distinct values.
pub(crate) fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32 + 0.5).collect()
}

/// Adds the weights that [`metadata`] promises.
pub(crate) fn weights(mut g: Gguf) -> Gguf {
    let shapes: [(&str, &[usize]); 11] = [
        ("token_embd.weight", &[5, 4]),
        ("output_norm.weight", &[4]),
        ("blk.0.attn_norm.weight", &[4]),
        ("blk.0.attn_q.weight", &[4, 4]),
        ("blk.0.attn_k.weight", &[2, 4]),
        ("blk.0.attn_v.weight", &[2, 4]),
        ("blk.0.attn_output.weight", &[4, 4]),
        ("blk.0.ffn_norm.weight", &[4]),
        ("blk.0.ffn_gate.weight", &[3, 4]),
        ("blk.0.ffn_up.weight", &[3, 4]),
        ("blk.0.ffn_down.weight", &[4, 3]),
    ];
    for (name, shape) in shapes {
        g = g.tensor(name, shape, &ramp(shape.iter().product()));
    }
    g
}
