//! Text to token ids and back, without special tokens of its own accord.

mod spans;

use oops_core::{Fault, Result, bail_if};
use serde_json::{Value, json};
use tokenizers::PostProcessorWrapper;

use crate::special::Special;

pub use spans::Span;

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<u32>,
    /// Rows of the embedding: ids from here on are tokens that the model does not have.
    rows: usize,
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json`; `bos` comes from the model's configuration.
    pub fn from_json(json: &str, bos: Option<u32>) -> Result<Self> {
        let mut inner: tokenizers::Tokenizer = json.parse().map_err(unusable)?;
        // Files saved after training carry its truncation and padding; a text is a text.
        inner.with_truncation(None).map_err(unusable)?.with_padding(None);
        Ok(Self { inner, bos, rows: usize::MAX })
    }

    /// The same for an embedding of `rows` rows. A tokenizer may have more tokens (a padding token that a fine-tune added):
    /// only a text that has one of them is refused.
    #[must_use]
    pub(crate) fn with_rows(self, rows: usize) -> Self {
        Self { rows, ..self }
    }

    /// The same with what tokenizer_config.json says is added to a text, where it says so.
    pub(crate) fn adding(mut self, special: &Special) -> Result<Self> {
        if special.adds == [None, None] {
            return Ok(self);
        }
        let token = |name: &str, adds: Option<bool>| {
            let text = special.text(name).filter(|_| adds == Some(true))?;
            Some((text.to_owned(), self.inner.token_to_id(text)?))
        };
        let ends = [token("bos_token", special.adds[0]), token("eos_token", special.adds[1])];
        let made = template(&ends).map(serde_json::from_value::<PostProcessorWrapper>).transpose();
        self.inner.with_post_processor(made.map_err(|e| Fault::internal(format!("our own post-processor: {e}")))?);
        Ok(self)
    }

    /// Token ids of `text`; no special token is added. A token that the embedding has no row for is a fault.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false);
        let encoding = encoding.map_err(|e| Fault::data(format!("the text cannot be tokenised: {e}")))?;
        self.known(encoding.get_ids().to_vec())
    }

    /// Token ids of `text` as the start of a sequence: with the special tokens that the tokenizer itself puts before it.
    /// Those that it puts after it would end the sequence, and are left out.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let encode = |special| {
            let encoding = self.inner.encode_fast(text, special);
            encoding.map_err(|e| Fault::data(format!("the prompt cannot be tokenised: {e}")))
        };
        let (bare, mut whole) = (encode(false)?, encode(true)?.get_ids().to_vec());
        let bare = bare.get_ids();
        if let Some(before) = (0..=whole.len().saturating_sub(bare.len())).find(|&n| whole[n..].starts_with(bare)) {
            // Without a text there is nothing to tell the two ends apart by: the first token begins it.
            whole.truncate(if bare.is_empty() { 1 } else { before + bare.len() });
        }
        self.known(whole)
    }

    fn known(&self, ids: Vec<u32>) -> Result<Vec<u32>> {
        let strange = ids.iter().find(|&&id| id as usize >= self.rows).copied();
        let strange = strange.map(|id| (id, self.token(id).unwrap_or_default()));
        bail_if(strange.is_some(), || {
            let (id, token) = strange.unwrap_or_default();
            Fault::data(format!(
                "the text has token {id} (`{token}`), but the model's embedding has {} rows",
                self.rows
            ))
            .help("take the token out of the text, or use the tokenizer that belongs to the model")
        })?;
        Ok(ids)
    }

    /// The token of an id as it is spelled in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Text of `ids`; special tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| Fault::data(format!("the tokens cannot be decoded: {e}")))
    }

    /// Number of tokens, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The text of a `tokenizer.json` for this tokenizer.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(false).map_err(|e| Fault::internal(format!("the tokenizer cannot be written: {e}")))
    }

    /// Beginning-of-sequence token of the model.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }
}

fn unusable(e: tokenizers::Error) -> Fault {
    Fault::data(format!("tokenizer.json cannot be used: {e}"))
}

/// A post-processor that puts the first token before each text and the second after it; `None` if there are none.
pub(crate) fn template(ends: &[Option<(String, u32)>; 2]) -> Option<Value> {
    let special = |end: &Option<(String, u32)>, kind: usize| {
        end.as_ref().map(|(token, _)| json!({ "SpecialToken": { "id": token, "type_id": kind } }))
    };
    let text = |name: &str, kind: usize| {
        let text = json!({ "Sequence": { "id": name, "type_id": kind } });
        [special(&ends[0], kind), Some(text), special(&ends[1], kind)].into_iter().flatten()
    };
    let tokens = ends.iter().flatten();
    let tokens = tokens.map(|(token, id)| (token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] })));
    ends.iter().any(Option::is_some).then(|| {
        json!({
            "type": "TemplateProcessing",
            "single": text("A", 0).collect::<Vec<_>>(),
            "pair": text("A", 0).chain(text("B", 1)).collect::<Vec<_>>(),
            "special_tokens": tokens.collect::<serde_json::Map<_, _>>(),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tokenizer(adds: [Option<bool>; 2]) -> Tokenizer {
        let added = |id: u32, text: &str| {
            json!({ "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true })
        };
        let document = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "added_tokens": [added(2, "<s>"), added(3, "</s>"), added(4, "<pad>")],
            "post_processor": template(&[Some(("<s>".to_owned(), 2)), None]), "decoder": null,
            "model": { "type": "BPE", "vocab": { "a": 0, "b": 1 }, "merges": [] },
        });
        let texts = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(n, t)| (n.to_owned(), t.to_owned()));
        let special = Special { texts: BTreeMap::from(texts), adds, stated: true };
        let made = Tokenizer::from_json(&document.to_string(), Some(2)).unwrap();
        made.adding(&special).unwrap().with_rows(4)
    }

    #[test]
    fn a_token_beyond_the_embedding_is_a_fault_only_where_it_occurs() {
        let tokenizer = tokenizer([None, None]);
        assert_eq!(tokenizer.encode("ab</s>").unwrap(), [0, 1, 3]);
        for fault in [tokenizer.encode("a<pad>"), tokenizer.prompt("<pad>")] {
            let words = fault.unwrap_err().to_string();
            assert!(words.contains("token 4 (`<pad>`)") && words.contains("4 rows"), "{words}");
        }
    }

    #[test]
    fn a_prompt_begins_as_the_configuration_says_and_never_ends() {
        let prompt = |adds| tokenizer(adds).prompt("ab").unwrap();
        assert_eq!(prompt([None, None]), [2, 0, 1]);
        assert_eq!(prompt([Some(false), None]), [0, 1]);
        assert_eq!(prompt([Some(true), Some(true)]), [2, 0, 1]);
        assert_eq!(tokenizer([Some(true), Some(true)]).prompt("").unwrap(), [2]);
        assert_eq!(tokenizer([Some(false), Some(true)]).prompt("b").unwrap(), [1]);
        let json: Value = serde_json::from_str(&tokenizer([Some(true), Some(true)]).to_json().unwrap()).unwrap();
        assert_eq!(json["post_processor"]["single"].as_array().unwrap().len(), 3);
    }
}
