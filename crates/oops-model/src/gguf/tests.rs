//! Whole files: a tiny hand-written model, the same model damaged in every byte, and (in `real`) a published one.

mod real;

use oops_core::{Class, Fault, Result};

use super::{
    GgufModel, open_bytes,
    permute::permute,
    testing::{Gguf, bytes_of, metadata, ramp, weights},
};
use crate::{DType, Family};

fn open(g: &Gguf) -> Result<GgufModel> {
    open_bytes(bytes_of(g.bytes()), "tiny.gguf")
}

fn refusal(g: &Gguf) -> Fault {
    open(g).map(drop).unwrap_err()
}

#[test]
fn a_tiny_model_opens_with_its_shape_names_and_tokenizer() {
    let m = open(&weights(metadata("llama"))).unwrap();
    assert_eq!((m.config.dims.hidden, m.config.dims.vocab, m.config.dims.tied), (4, 5, true));
    let b = m.config.dims.blocks[0];
    assert_eq!((b.query_heads, b.kv_heads, b.head_dim, b.ffn), (2, 1, 2, 3));
    assert_eq!((m.config.norm_eps, m.config.rope.theta, m.config.max_position), (1e-5, 1e4, 16));
    assert_eq!((m.config.bos, m.config.eos.as_slice(), &m.config.dtype), (Some(0), &[4][..], &DType::F32));
    assert_eq!(m.tensors.shape("model.layers.0.mlp.down_proj.weight"), Some(vec![4, 3]));
    assert_eq!(m.tensors.shape("lm_head.weight"), None);
    assert_eq!(m.tensors.load_f32("model.layers.0.mlp.up_proj.weight").unwrap(), ramp(12));
    assert_eq!(m.tensors.stored_bytes(), 4 * (20 + 4 + 4 + 16 + 8 + 8 + 16 + 4 + 12 + 12 + 12));
    assert!(
        m.tensors.load_f32("lm_head.weight").unwrap_err().to_string().contains("tiny.gguf, tensor `lm_head.weight`")
    );
    assert!(m.tokenizer_json.parse::<tokenizers::Tokenizer>().is_ok());
}

#[test]
fn queries_and_keys_are_unpermuted_for_llama_and_left_alone_for_qwen() {
    // Heads of 4 channels (of 2 the order is the same): hidden 4, two heads.
    let wide = |arch: &str| {
        let g = metadata(arch).unsigned(&format!("{arch}.attention.key_length"), 4);
        let (w, b) = (permute(&ramp(32), 4, 4), permute(&ramp(8), 4, 1));
        g.tensor("token_embd.weight", &[5, 4], &ramp(20))
            .tensor("blk.0.attn_q.weight", &[8, 4], &w)
            .tensor("blk.0.attn_q.bias", &[8], &b)
            .tensor("blk.0.attn_v.weight", &[4, 4], &ramp(16))
            .tensor("blk.0.attn_q_norm.weight", &[4], &ramp(4))
    };
    let filler = |mut g: Gguf| {
        for name in ["attn_norm", "ffn_norm", "ffn_up", "ffn_down"] {
            g = g.tensor(&format!("blk.0.{name}.weight"), &[4], &ramp(4));
        }
        open(&g).unwrap()
    };
    let (q, norm) = ("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_norm.weight");
    let llama = filler(wide("llama"));
    assert_eq!(llama.tensors.load_f32(&format!("{q}.weight")).unwrap(), ramp(32));
    assert_eq!(llama.tensors.load_f32(&format!("{q}.bias")).unwrap(), ramp(8));
    assert_eq!(llama.tensors.load_f32("model.layers.0.self_attn.v_proj.weight").unwrap(), ramp(16));
    let qwen = filler(wide("qwen3"));
    assert_eq!(qwen.config.family, Family::Qwen3);
    assert_eq!(qwen.tensors.load_f32(&format!("{q}.weight")).unwrap(), permute(&ramp(32), 4, 4));
    assert_eq!(qwen.tensors.load_f32(norm).unwrap(), ramp(4));
}

#[test]
fn families_and_windows_are_told_apart() {
    let family =
        |arch: &str, g: Gguf| open(&weights(g)).map(|m| (m.config.family, m.config.sliding_window, arch.len()));
    assert_eq!(family("llama", metadata("llama")).unwrap().0, Family::Llama);
    assert_eq!(family("qwen2", metadata("qwen2")).unwrap().0, Family::Qwen2);
    let window = metadata("llama").unsigned("llama.attention.sliding_window", 8);
    assert_eq!(family("llama", window).unwrap().0, Family::Mistral);
    let fault = refusal(&weights(metadata("gemma")));
    assert!(
        fault.to_string().contains("`gemma`") && fault.to_string().contains("llama, deci, qwen2, qwen3"),
        "{fault}"
    );
}

/// Counts may be one per block; a block without attention is refused.
#[test]
fn per_block_counts_are_read() {
    let base = || {
        Gguf::new()
            .text("general.architecture", "deci")
            .unsigned("deci.block_count", 1)
            .unsigned("deci.context_length", 16)
            .unsigned("deci.embedding_length", 4)
            .float("deci.attention.layer_norm_rms_epsilon", 1e-5)
            .text("tokenizer.ggml.model", "gpt2")
            .texts("tokenizer.ggml.tokens", &["a"])
            .texts::<&str>("tokenizer.ggml.merges", &[])
    };
    let lists = |q: i32, kv: &[i32]| {
        let g = base().integers("deci.feed_forward_length", &[3]).integers("deci.attention.head_count", &[q]);
        weights(g.integers("deci.attention.head_count_kv", kv).unsigned("deci.attention.key_length", 2))
    };
    assert_eq!(open(&lists(2, &[1])).unwrap().config.dims.blocks[0].kv_heads, 1);
    assert!(refusal(&lists(2, &[0])).to_string().contains("block 0"));
    assert!(refusal(&lists(2, &[1, 1])).to_string().contains("2 items, the model 1 blocks"));
    assert!(refusal(&lists(3, &[2])).what().contains("3 query heads cannot share 2"));
}

#[test]
fn tensors_of_other_models_and_huge_counts_are_refused() {
    let fault = refusal(&weights(metadata("llama")).tensor("blk.0.ffn_gate_exps.weight", &[1], &[0.0]));
    assert!(fault.to_string().contains("blk.0.ffn_gate_exps.weight"), "{fault}");
    let many = Gguf::new().text("general.architecture", "llama").unsigned("llama.embedding_length", 4);
    let fault = refusal(&weights(many.unsigned("llama.block_count", u32::MAX)));
    assert!(fault.what().contains("4294967295 blocks cannot be made of 11 tensors"), "{fault}");
    let fault = refusal(&weights(metadata("llama").unsigned("llama.expert_count", 8)));
    assert!(fault.what().contains("mixtures of experts"), "{fault}");
}

/// Reads everything that can be read.
fn exercise(bytes: Vec<u8>) -> Result<()> {
    let m = open_bytes(bytes_of(bytes), "tiny.gguf")?;
    crate::Tokenizer::from_json(&m.tokenizer_json, m.config.bos)?.encode("ab <s>")?;
    for l in 0..m.config.dims.blocks.len() {
        for name in ["self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"] {
            m.tensors.load_f32(&format!("model.layers.{l}.{name}.weight"))?;
        }
    }
    Ok(())
}

#[test]
fn every_truncation_is_a_clear_data_fault() {
    let whole = weights(metadata("llama")).bytes();
    assert!(exercise(whole.clone()).is_ok());
    for n in 0..whole.len() {
        let fault = exercise(whole[..n].to_vec()).unwrap_err();
        assert_eq!(fault.class(), Class::Data, "{n} bytes: {fault}");
    }
}

/// The tiny model with a SentencePiece tokenizer.
fn sentencepiece() -> Gguf {
    let key = |name: &str| format!("llama.{name}");
    let counts = ["block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length"];
    let g = counts.into_iter().zip([1, 4, 3, 2, 16]).fold(Gguf::new(), |g, (name, n)| g.unsigned(&key(name), n));
    g.text("general.architecture", "llama")
        .unsigned(&key("attention.head_count_kv"), 1)
        .float(&key("attention.layer_norm_rms_epsilon"), 1e-5)
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &["<s>", "▁", "a", "▁a", "<0x62>"])
        .integers("tokenizer.ggml.token_type", &[3, 1, 1, 1, 6])
        .floats("tokenizer.ggml.scores", &[0.0, -2.0, -3.0, -1.0, 0.0])
        .unsigned("tokenizer.ggml.bos_token_id", 0)
        .unsigned("tokenizer.ggml.unknown_token_id", 0)
}

/// Each byte inverted, and each with its lowest and highest bit flipped: an answer or a data fault, never a panic,
/// whatever lengths and counts come out.
#[test]
fn every_flipped_byte_is_survived() {
    for whole in [weights(metadata("llama")).bytes(), weights(sentencepiece()).bytes()] {
        assert!(exercise(whole.clone()).is_ok());
        let flips = (0..whole.len()).flat_map(|at| [0xff, 0x01, 0x80].map(|mask| (at, mask)));
        let refused = flips.filter(|&(at, mask)| {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            let fault = exercise(bytes).err();
            assert!(fault.iter().all(|f| f.class() == Class::Data), "byte {at} ^ {mask:02x}: {fault:?}");
            fault.is_some()
        });
        assert!(refused.count() > whole.len() / 2);
    }
}
