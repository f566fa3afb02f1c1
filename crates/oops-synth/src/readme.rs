//! The README of `data/`, with the figures of the training that made it.

use crate::train::Trained;

/// What is reported.
pub(crate) struct Figures {
    /// The training.
    pub(crate) trained: Trained,
    /// Weights, the shared embedding counted once.
    pub(crate) parameters: usize,
    /// Held-out stories.
    pub(crate) documents: usize,
    /// Held-out tokens that are predicted.
    pub(crate) tokens: usize,
    /// Held-out perplexity of the stored model.
    pub(crate) perplexity: f64,
    /// Held-out perplexity of unigram, bigram and trigram.
    pub(crate) ngrams: [f64; 3],
    /// Temperature and story.
    pub(crate) samples: Vec<(f64, String)>,
}

/// The text.
pub(crate) fn text(f: &Figures) -> String {
    let Figures { trained, parameters, documents, tokens, perplexity, ngrams, samples } = f;
    let [unigram, bigram, trigram] = ngrams;
    let stories: Vec<String> = samples.iter().map(|(t, s)| format!("Temperature {t}:\n\n> {s}\n")).collect();
    format!(
        "# The embedded model and its texts

Written by `cargo xtask data`, this file included. Everything comes from seeds: a story grammar
(`crates/oops-synth/src/grammar`) writes the text, byte-level BPE is trained on it, and a LLaMA (6 blocks, hidden 192,
8 query heads in 4 KV groups of 24 channels, FFN 512, tied head, bf16, {parameters} parameters) is trained from scratch.
Words, sentences and weights are ours: Apache-2.0 OR MIT.

- `model/`: Hugging Face layout.
- `text/calibration.jsonl`, `text/heldout.jsonl`: one story per line, of other seeds than the training text.

Training: {steps} steps of 8 × 256 tokens, {seen} tokens, no story twice, {seconds:.0} s of wall time, last loss
{last_loss:.3} nats. Texts and tokenizer are the same bytes on every machine. Weights are the same bytes whatever the
number of threads; another kind of CPU may choose other matrix kernels, round differently and end at a slightly
different, equally good model.

Held-out perplexity, {documents} stories, {tokens} tokens (each story by itself, BOS first, every token after it
predicted); the n-grams are counted on 2,000,000 tokens of the training text, with absolute discounting:

| model | perplexity |
|---|---|
| this model | {perplexity:.3} |
| trigram | {trigram:.3} |
| bigram | {bigram:.3} |
| unigram | {unigram:.3} |

The bigram's perplexity is {margin:.1} times the model's: what a story says early decides its words later.

## Stories that it tells

{stories}",
        stories = stories.join("\n"),
        steps = trained.steps,
        seen = trained.tokens,
        seconds = trained.seconds,
        last_loss = trained.last_loss,
        margin = bigram / perplexity,
    )
}
