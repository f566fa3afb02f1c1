//! Text as its tokens come.

use oops_core::Result;

use crate::Tokenizer;

/// Decodes tokens one by one: a piece comes out as soon as its characters are whole.
///
/// Tokens are decoded together with those of the piece before, since spaces and bytes depend on neighbours.
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    ids: Vec<u32>,
    /// Tokens from `begin` to `shown` are the piece before, whose text came out.
    begin: usize,
    shown: usize,
}

impl<'t> TextStream<'t> {
    /// A stream behind the tokens of `prompt`, whose text does not come out.
    pub fn behind(tokenizer: &'t Tokenizer, prompt: &[u32]) -> Self {
        Self { tokenizer, ids: prompt.to_vec(), begin: 0, shown: prompt.len() }
    }

    /// Takes a token; gives the text that is new and whole, often none.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = self.fresh()?;
        // A character whose bytes are not all there decodes to the replacement character.
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        (self.begin, self.shown) = (self.shown, self.ids.len());
        Ok(text)
    }

    /// The text that is left when no token follows.
    pub fn finish(self) -> Result<String> {
        self.fresh()
    }

    /// Text of the tokens that were not shown.
    fn fresh(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[self.begin..self.shown])?;
        let all = self.tokenizer.decode(&self.ids[self.begin..])?;
        Ok(all.chars().skip(before.chars().count()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::{Checkpoint, fixtures::fixture};

    fn stream(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> Vec<String> {
        let mut stream = TextStream::behind(tokenizer, prompt);
        let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        pieces.push(stream.finish().unwrap());
        pieces
    }

    /// The text behind the prompt, in whole characters, for texts that take several tokens per character.
    fn check(model: &Path) {
        let tokenizer = Checkpoint::open_path(model).unwrap().tokenizer().unwrap();
        for text in ["Once upon a time, there was a 🦊 — und übermütig: 日本語!", "  two  spaces\n\nand lines "]
        {
            let ids = tokenizer.prompt(text).unwrap();
            let whole = tokenizer.decode(&ids).unwrap();
            for cut in [0, 1, 5, ids.len()] {
                let before = tokenizer.decode(&ids[..cut]).unwrap();
                let pieces = stream(&tokenizer, &ids[..cut], &ids[cut..]);
                assert_eq!(pieces.concat(), whole.chars().skip(before.chars().count()).collect::<String>());
                assert!(!pieces.concat().contains('\u{FFFD}') || before.ends_with('\u{FFFD}'), "{pieces:?}");
            }
            let pieces = stream(&tokenizer, &[], &ids).iter().filter(|p| !p.is_empty()).count();
            assert!(pieces > 5, "a text comes piece by piece: {pieces}");
        }
    }

    #[test]
    fn pieces_are_the_text_in_whole_characters() {
        check(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/model"));
    }

    #[test]
    #[ignore = "needs OOPS_FIXTURES"]
    fn pieces_of_sentencepiece_too() {
        let path = fixture("models/stories260k");
        check(&path);
    }

    #[test]
    fn bytes_that_never_become_a_character_come_at_the_end() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/model");
        let tokenizer = Checkpoint::open_path(&path).unwrap().tokenizer().unwrap();
        let fox = tokenizer.encode("🦊").unwrap();
        assert!(fox.len() > 1);
        assert_eq!(stream(&tokenizer, &[], &fox[..1]), ["", "\u{FFFD}"]);
    }
}
