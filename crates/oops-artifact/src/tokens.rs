//! Token sets: sequences of token ids and how they came about.

use std::collections::{BTreeMap, BTreeSet};

use oops_core::{Digest, Fault, Result, Vocabulary, bail_if};
use serde::{Deserialize, Serialize};

use crate::{
    Artifact, SUMMARY, Sink,
    parquet_io::{self, Table, strings, u32s, u64s},
};

const TOKENS_FILE: &str = "tokens.parquet";
const SPELLINGS_FILE: &str = "spellings.parquet";

/// Where a token set comes from; printed with every figure measured on it. Names of files are no part of it: a renamed
/// text is the same text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensInfo {
    /// One digest per text, as [`text_digest`] makes it; several if token sets were mixed.
    pub texts: Vec<Digest>,
    /// Documents that were read.
    pub documents: usize,
    /// Rows without a text (null), which were left out.
    pub nulls: usize,
    /// Tokens that were read of the text, before packing and without BOS: all, unless the sequences that were asked for
    /// were complete before its end.
    pub text_tokens: usize,
    /// Whether each sequence starts with the BOS token.
    pub bos: bool,
    /// Whether each document ends with the EOS token.
    pub eos: bool,
    /// The string between documents that were joined before they were tokenised.
    pub separator: Option<String>,
    /// How sequences were made: `documents`, `packed` or `random`.
    pub packing: String,
    /// Seed of `random` sequences.
    pub seed: Option<u64>,
    /// Most tokens of a sequence, if the stage was told.
    pub sequence_tokens: Option<usize>,
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens in all sequences.
    pub tokens: usize,
    /// Rows of the tokenizer's vocabulary.
    pub vocab: usize,
}

impl TokensInfo {
    /// One digest for all texts: that of the text itself if there is one.
    pub fn text_digest(&self) -> Digest {
        text_digest(&self.texts)
    }
}

/// The digest of a text in several files: that of the one file, or of the digests in order.
pub fn text_digest(files: &[Digest]) -> Digest {
    match files {
        [one] => *one,
        several => Digest::of(several.iter().map(Digest::to_string).collect::<String>().as_bytes()),
    }
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
    /// How the tokenizer that made the set spells the ids that occur; empty if that is not known.
    pub spellings: BTreeMap<u32, String>,
}

impl TokenSet {
    /// A set of these sequences, one per document, of no text and no tokenizer.
    pub fn of(sequences: Vec<Vec<u32>>, vocab: usize) -> Self {
        let tokens = sequences.iter().map(Vec::len).sum();
        let info = TokensInfo {
            texts: vec![Digest::of(b"")],
            documents: sequences.len(),
            nulls: 0,
            text_tokens: tokens,
            bos: false,
            eos: false,
            separator: None,
            packing: "documents".to_owned(),
            seed: None,
            sequence_tokens: None,
            sequences: sequences.len(),
            tokens,
            vocab,
        };
        Self { info, offsets: vec![0; sequences.len()], sequences, spellings: BTreeMap::new() }
    }

    /// Reads an artifact of kind tokens.
    pub fn read(artifact: &Artifact) -> Result<Self> {
        let info = crate::json::read(artifact.path(SUMMARY)?)?;
        let path = artifact.path(TOKENS_FILE)?;
        let table = Table::read(path)?;
        let (index, token, offset) = (table.u32("sequence")?, table.u32("token")?, table.u64("offset")?);
        let spelt = Table::read(artifact.path(SPELLINGS_FILE)?)?;
        let spellings = spelt.u32("token")?.into_iter().zip(spelt.strings("text")?).collect();
        let mut set = Self { info, sequences: Vec::new(), offsets: Vec::new(), spellings };
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
        work.file(SPELLINGS_FILE, &mut |path| {
            let ids = u32s(self.spellings.keys().copied().collect());
            let texts = strings(self.spellings.values().map(String::as_str));
            parquet_io::write(path, vec![("token", ids), ("text", texts)])
        })?;
        work.file(SUMMARY, &mut |path| crate::json::write(path, &self.info))
    }

    /// Tokens in all sequences.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }

    /// The ids that occur, in order.
    pub fn ids(&self) -> BTreeSet<u32> {
        self.sequences.iter().flatten().copied().collect()
    }

    /// Fails unless every id means the same to a model: it is below the number of embedding rows, and the model's
    /// tokenizer (if there is one) spells it as the tokenizer that made the set. Other token ids are never compared, so
    /// that a model in another file form, whose vocabulary may be padded, is the same reader.
    pub fn check_for(&self, model: &dyn Vocabulary) -> Result<()> {
        let help = "make the tokens with the tokenizer of this model: `in: { model: … }` of source.text";
        let (ids, vocab) = (self.ids(), model.rows());
        let worst = ids.last().copied().unwrap_or(0);
        bail_if(worst as usize >= vocab, || {
            Fault::data(format!("token {worst} is outside the model's vocabulary of {vocab}")).help(help)
        })?;
        let known: Vec<u32> = self.spellings.keys().copied().filter(|id| ids.contains(id)).collect();
        let Some(theirs) = model.spellings(&known) else { return Ok(()) };
        for (id, theirs) in known.iter().zip(&theirs) {
            let ours = &self.spellings[id];
            bail_if(theirs.as_ref().map(|t| plain(t)) != Some(plain(ours)), || {
                let theirs = theirs.as_ref().map_or("no token".to_owned(), |t| format!("`{t}`"));
                Fault::data(format!(
                    "the tokens were made with another tokenizer: token {id} is `{ours}` in the token set, {theirs} for the model"
                ))
                .help(help)
            })?;
        }
        Ok(())
    }

    /// Checks the lengths of the sequences, for a stage that runs each as a whole, against the longest that a model was
    /// made for. An error if a whole document is longer than that; the text of a warning if `sequence_tokens` says so.
    pub fn check_lengths(&self, model: &dyn Vocabulary) -> Result<Option<String>> {
        let (context, longest) = (model.context(), self.sequences.iter().map(Vec::len).max().unwrap_or(0));
        let what = format!("sequences of up to {longest} tokens for a model that was made for {context}");
        bail_if(longest > context && self.info.sequence_tokens.is_none(), || {
            Fault::data(format!("{what}: each document is one sequence")).help(format!(
                "cut the text: `sequence_tokens` of source.text (at most {context}, the model's max_position_embeddings)"
            ))
        })?;
        Ok((longest > context).then(|| {
            format!("{what} (max_position_embeddings): set `sequence_tokens` of source.text to at most {context}")
        }))
    }
}

/// A token's spelling without what differs between file forms: GGUF files store the blanks of tokens that were added by
/// hand as blanks.
fn plain(spelling: &str) -> String {
    spelling.replace('▁', " ")
}

#[cfg(test)]
mod tests;
