//! Text to token ids and back, without special tokens of its own accord.

mod spans;

use oops_core::{Fault, Result};

pub use spans::Span;

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<u32>,
}

impl Tokenizer {
    /// Reads the text of a `tokenizer.json`; `bos` comes from the model's configuration.
    pub fn from_json(json: &str, bos: Option<u32>) -> Result<Self> {
        let unusable = |e| Fault::data(format!("tokenizer.json cannot be used: {e}"));
        let mut inner: tokenizers::Tokenizer = json.parse().map_err(unusable)?;
        // Files saved after training carry its truncation and padding; a text is a text.
        inner.with_truncation(None).map_err(unusable)?.with_padding(None);
        Ok(Self { inner, bos })
    }

    /// Token ids of `text`; no special token is added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false);
        let encoding = encoding.map_err(|e| Fault::data(format!("the text cannot be tokenised: {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of `text` as the start of a sequence: with the special tokens that the tokenizer itself adds.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, true);
        let encoding = encoding.map_err(|e| Fault::data(format!("the prompt cannot be tokenised: {e}")))?;
        Ok(encoding.get_ids().to_vec())
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

    /// The largest token id.
    pub(crate) fn largest_id(&self) -> Option<u32> {
        self.inner.get_vocab(true).into_values().max()
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
