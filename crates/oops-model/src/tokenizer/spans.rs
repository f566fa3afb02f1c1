//! Tokens with the places in the text that they come from.

use oops_core::{Fault, Result};

use super::Tokenizer;

/// A token and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its id.
    pub id: u32,
    /// First byte of the text that it covers.
    pub start: usize,
    /// End of the bytes that it covers. Tokens that are parts of one character cover all of it.
    pub end: usize,
    /// Number of the piece into which the tokenizer split the text before it made tokens. Tokens of different pieces never
    /// depend on each other; a tokenizer that does not split has one piece.
    pub word: u32,
}

impl Tokenizer {
    /// [`Tokenizer::encode`], with the place of each token.
    pub fn spans(&self, text: &str) -> Result<Vec<Span>> {
        let encoding = self.inner.encode(text, false);
        let encoding = encoding.map_err(|e| Fault::data(format!("the text cannot be tokenised: {e}")))?;
        let places = encoding.get_offsets().iter().zip(encoding.get_word_ids());
        let tokens = encoding.get_ids().iter().zip(places);
        Ok(tokens.map(|(&id, (&(start, end), word))| Span { id, start, end, word: word.unwrap_or(u32::MAX) }).collect())
    }
}
