//! Takes documents piece by piece and keeps what sequences are made of.

use oops_core::{Fault, Result, Rng, bail_if};
use oops_model::Tokenizer;

use super::{Packing, Params, spool::Spool, stream::Stream};
use crate::read::Piece;

/// Tokens that stand at the ends of sequences and documents.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// In front of every sequence.
    pub(super) bos: Option<u32>,
    /// Behind every document.
    pub(super) eos: Option<u32>,
}

/// Documents on their way to sequences.
pub(super) struct Collector<'a> {
    params: &'a Params,
    marks: Marks,
    stream: Stream<'a>,
    spool: Spool,
    /// Whether a document has begun and not ended.
    open: bool,
    /// The document so far, as long as a sequence may be, and its first token's place.
    document: (u64, Vec<u32>),
    /// Whole documents.
    sequences: Vec<(u64, Vec<u32>)>,
    /// Documents that were read.
    pub(super) documents: usize,
    /// Rows without a text.
    pub(super) nulls: usize,
    /// Tokens that were read.
    pub(super) tokens: u64,
    /// Whether any document holds the end of a line.
    pub(super) has_lines: bool,
}

impl<'a> Collector<'a> {
    pub(super) fn new(params: &'a Params, marks: Marks, tokenizer: &'a Tokenizer, spool: Spool) -> Self {
        Self {
            params,
            marks,
            stream: Stream::new(tokenizer),
            spool,
            open: false,
            document: (0, Vec::new()),
            sequences: Vec::new(),
            documents: 0,
            nulls: 0,
            tokens: 0,
            has_lines: false,
        }
    }

    /// Takes a piece; says whether more are wanted.
    pub(super) fn take(&mut self, piece: Piece<'_>) -> Result<bool> {
        match piece {
            Piece::Null => self.nulls += 1,
            Piece::Text(text) => {
                self.begin()?;
                self.has_lines |= text.contains('\n');
                self.stream.push(text)?;
            }
            Piece::End => {
                self.begin()?;
                self.open = false;
                if self.params.joined().is_none() {
                    self.stream.finish()?;
                }
            }
        }
        self.keep(piece == Piece::End)?;
        Ok(!self.complete())
    }

    /// Begins a document, if none is open.
    fn begin(&mut self) -> Result<()> {
        if self.open {
            return Ok(());
        }
        if let Some(separator) = self.params.joined().filter(|_| self.documents > 0) {
            self.stream.push(separator)?;
        }
        (self.open, self.documents) = (true, self.documents + 1);
        Ok(())
    }

    /// Keeps the tokens that are final.
    fn keep(&mut self, end: bool) -> Result<()> {
        let mut ids = self.stream.take();
        if end && self.params.joined().is_none() {
            ids.extend(self.marks.eos);
        }
        if self.params.packing() == Packing::Documents {
            let room = self.longest().saturating_sub(self.document.1.len());
            self.document.1.extend(&ids[..ids.len().min(room)]);
        } else {
            self.spool.extend(&ids)?;
        }
        self.tokens += ids.len() as u64;
        if end {
            let (offset, document) = std::mem::replace(&mut self.document, (self.tokens, Vec::new()));
            let empty = document.iter().all(|id| Some(*id) == self.marks.eos);
            if self.params.packing() == Packing::Documents && !empty {
                self.sequences.push((offset, document));
            }
        }
        Ok(())
    }

    /// Most tokens of a sequence without BOS.
    fn longest(&self) -> usize {
        self.params.sequence_tokens.unwrap_or(usize::MAX) - self.marks.bos.iter().len()
    }

    /// Whether all sequences that were asked for are there, however the text goes on.
    fn complete(&self) -> bool {
        let Some(wanted) = self.params.sequences else { return false };
        match self.params.packing() {
            Packing::Documents => self.sequences.len() >= wanted,
            Packing::Packed => self.spool.len() >= (wanted * self.longest()) as u64,
            Packing::Random => false,
        }
    }

    /// Ends the text.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.stream.finish()?;
        self.keep(false)
    }

    /// Offsets and sequences.
    pub(super) fn sequences(&mut self, seed: u64) -> Result<(Vec<u64>, Vec<Vec<u32>>)> {
        let bos = self.marks.bos;
        if self.params.packing() == Packing::Documents {
            // A chat's template has written its BOS already.
            let begun = |tokens: &[u32]| tokens.first() == bos.as_ref();
            let with_bos = |tokens: Vec<u32>| if begun(&tokens) { tokens } else { chained(bos, tokens) };
            return Ok(std::mem::take(&mut self.sequences).into_iter().map(|(at, t)| (at, with_bos(t))).unzip());
        }
        let length = self.longest();
        let starts = self.starts(length as u64, seed)?;
        let read = |start| Ok((start, chained(bos, self.spool.read(start, length)?)));
        Ok(starts.into_iter().map(read).collect::<Result<Vec<_>>>()?.into_iter().unzip())
    }

    /// Where sequences of `length` tokens start.
    fn starts(&self, length: u64, seed: u64) -> Result<Vec<u64>> {
        let total = self.spool.len();
        bail_if(total < length, || {
            Fault::data(format!("the text has {total} tokens, less than one sequence of {length}"))
                .help("use a longer text or a smaller `sequence_tokens`")
        })?;
        if self.params.packing() == Packing::Random {
            let (mut rng, places) = (Rng::new(seed, "source.text"), (total - length + 1) as usize);
            return Ok((0..self.params.sequences.unwrap_or_default()).map(|_| rng.below(places) as u64).collect());
        }
        let available = total / length;
        let wanted = self.params.sequences.map_or(available, |n| n as u64);
        bail_if(wanted > available, || {
            Fault::data(format!("the text gives {available} sequences of {length} tokens, not {wanted}"))
                .help("use a longer text, fewer `sequences`, or `packing: random`")
        })?;
        Ok((0..wanted).map(|i| i * length).collect())
    }
}

fn chained(bos: Option<u32>, tokens: Vec<u32>) -> Vec<u32> {
    bos.into_iter().chain(tokens).collect()
}
