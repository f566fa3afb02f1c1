//! Tokenises a text of any length part by part, with the ids that it has in one piece.
//!
//! Parts overlap. Two that follow each other are joined at a place in their overlap where both have the same tokens at the
//! same places, [`AGREE`] of them in a row and clear of both ends, and best where both begin a new word there. That is the
//! tokenisation of the whole: splitting into words goes from left to right and, from a common start of a word on, sees the
//! same text; and byte-pair merges never crossed the edges of a token on which both sides agree, so neither do they in the
//! whole. Where no such place is found (a long run of one character, say), the parts become one, up to the whole text.

use oops_core::{Fault, Result};
use oops_model::{Span, Tokenizer};
use rayon::prelude::*;

/// Bytes of a part, without its overlap with the next.
const PART: usize = 1 << 15;
/// Bytes that a part shares with the next.
const OVERLAP: usize = 1 << 11;
/// Bytes before the end of a part whose tokens may depend on what follows.
const MARGIN: usize = 1 << 9;
/// Tokens in a row that must be the same.
const AGREE: usize = 32;
/// Parts that are tokenised side by side. Not a number of threads: what is read at a time must not depend on the machine.
const PARTS: usize = 16;

/// A text on its way through the tokenizer.
pub(super) struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    /// Text from the start of the next part on.
    pending: String,
    left: Option<Part>,
    /// Ids that are final.
    ready: Vec<u32>,
}

/// A part of the text with its tokens.
struct Part {
    text: String,
    /// Place in `text` at which the next part begins.
    next: usize,
    spans: Vec<Span>,
    /// Place of the first token that is not given out yet; none at the start of the text.
    from: Option<usize>,
    /// Bytes of `text` that `spans` are of.
    tokenised: usize,
}

impl<'a> Stream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, pending: String::new(), left: None, ready: Vec::new() }
    }

    /// Goes on with the text.
    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        self.pending.push_str(text);
        if self.pending.len() >= PARTS * PART + OVERLAP { self.parts(false) } else { Ok(()) }
    }

    /// Ends the text; the next one begins anew.
    pub(super) fn finish(&mut self) -> Result<()> {
        if self.left.is_none() && self.pending.len() <= PART + OVERLAP {
            if !self.pending.is_empty() {
                self.ready.extend(self.tokenizer.encode(&self.pending)?);
                self.pending.clear();
            }
            return Ok(());
        }
        self.parts(true)?;
        if let Some(mut last) = self.left.take() {
            last.refresh(self.tokenizer)?;
            self.ready.extend(last.spans[last.first()?..].iter().map(|s| s.id));
        }
        Ok(())
    }

    /// Ids that are final and not taken yet.
    pub(super) fn take(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.ready)
    }

    /// Tokenises what is whole parts of the pending text, or all of it at its `end`.
    fn parts(&mut self, end: bool) -> Result<()> {
        let (mut texts, mut at) = (Vec::new(), 0);
        loop {
            let next = boundary(&self.pending, at + PART);
            let until = boundary(&self.pending, next + OVERLAP);
            let last = until == self.pending.len();
            if last && !end {
                break;
            }
            texts.push((self.pending[at..until].to_owned(), next.min(until) - at));
            at = next;
            if last {
                at = until;
                break;
            }
        }
        let tokenizer = self.tokenizer;
        let parts = texts.into_par_iter().map(|(text, next)| Part::new(tokenizer, text, next));
        for part in parts.collect::<Result<Vec<_>>>()? {
            self.join(part)?;
        }
        self.pending.drain(..at);
        Ok(())
    }

    /// Joins the next part to what there is.
    fn join(&mut self, mut right: Part) -> Result<()> {
        let Some(left) = &mut self.left else {
            self.left = Some(right);
            return Ok(());
        };
        if let Some((i, j)) = left.agreement(&right) {
            self.ready.extend(left.spans[left.first()?..i].iter().map(|s| s.id));
            right.from = Some(right.spans[j].start);
            self.left = Some(right);
            return Ok(());
        }
        left.text.push_str(&right.text[left.text.len() - left.next..]);
        left.next += right.next;
        // Only when it has doubled, so that a text that cannot be cut is not tokenised over and over.
        if left.text.len() >= 2 * left.tokenised { left.refresh(self.tokenizer) } else { Ok(()) }
    }
}

impl Part {
    fn new(tokenizer: &Tokenizer, text: String, next: usize) -> Result<Self> {
        let (spans, tokenised) = (tokenizer.spans(&text)?, text.len());
        Ok(Self { text, next, spans, from: None, tokenised })
    }

    /// Tokenises what was added to the text.
    fn refresh(&mut self, tokenizer: &Tokenizer) -> Result<()> {
        if self.tokenised < self.text.len() {
            (self.spans, self.tokenised) = (tokenizer.spans(&self.text)?, self.text.len());
        }
        Ok(())
    }

    /// Index of the first token that is not given out yet.
    fn first(&self) -> Result<usize> {
        let Some(from) = self.from else { return Ok(0) };
        let found = (0..self.spans.len()).find(|&i| self.spans[i].start >= from && starts_clean(&self.spans, i));
        let found = found.filter(|&i| self.spans[i].start == from);
        found.ok_or_else(|| Fault::internal("the tokens of a text changed when more of it was read"))
    }

    /// Where `right` goes on with this part: the first token that is its, by index here and there.
    fn agreement(&self, right: &Self) -> Option<(usize, usize)> {
        if self.tokenised < self.text.len() {
            return None;
        }
        let (ours, theirs, base) = (&self.spans, &right.spans, self.next);
        let begin = ours.partition_point(|s| s.start < base);
        let (mut i, mut j) = (begin.max(1), 1);
        let mut run = Run::default();
        while i < ours.len() && j < theirs.len() && ours[i].end + MARGIN <= self.text.len() {
            let (here, there) = (ours[i].start - base, theirs[j].start);
            let same = here == there && ours[i].id == theirs[j].id && ours[i].end - base == theirs[j].end;
            if same {
                let clean = starts_clean(ours, i) && starts_clean(theirs, j);
                let word = ours[i].word != ours[i - 1].word && theirs[j].word != theirs[j - 1].word;
                run.extend((i, j), clean, word);
            } else if run.length < AGREE {
                run = Run::default();
            }
            if run.length >= AGREE && (run.word.is_some() || !same) {
                break;
            }
            i += usize::from(here <= there);
            j += usize::from(there <= here);
        }
        run.word.or(run.start).filter(|_| run.length >= AGREE)
    }
}

/// Tokens in a row on which two parts agree.
#[derive(Default)]
struct Run {
    length: usize,
    /// The first of them that begins with a character.
    start: Option<(usize, usize)>,
    /// The first of those that begins a word.
    word: Option<(usize, usize)>,
}

impl Run {
    fn extend(&mut self, at: (usize, usize), clean: bool, word: bool) {
        self.length += 1;
        self.start = self.start.or(clean.then_some(at));
        self.word = self.word.or((clean && word).then_some(at));
    }
}

/// Whether token `i` is the first at its place and begins behind the one before it, not inside its character.
fn starts_clean(spans: &[Span], i: usize) -> bool {
    i == 0 || (spans[i - 1].end <= spans[i].start && spans[i - 1].start < spans[i].start)
}

/// The first boundary of characters from `at` on.
fn boundary(text: &str, at: usize) -> usize {
    (at.min(text.len())..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests;
