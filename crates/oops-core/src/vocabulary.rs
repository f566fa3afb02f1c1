//! What a model tells of the tokens that it reads.

/// A model as a reader of token ids.
pub trait Vocabulary {
    /// Rows of the embedding: token ids are below it.
    fn rows(&self) -> usize;

    /// Tokens of the longest sequence that the model was made for.
    fn context(&self) -> usize;

    /// How the model's tokenizer spells each of these ids; none without a tokenizer that can be used.
    fn spellings(&self, ids: &[u32]) -> Option<Vec<Option<String>>>;
}
