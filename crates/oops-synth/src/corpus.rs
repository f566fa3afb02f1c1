//! From stories to token ids: documents to measure on, and an endless supply of training rows.

use oops_core::Result;
use oops_model::Tokenizer;

use crate::{
    bpe::{BOS, EOS},
    grammar::story,
    rng::Rng,
};

/// Stories `0..` of `seed`, each as BOS and its tokens, until there are `tokens` of them.
pub(crate) fn documents(tokenizer: &Tokenizer, seed: u64, tokens: usize) -> Result<Vec<Vec<u32>>> {
    let (mut docs, mut total) = (Vec::new(), 0);
    while total < tokens {
        let doc = document(tokenizer, seed, docs.len() as u64)?;
        total += doc.len();
        docs.push(doc);
    }
    Ok(docs)
}

fn document(tokenizer: &Tokenizer, seed: u64, index: u64) -> Result<Vec<u32>> {
    let tokens = tokenizer.encode(&story(seed, index))?;
    Ok(std::iter::once(BOS.1).chain(tokens).collect())
}

/// Training rows: fresh stories one after another, none shown twice.
pub(crate) struct Rows<'a> {
    tokenizer: &'a Tokenizer,
    seed: u64,
    next: u64,
    rng: Rng,
}

impl<'a> Rows<'a> {
    /// The rows of `seed`, whose stories are those of the grammar's seed `seed`.
    pub(crate) fn new(tokenizer: &'a Tokenizer, seed: u64) -> Self {
        Self { tokenizer, seed, next: 0, rng: Rng::stream(seed, u64::MAX) }
    }

    /// The next row of `tokens` + 1 ids: inputs and, shifted by one, targets.
    ///
    /// Half of the rows begin in the middle of a story (half of these with a BOS), and stories are separated by EOS and
    /// BOS, by BOS, or not at all: the model shall know all the ways in which text is packed.
    pub(crate) fn next(&mut self, tokens: usize) -> Result<Vec<u32>> {
        let mut row = self.story()?;
        if self.rng.chance(1, 2) {
            let skip = 1 + self.rng.below(row.len() - 1);
            let bos = self.rng.chance(1, 2);
            row.drain(usize::from(bos)..skip);
        }
        let (end, begin) = [(true, true), (true, true), (false, true), (false, false)][self.rng.below(4)];
        while row.len() <= tokens {
            row.extend(end.then_some(EOS.1));
            let story = self.story()?;
            row.extend(&story[usize::from(!begin)..]);
        }
        row.truncate(tokens + 1);
        Ok(row)
    }

    fn story(&mut self) -> Result<Vec<u32>> {
        self.next += 1;
        document(self.tokenizer, self.seed, self.next - 1)
    }
}
