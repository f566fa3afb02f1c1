//! Streams against the same text in one piece, for tokenizers of four makes.

use std::{fs, path::PathBuf};

use oops_core::Rng;
use serde_json::{Value, json};

use super::*;

const WORDS: [&str; 12] =
    ["the", "don't", "naïve", "日本語の文章", "🙂🙃", "a1b2", "3.14159", "CamelCase", "—", "…", "x", "Ελληνικά"];
const GAPS: [&str; 8] = [" ", " ", " ", "\n", "\n\n", "  ", "\t", " \n "];

/// Text of many scripts with long runs of blanks, digits and one letter in it.
fn text(bytes: usize) -> String {
    let mut rng = Rng::new(5, "text");
    let mut out = String::new();
    while out.len() < bytes {
        out.push_str(WORDS[rng.below(WORDS.len())]);
        out.push_str(GAPS[rng.below(GAPS.len())]);
        if rng.below(2000) == 0 {
            let run = ["0123456789", " ", "z", "\n", "<s>"][rng.below(5)];
            out.push_str(&run.repeat(1 + rng.below(6000)));
        }
    }
    out
}

/// The tokenizer of the embedded model: byte-level BPE behind a regular expression.
fn embedded() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/model/tokenizer.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// As SentencePiece's: blanks are letters, one word is the whole text, unknown characters are bytes.
fn sentencepiece() -> Value {
    let bytes = (0..256).map(|b| format!("<0x{b:02X}>"));
    let letters = "▁abcdefghijklmnopqrstuvwxyzCé日本語の文章.0123456789\n".chars().map(String::from);
    let merged = [
        "▁t",
        "th",
        "▁th",
        "▁the",
        "he",
        "he▁",
        "▁▁",
        "▁▁▁▁",
        "zz",
        "zzzz",
        "日本",
        "本語",
        "01",
        "23",
        "0123",
        "on",
        "do",
    ];
    let tokens: Vec<String> =
        ["<unk>".to_owned()].into_iter().chain(bytes).chain(letters).chain(merged.map(str::to_owned)).collect();
    let vocab: serde_json::Map<String, Value> = tokens.iter().enumerate().map(|(i, t)| (t.clone(), json!(i))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" }, { "type": "Replace", "pattern": { "String": " " }, "content": "▁" } ] },
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocab,
            "merges": [["▁", "t"], ["t", "h"], ["▁t", "h"], ["▁th", "e"], ["h", "e"], ["he", "▁"], ["▁", "▁"], ["▁▁", "▁▁"],
                ["z", "z"], ["zz", "zz"], ["日", "本"], ["本", "語"], ["0", "1"], ["2", "3"], ["01", "23"], ["o", "n"], ["d", "o"]]
        }
    })
}

fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
    let mut trimming = embedded();
    trimming["post_processor"] =
        json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
    let mut one_word = embedded();
    one_word["pre_tokenizer"]["use_regex"] = json!(false);
    let made = [("regex", embedded()), ("trimmed", trimming), ("one word", one_word), ("pieces", sentencepiece())];
    made.map(|(name, json)| (name, Tokenizer::from_json(&json.to_string(), None).unwrap())).into()
}

fn streamed(tokenizer: &Tokenizer, text: &str, piece: usize) -> Vec<u32> {
    let (mut stream, mut ids, mut at) = (Stream::new(tokenizer), Vec::new(), 0);
    while at < text.len() {
        let next = boundary(text, at + piece);
        stream.push(&text[at..next]).unwrap();
        ids.extend(stream.take());
        at = next;
    }
    stream.finish().unwrap();
    ids.extend(stream.take());
    ids
}

#[test]
fn a_long_text_has_the_ids_that_it_has_in_one_piece() {
    let text = text(3 * PARTS * PART / 2);
    for (name, tokenizer) in tokenizers() {
        let whole = tokenizer.encode(&text).unwrap();
        for piece in [1 << 12, 1 << 16, text.len()] {
            assert!(streamed(&tokenizer, &text, piece) == whole, "{name}, pieces of {piece} bytes");
        }
    }
}

#[test]
fn a_text_without_a_place_to_cut_is_one_part() {
    let digits: String = (0..200_000u64).map(|i| char::from(b'0' + (i * i % 7) as u8)).collect();
    for text in ["z".repeat(5 * PART + 17), " ".repeat(3 * PART + 1), digits] {
        for (name, tokenizer) in tokenizers() {
            assert!(streamed(&tokenizer, &text, 1 << 14) == tokenizer.encode(&text).unwrap(), "{name}: {}", &text[..8]);
        }
    }
}

#[test]
fn texts_that_follow_each_other_are_tokenised_each_by_itself() {
    for (name, tokenizer) in tokenizers() {
        let mut stream = Stream::new(&tokenizer);
        let texts = ["do".to_owned(), String::new(), text(2 * PART), "the".to_owned()];
        let mut expected = Vec::new();
        for text in &texts {
            stream.push(text).unwrap();
            stream.finish().unwrap();
            if !text.is_empty() {
                expected.extend(tokenizer.encode(text).unwrap());
            }
        }
        assert!(stream.take() == expected, "{name}");
    }
}
