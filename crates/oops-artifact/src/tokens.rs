//! Token sets: sequences of token ids and how they came about.

use oops_core::{Digest, Fault, Result, bail_if};
use serde::{Deserialize, Serialize};

use crate::{
    Artifact, SUMMARY, Sink,
    parquet_io::{self, Table, u32s, u64s},
};

const TOKENS_FILE: &str = "tokens.parquet";

/// Where a token set comes from; printed with every figure measured on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensInfo {
    /// File name of the text.
    pub text: String,
    /// Digest of the text file.
    pub text_digest: Digest,
    /// Documents in the text.
    pub documents: usize,
    /// Tokens of the whole text, before packing and without BOS.
    pub text_tokens: usize,
    /// Whether each sequence starts with the BOS token.
    pub bos: bool,
    /// How sequences were made: `documents`, `packed` or `random`.
    pub packing: String,
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens in all sequences.
    pub tokens: usize,
    /// Rows of the tokenizer's vocabulary.
    pub vocab: usize,
}

/// Sequences of token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSet {
    /// Where they come from.
    pub info: TokensInfo,
    /// The sequences.
    pub sequences: Vec<Vec<u32>>,
    /// For each sequence the index of its first token in the tokenised text.
    pub offsets: Vec<u64>,
}

impl TokenSet {
    /// Reads an artifact of kind tokens.
    pub fn read(artifact: &Artifact) -> Result<Self> {
        let info = crate::json::read(artifact.path(SUMMARY)?)?;
        let path = artifact.path(TOKENS_FILE)?;
        let table = Table::read(path)?;
        let (index, token, offset) = (table.u32("sequence")?, table.u32("token")?, table.u64("offset")?);
        let mut set = Self { info, sequences: Vec::new(), offsets: Vec::new() };
        for ((&s, &t), &o) in index.iter().zip(&token).zip(&offset) {
            let next = set.sequences.len();
            if s as usize == next {
                set.sequences.push(Vec::new());
                set.offsets.push(o);
            }
            bail_if(s as usize + 1 != set.sequences.len(), || {
                Fault::data("column `sequence` must count up from 0").at(path.display())
            })?;
            set.sequences[s as usize].push(t);
        }
        bail_if(set.sequences.len() != set.info.sequences, || {
            Fault::data(format!("{} sequences, but {SUMMARY} says {}", set.sequences.len(), set.info.sequences))
                .at(path.display())
        })?;
        Ok(set)
    }

    /// Writes the files of the artifact with `write`, which stores one file.
    pub fn write(&self, work: &dyn Sink) -> Result<()> {
        work.file(TOKENS_FILE, &mut |path| {
            let per_token = |f: &dyn Fn(usize) -> u32| -> Vec<u32> {
                self.sequences.iter().enumerate().flat_map(|(i, s)| vec![f(i); s.len()]).collect()
            };
            let offsets = self.sequences.iter().zip(&self.offsets).flat_map(|(s, &o)| vec![o; s.len()]).collect();
            let columns = vec![
                ("sequence", u32s(per_token(&|i| i as u32))),
                ("token", u32s(self.sequences.concat())),
                ("offset", u64s(offsets)),
            ];
            parquet_io::write(path, columns)
        })?;
        work.file(SUMMARY, &mut |path| crate::json::write(path, &self.info))
    }

    /// Tokens in all sequences.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }

    /// Fails unless every token id is below `vocab`, the model's number of embedding rows.
    pub fn check_vocab(&self, vocab: usize) -> Result<()> {
        let worst = self.sequences.iter().flatten().max().copied().unwrap_or(0);
        bail_if(worst as usize >= vocab, || {
            Fault::data(format!("token {worst} is outside the model's vocabulary of {vocab}"))
                .help("make the tokens with the tokenizer of this model: `in: { model: … }` of source.text")
        })
    }
}
