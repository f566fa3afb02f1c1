//! `tokenizer.ggml.model = gpt2`: byte-level BPE with its merges listed, best first, as `left right`.

use oops_core::{Fault, Result};
use serde_json::{Value, json};

use super::{Parts, Vocabulary, pre::Pre};
use crate::gguf::metadata::Metadata;

const MERGES: &str = "tokenizer.ggml.merges";

pub(super) fn parts(m: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Parts> {
    let pre = Pre::find(m.text("tokenizer.ggml.pre")?.unwrap_or("default"))?;
    let merges = m.strings(MERGES)?.ok_or_else(|| Metadata::missing(MERGES))?;
    let merges: Vec<Value> = merges.iter().enumerate().map(|(i, s)| merge(i, s, vocabulary)).collect::<Result<_>>()?;
    Ok(Parts {
        normalizer: pre.normalizer(),
        pre_tokenizer: pre.pre_tokenizer(),
        decoder: json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true }),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": pre.ignore_merges, "vocab": vocabulary.json(), "merges": merges,
        }),
        adds_bos: pre.adds_bos,
    })
}

/// `left right` as a pair; both and their concatenation must be tokens, or merging would make an id that does not exist.
fn merge(i: usize, text: &str, vocabulary: &Vocabulary<'_>) -> Result<Value> {
    let known = |t: &str| vocabulary.ids.contains_key(t);
    match text.split_once(' ') {
        Some((l, r)) if known(l) && known(r) && known(&format!("{l}{r}")) => Ok(json!([l, r])),
        _ => Err(Fault::data(format!("merge {i}, {text:?}, is not two tokens that make a third"))
            .at(format!("metadata `{MERGES}`"))
            .help("the vocabulary and the merges are not of one model: convert it again")),
    }
}
