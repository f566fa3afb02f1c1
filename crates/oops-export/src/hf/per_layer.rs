//! transformers' own words for blocks that differ.

use oops_core::BlockDims;
use oops_model::hf_widths;
use serde_json::{Map, Value, json};

/// `per_layer_config` (in transformers 5.24): block number to what differs from the widths of the whole; halves of no width
/// are skipped.
/// *Source.* huggingface/transformers, pull requests 45333 (the key) and 45332 (names of skipped halves).
pub(super) fn per_layer_config(whole: &Value, blocks: &[BlockDims]) -> Value {
    let one = |(l, b): (usize, &BlockDims)| {
        let mut own = hf_widths(b);
        own.retain(|name, n| *n != json!(0) && whole[name.as_str()] != *n);
        let halves = [("attention", b.kv_heads), ("mlp", b.ffn)];
        let skipped: Vec<&str> = halves.into_iter().filter(|(_, n)| *n == 0).map(|(half, _)| half).collect();
        if !skipped.is_empty() {
            own.insert("skip".to_owned(), json!(skipped));
        }
        (!own.is_empty()).then(|| (l.to_string(), Value::Object(own)))
    };
    blocks.iter().enumerate().filter_map(one).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_no_width_are_skipped_in_per_layer_config() {
        let whole = json!({"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 9});
        let block = |query_heads, kv_heads, ffn| BlockDims { query_heads, kv_heads, head_dim: 8, ffn };
        let own = per_layer_config(&whole, &[block(4, 2, 9), block(0, 0, 9), block(2, 2, 0)]);
        assert_eq!(own, json!({"1": {"skip": ["attention"]}, "2": {"num_attention_heads": 2, "skip": ["mlp"]}}));
    }
}
