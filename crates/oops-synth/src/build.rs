//! Everything in `data/`, made from seeds: tokenizer, texts, model, and the README that says how good it is.

use std::path::Path;

use oops_core::Result;
use oops_model::{Checkpoint, Tokenizer};
use serde_json::json;

use crate::{
    bpe::{self, BOS, VOCAB},
    corpus::documents,
    folder::{save, write},
    grammar::story,
    measure::Reader,
    network::Network,
    ngram::Ngram,
    readme::{self, Figures},
    train::train,
};

/// Seed of the calibration text.
pub(crate) const CALIBRATION_SEED: u64 = 2;
/// Seed of the held-out text.
pub(crate) const HELDOUT_SEED: u64 = 3;
/// Tokens of each of the two texts, at least.
pub(crate) const TEXT_TOKENS: usize = 40_000;
/// Tokens of training text that the n-gram baselines are counted on.
pub(crate) const BASELINE_TOKENS: usize = 2_000_000;

/// What may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Training steps of 8 × 256 tokens.
    pub steps: usize,
    /// Seed of the initial weights and of the training stories; 2 and 3 are the seeds of the other texts.
    pub seed: u64,
}

impl Default for Options {
    /// What the embedded model was made with.
    fn default() -> Self {
        Self { steps: 1000, seed: 1 }
    }
}

/// Makes `out/model`, `out/text` and `out/README.md`; `log` gets a line now and then.
///
/// Texts and tokenizer are the same bytes everywhere. Weights are the same bytes whatever the number of threads on one
/// kind of CPU; another kind may choose other matrix kernels, which round differently.
pub fn build(out: &Path, options: &Options, log: &mut dyn FnMut(&str)) -> Result<()> {
    log("training the tokenizer");
    let json = bpe::train(options.seed)?;
    let tokenizer = Tokenizer::from_json(&json, Some(BOS.1))?;
    for (name, seed) in [("calibration", CALIBRATION_SEED), ("heldout", HELDOUT_SEED)] {
        let count = documents(&tokenizer, seed, TEXT_TOKENS)?.len() as u64;
        write(out, &format!("text/{name}.jsonl"), lines(seed, count).as_bytes())?;
    }
    let (network, model) = (Network::new(options.seed)?, out.join("model"));
    let trained = train(&network, &tokenizer, options.seed, options.steps, log, &mut |n| save(n, &json, &model))?;
    save(&network, &json, &model)?;

    log("measuring the stored model and its baselines");
    let reader = Reader::new(&Checkpoint::open_path(&model)?)?;
    let heldout = documents(&tokenizer, HELDOUT_SEED, TEXT_TOKENS)?;
    let training = documents(&tokenizer, options.seed, BASELINE_TOKENS)?;
    let ngram = |order| Ngram::count(order, VOCAB, &training).perplexity(&heldout);
    let samples = [(0.0, 1), (0.8, 1), (0.8, 2)].map(|(temperature, seed)| {
        let tokens = reader.tell(vec![BOS.1], temperature, seed)?;
        Ok((temperature, tokenizer.decode(&tokens)?))
    });
    let figures = Figures {
        trained,
        parameters: network.vars.iter().map(|v| v.elem_count()).sum(),
        documents: heldout.len(),
        tokens: heldout.iter().map(|d| d.len() - 1).sum(),
        perplexity: reader.perplexity(&heldout)?,
        ngrams: [ngram(1), ngram(2), ngram(3)],
        samples: samples.into_iter().collect::<Result<_>>()?,
    };
    log(&format!("held-out perplexity {:.3}, bigram {:.3}", figures.perplexity, figures.ngrams[1]));
    write(out, "README.md", readme::text(&figures).as_bytes())
}

/// Stories `0..count` of `seed`, one JSON object with the key `text` per line.
pub(crate) fn lines(seed: u64, count: u64) -> String {
    (0..count).map(|i| json!({ "text": story(seed, i) }).to_string() + "\n").collect()
}
