//! `tokenizer.ggml.*` metadata to the text of a `tokenizer.json`, so that one tokenizer library serves both kinds of
//! checkpoint and an export can write the tokenizer back. `gpt2` is byte-level BPE, `llama` is SentencePiece BPE.

mod byte_level;
mod pre;
mod sentencepiece;

use std::collections::HashMap;

use oops_core::{Fault, Result, bail_if};
use serde_json::{Value, json};

use super::metadata::Metadata;
use crate::{special::Special, tokenizer::template};
pub(super) use pre::cutting;

const TOKENS: &str = "tokenizer.ggml.tokens";
const KINDS: &str = "tokenizer.ggml.token_type";

/// Token types of the specification.
pub(super) const NORMAL: usize = 1;
pub(super) const UNKNOWN: usize = 2;
pub(super) const CONTROL: usize = 3;
pub(super) const USER_DEFINED: usize = 4;
pub(super) const UNUSED: usize = 5;
pub(super) const BYTE: usize = 6;

/// The tokens in the order of their ids.
struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    kinds: Vec<usize>,
    ids: HashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    fn read(m: &'a Metadata) -> Result<Self> {
        let tokens = m.strings(TOKENS)?.ok_or_else(|| Metadata::missing(TOKENS))?;
        let kinds = m.unsigneds(KINDS)?.unwrap_or_else(|| vec![NORMAL; tokens.len()]);
        bail_if(kinds.len() != tokens.len(), || {
            let what = format!("{} token types for {} tokens", kinds.len(), tokens.len());
            Fault::data(what).at(format!("metadata `{KINDS}`"))
        })?;
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if let Some(first) = ids.insert(*token, id as u32) {
                let what = format!("token {token:?} occurs as id {first} and as id {id}");
                return Err(Fault::data(what).at(format!("metadata `{TOKENS}`")));
            }
        }
        Ok(Self { tokens, kinds, ids })
    }

    fn json(&self) -> Value {
        self.tokens.iter().enumerate().map(|(id, t)| ((*t).to_owned(), Value::from(id))).collect()
    }

    /// Tokens that text is searched for before anything else; the special ones are left out of decoded text.
    fn added(&self) -> Value {
        let one = |(id, &token): (usize, &&str)| {
            let kind = self.kinds[id];
            matches!(kind, UNKNOWN | CONTROL | USER_DEFINED).then(|| {
                json!({ "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                        "normalized": false, "special": kind != USER_DEFINED })
            })
        };
        self.tokens.iter().enumerate().filter_map(one).collect()
    }

    /// The token that a metadata key names by its id.
    fn token(&self, m: &Metadata, key: &str) -> Result<Option<(usize, &'a str)>> {
        let Some(id) = m.unsigned(key)? else { return Ok(None) };
        let token = self.tokens.get(id).ok_or_else(|| {
            let what = format!("id {id} is not below {}, the size of the vocabulary", self.tokens.len());
            Fault::data(what).at(format!("metadata `{key}`"))
        })?;
        Ok(Some((id, token)))
    }
}

/// What distinguishes the two kinds of tokenizer in a `tokenizer.json`.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
    /// Whether a BOS token is put in front unless the metadata say otherwise.
    adds_bos: bool,
}

/// The text of a complete `tokenizer.json`.
pub(super) fn tokenizer_json(m: &Metadata) -> Result<(String, Special)> {
    let kind = m.text("tokenizer.ggml.model")?.ok_or_else(|| Metadata::missing("tokenizer.ggml.model"))?;
    let build = match kind {
        "gpt2" => byte_level::parts,
        "llama" => sentencepiece::parts,
        other => {
            return Err(Fault::data(format!("tokenizers of model `{other}` cannot be read"))
                .at("metadata `tokenizer.ggml.model`")
                .help("the models that are read are `gpt2` (byte-level BPE) and `llama` (SentencePiece BPE)"));
        }
    };
    let vocabulary = Vocabulary::read(m)?;
    let parts = build(m, &vocabulary)?;
    let special = special(m, &vocabulary, parts.adds_bos)?;
    let end = |name: &str, adds: Option<bool>| {
        let text = special.text(name).filter(|_| adds == Some(true))?;
        Some((text.to_owned(), *vocabulary.ids.get(text)?))
    };
    let ends = [end("bos_token", special.adds[0]), end("eos_token", special.adds[1])];
    let document = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": vocabulary.added(),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": template(&ends),
        "decoder": parts.decoder,
        "model": parts.model,
    });
    Ok((document.to_string(), special))
}

/// The special tokens that the metadata name, and which of them are added to a text.
fn special(m: &Metadata, vocabulary: &Vocabulary<'_>, adds_bos: bool) -> Result<Special> {
    let mut out = Special { stated: true, ..Special::default() };
    for (name, key) in [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")]
    {
        let token = vocabulary.token(m, &format!("tokenizer.ggml.{key}_token_id"))?;
        out.texts.extend(token.map(|(_, text)| (name.to_owned(), text.to_owned())));
    }
    out.adds = [
        Some(m.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(adds_bos)),
        Some(m.boolean("tokenizer.ggml.add_eos_token")?.unwrap_or(false)),
    ];
    Ok(out)
}

/// Tokens whose spelling says that they end a text or a turn: GGUF has three ids for them, and runtimes know the others
/// by these names.
/// *Source.* llama.cpp, `llama_vocab::impl::load` (those of other architectures left out).
const ENDS: [&str; 9] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
];

/// Ids of the tokens that end a text by their name.
pub(super) fn ends(m: &Metadata) -> Result<Vec<u32>> {
    let tokens = m.strings(TOKENS)?.unwrap_or_default();
    Ok(tokens.iter().zip(0..).filter(|(token, _)| ENDS.contains(token)).map(|(_, id)| id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{
        container::Container,
        testing::{Gguf, bytes_of},
    };

    fn json_of(gguf: &Gguf) -> Result<String> {
        Ok(tokenizer_json(&Container::read(bytes_of(gguf.bytes()))?.metadata)?.0)
    }

    fn byte_level() -> Gguf {
        byte_level_as("smollm")
    }

    fn byte_level_as(pre: &str) -> Gguf {
        Gguf::new()
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", pre)
            .texts(TOKENS, &["<s>", "a", "b", "Ġ", "ab", "Ġab", "1", "<tool>"])
            .integers(KINDS, &[3, 1, 1, 1, 1, 1, 1, 4])
            .texts("tokenizer.ggml.merges", &["a b", "Ġ ab"])
            .unsigned("tokenizer.ggml.bos_token_id", 0)
    }

    fn encode(json: &str, text: &str, special: bool) -> Vec<u32> {
        let tokenizer: tokenizers::Tokenizer = json.parse().unwrap();
        tokenizer.encode(text, special).unwrap().get_ids().to_vec()
    }

    #[test]
    fn byte_level_merges_special_tokens_and_single_digits() {
        let json = json_of(&byte_level()).unwrap();
        assert_eq!(encode(&json, "ab ab11<s>ab<tool>", false), [4, 5, 6, 6, 0, 4, 7]);
        assert_eq!(encode(&json, "ab", true), [4]);
        let with_bos = json_of(&byte_level().boolean("tokenizer.ggml.add_bos_token", true)).unwrap();
        assert_eq!(encode(&with_bos, "ab", true), [0, 4]);
        assert_eq!(encode(&with_bos, "ab", false), [4]);
        let both =
            byte_level().boolean("tokenizer.ggml.add_bos_token", true).boolean("tokenizer.ggml.add_eos_token", true);
        let both = json_of(&both.unsigned("tokenizer.ggml.eos_token_id", 7)).unwrap();
        assert_eq!(encode(&both, "ab", true), [0, 4, 7]);
    }

    #[test]
    fn tokens_that_end_a_text_by_their_name_are_found() {
        let gguf = Gguf::new().texts(TOKENS, &["a", "<|im_end|>", "im_end", "</s>"]);
        assert_eq!(ends(&Container::read(bytes_of(gguf.bytes())).unwrap().metadata).unwrap(), [1, 3]);
    }

    #[test]
    fn sentencepiece_merges_follow_the_scores_and_unknown_characters_fall_back_to_bytes() {
        let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned()];
        tokens.extend((0..=255).map(|b| format!("<0x{b:02X}>")));
        tokens.extend(["▁", "a", "b", "ab", "▁a"].map(str::to_owned));
        let mut kinds = vec![2, 3];
        kinds.extend([6; 256]);
        kinds.extend([1; 5]);
        let mut scores = vec![0.0; 261];
        scores.extend([-1.0, -2.0]);
        let gguf = Gguf::new()
            .text("tokenizer.ggml.model", "llama")
            .texts(TOKENS, &tokens)
            .integers(KINDS, &kinds)
            .floats("tokenizer.ggml.scores", &scores)
            .unsigned("tokenizer.ggml.bos_token_id", 1)
            .unsigned("tokenizer.ggml.unknown_token_id", 0);
        let json = json_of(&gguf).unwrap();
        // "ab" (−1) is merged before "▁a" (−2); é is C3 A9.
        assert_eq!(encode(&json, "ab aé", true), [1, 258, 261, 262, 2 + 0xc3, 2 + 0xa9]);
        let tokenizer: tokenizers::Tokenizer = json.parse().unwrap();
        assert_eq!(tokenizer.decode(&[258, 261, 262, 2 + 0xc3, 2 + 0xa9], true).unwrap(), "ab aé");
    }

    #[test]
    fn refusals_name_what_is_wrong_and_what_is_known() {
        let refusal = |g: Gguf| json_of(&g).unwrap_err().to_string();
        let known = refusal(byte_level_as("superbpe"));
        assert!(known.contains("superbpe") && known.contains("smollm") && known.contains("llama-bpe"), "{known}");
        assert!(refusal(Gguf::new().text("tokenizer.ggml.model", "t5")).contains("`gpt2` (byte-level BPE)"));
        let g = || Gguf::new().text("tokenizer.ggml.model", "gpt2");
        assert!(refusal(g().texts(TOKENS, &["a", "a"])).contains("id 0 and as id 1"));
        let merges = g().texts(TOKENS, &["a", "b"]).texts("tokenizer.ggml.merges", &["a b"]);
        assert!(refusal(merges).contains("merge 0"));
    }
}
