//! A checkpoint as a reader of tokens.

use oops_core::Vocabulary;

use super::Checkpoint;

impl Vocabulary for Checkpoint {
    fn rows(&self) -> usize {
        self.config().dims.vocab
    }

    fn context(&self) -> usize {
        self.config().max_position
    }

    fn spellings(&self, ids: &[u32]) -> Option<Vec<Option<String>>> {
        let tokenizer = self.tokenizer().ok()?;
        Some(ids.iter().map(|&id| tokenizer.token(id)).collect())
    }
}
