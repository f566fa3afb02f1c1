//! GGUF tensor names to Hugging Face's, which the rest of the crate speaks.

/// Tensors outside the blocks: (GGUF, Hugging Face).
const OUTER: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Modules of a block: (GGUF, Hugging Face).
const MODULES: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Per-frequency factors of the rotary embedding; the configuration expresses them, no weight does.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The Hugging Face name of a GGUF tensor; `None` for one that no supported family has.
pub(super) fn hugging_face(gguf: &str) -> Option<String> {
    if let Some((_, name)) = OUTER.iter().find(|p| p.0 == gguf) {
        return Some((*name).to_owned());
    }
    let (block, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
    let block: u32 = block.parse().ok()?;
    let (module, kind) = rest.rsplit_once('.')?;
    let (_, module) = MODULES.iter().find(|p| p.0 == module)?;
    matches!(kind, "weight" | "bias").then(|| format!("model.layers.{block}.{module}.{kind}"))
}

/// The block that a GGUF tensor belongs to.
pub(super) fn block(gguf: &str) -> Option<usize> {
    gguf.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// The GGUF name of a tensor with a Hugging Face name.
pub(super) fn gguf(hugging_face: &str) -> Option<String> {
    if let Some((name, _)) = OUTER.iter().find(|p| p.1 == hugging_face) {
        return Some((*name).to_owned());
    }
    let (block, rest) = hugging_face.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let (module, _) = MODULES.iter().find(|p| p.1 == module)?;
    Some(format!("blk.{block}.{module}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_blocks_and_of_the_rest_are_translated() {
        let pairs = [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output.weight", "lm_head.weight"),
            ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"),
            ("blk.17.attn_q.bias", "model.layers.17.self_attn.q_proj.bias"),
            ("blk.3.attn_k_norm.weight", "model.layers.3.self_attn.k_norm.weight"),
            ("blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"),
        ];
        for (gguf, hf) in pairs {
            assert_eq!(hugging_face(gguf).as_deref(), Some(hf));
            assert_eq!(super::gguf(hf).as_deref(), Some(gguf));
        }
    }

    #[test]
    fn tensors_of_other_architectures_have_no_name() {
        for name in
            ["blk.0.ffn_gate_exps.weight", "blk.0.attn_qkv.weight", "blk.x.attn_q.weight", "position_embd.weight"]
        {
            assert_eq!(hugging_face(name), None, "{name}");
        }
    }
}
