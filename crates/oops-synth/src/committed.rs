//! What lies in `data/` is what [`crate::build`] makes, and is as good as it says.

use std::{fs, path::PathBuf};

use oops_model::Checkpoint;

use crate::{
    bpe::{self, VOCAB},
    build::{CALIBRATION_SEED, HELDOUT_SEED, Options, TEXT_TOKENS, lines},
    corpus::documents,
    measure::Reader,
    ngram::Ngram,
};

/// The bigram's perplexity is at least this many times the model's.
const MARGIN: f64 = 4.0;
/// Held-out tokens of the sample, and training tokens of the bigram: enough for both figures, quick enough for a test.
const SAMPLE: usize = 10_000;
const COUNTED: usize = 300_000;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data").join(name)
}

#[test]
fn texts_are_reproduced_byte_for_byte() {
    for (name, seed) in [("calibration", CALIBRATION_SEED), ("heldout", HELDOUT_SEED)] {
        let committed = fs::read_to_string(data(&format!("text/{name}.jsonl"))).unwrap();
        assert!(lines(seed, committed.lines().count() as u64) == committed, "{name} differs: run `cargo xtask data`");
    }
}

#[test]
fn the_tokenizer_is_reproduced_byte_for_byte() {
    let committed = fs::read_to_string(data("model/tokenizer.json")).unwrap();
    assert!(bpe::train(Options::default().seed).unwrap() == committed, "it differs: run `cargo xtask data`");
}

#[test]
fn the_model_beats_the_bigram_by_the_stated_margin() {
    let model = Checkpoint::open_path(&data("model")).unwrap();
    assert!(model.stored_bytes() <= 8 << 20);
    let tokenizer = model.tokenizer().unwrap();
    assert_eq!(tokenizer.vocab_size(), VOCAB);
    let heldout = documents(&tokenizer, HELDOUT_SEED, SAMPLE).unwrap();
    let training = documents(&tokenizer, Options::default().seed, COUNTED).unwrap();
    let bigram = Ngram::count(2, VOCAB, &training).perplexity(&heldout);
    let ours = Reader::new(&model).unwrap().perplexity(&heldout).unwrap();
    assert!(bigram >= MARGIN * ours, "bigram {bigram:.3}, model {ours:.3}");
}

#[test]
fn texts_are_long_enough_for_calibration() {
    let tokenizer = Checkpoint::open_path(&data("model")).unwrap().tokenizer().unwrap();
    let committed = fs::read_to_string(data("text/calibration.jsonl")).unwrap();
    let count = committed.lines().count();
    let docs = documents(&tokenizer, CALIBRATION_SEED, TEXT_TOKENS).unwrap();
    assert_eq!(docs.len(), count);
    assert!(docs.iter().map(Vec::len).sum::<usize>() >= 128 * 256);
}
