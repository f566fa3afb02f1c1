//! Tokenizers as pairs of metadata, by hand and back again.

use super::*;
use serde_json::json;

fn value<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a Value> {
    pairs.iter().find(|(k, _)| k.ends_with(&format!(".{name}"))).map(|p| &p.1)
}

fn of(text: &Json, vocab: usize, eos: &[u32]) -> Pairs {
    pairs(&Document::read(&text.to_string()).unwrap(), vocab, Some(0), eos)
}

/// `<unk>` is 0, the bytes 1 to 256, the pieces follow.
fn sentencepiece(normalizers: &[Json], pieces: &[&str], merges: &[[&str; 2]]) -> Json {
    let bytes = (0..256).map(|b| format!("<0x{b:02X}>"));
    let all = ["<unk>".to_owned()].into_iter().chain(bytes).chain(pieces.iter().map(|p| (*p).to_owned()));
    let vocab: serde_json::Map<_, _> = all.zip(0..).map(|(token, id)| (token, json!(id))).collect();
    json!({
        "added_tokens": [{ "id": 0, "content": "<unk>", "special": true }, { "id": 262, "content": "<t>", "special": false }],
        "normalizer": { "type": "Sequence", "normalizers": normalizers }, "pre_tokenizer": null,
        "model": { "type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": vocab, "merges": merges },
    })
}

fn prepend() -> Json {
    json!({ "type": "Prepend", "prepend": "▁" })
}

#[test]
fn sentencepiece_pieces_score_by_the_rank_of_their_merge() {
    let mut text = sentencepiece(&[prepend()], &["a", "b", "ab", "abb"], &[["a", "b"], ["ab", "b"]]);
    text["model"]["merges"][1] = json!("ab b");
    let out = of(&text, 263, &[1, 2, 3, 4]);
    let Some(Value::I32s(kinds)) = value(&out, "token_type") else { panic!("no types") };
    assert_eq!((kinds[0], kinds[1], kinds[256]), (UNKNOWN as i32, BYTE as i32, BYTE as i32));
    assert_eq!(kinds[257..], [NORMAL, NORMAL, NORMAL, NORMAL, UNUSED, USER_DEFINED].map(|k| k as i32));
    let Some(Value::F32s(scores)) = value(&out, "scores") else { panic!("no scores") };
    assert_eq!((scores[0], &scores[257..]), (0.0, &[-259.0, -260.0, 0.0, -1.0, 0.0, 0.0][..]));
    assert_eq!(value(&out, "add_space_prefix"), Some(&Value::Bool(true)));
    assert_eq!(
        (value(&out, "eot_token_id"), value(&out, "eom_token_id")),
        (Some(&Value::U32(2)), Some(&Value::U32(3)))
    );
    assert_eq!((value(&out, "add_bos_token"), value(&out, "add_eos_token")), (Some(&Value::Bool(false)), None));
}

#[test]
fn what_runtimes_do_otherwise_is_said() {
    let lost = |text: &Json| Document::read(&text.to_string()).unwrap().lost.join("; ");
    let merges = [["a", "b"], ["ab", "b"]];
    assert_eq!(lost(&sentencepiece(&[prepend()], &["a", "b", "ab", "abb"], &merges)), "");
    let nfkc = json!({ "type": "NFKC" });
    assert!(lost(&sentencepiece(&[nfkc, prepend()], &["a"], &[])).contains("does not normalise text (NFKC)"));
    let other = lost(&sentencepiece(&[prepend()], &["a", "b", "ab", "bb", "abb"], &[["a", "b"], ["ab", "b"]]));
    assert!(other.contains("2 ways more than the 2"), "{other}");
    let mut metaspace = sentencepiece(&[], &["a"], &[]);
    metaspace["pre_tokenizer"] = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first" });
    assert!(lost(&metaspace).contains("after each special token"));
    metaspace["added_tokens"][1]["rstrip"] = json!(true);
    assert!(lost(&metaspace).contains("beside `<t>`"));
}

#[test]
fn texts_that_end_by_themselves_are_written_so() {
    let mut text = sentencepiece(&[prepend()], &["a"], &[]);
    let special = json!({ "SpecialToken": { "id": "<unk>", "type_id": 0 } });
    let single = [special.clone(), json!({ "Sequence": { "id": "A", "type_id": 0 } }), special];
    text["post_processor"] = json!({ "type": "TemplateProcessing", "single": single });
    let out = of(&text, 258, &[400]);
    assert_eq!(
        (value(&out, "add_bos_token"), value(&out, "add_eos_token")),
        (Some(&Value::Bool(true)), Some(&Value::Bool(true)))
    );
    assert_eq!(value(&out, "eos_token_id"), None, "no such row");
}

#[test]
fn tokenizers_without_a_home_are_refused_with_the_reason() {
    let refusal = |text: Json| Document::read(&text.to_string()).err().unwrap().to_string();
    for model in ["WordPiece", "Unigram", "WordLevel"] {
        assert!(refusal(json!({ "model": { "type": model } })).contains(&format!("its model is {model}")));
    }
    assert!(refusal(json!({ "model": { "vocab": {}, "merges": [] } })).contains("falls back to bytes"));
    let cut = json!({ "type": "ByteLevel", "add_prefix_space": true, "use_regex": true });
    let text = json!({ "pre_tokenizer": cut, "model": { "vocab": {}, "merges": [] } });
    assert!(refusal(text).contains("cuts text into words"));
    for step in
        [json!({ "type": "Lowercase" }), json!({ "type": "Strip" }), json!({ "type": "Prepend", "prepend": "x" })]
    {
        let name = step["type"].as_str().unwrap().to_owned();
        let words = refusal(sentencepiece(&[step], &["a"], &[]));
        assert!(words.contains(&format!("normalizer has the step {name}")), "{words}");
    }
    let mut split = sentencepiece(&[], &["▁", "▁▁"], &[["▁", "▁"]]);
    split["pre_tokenizer"] = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always" });
    assert!(refusal(split).contains("cuts text at spaces"));
    let mut digits = sentencepiece(&[], &["a"], &[]);
    digits["pre_tokenizer"] = json!({ "type": "Digits", "individual_digits": true });
    assert!(refusal(digits).contains("the step Digits"));
    let mut twice = sentencepiece(&[], &["a"], &[]);
    twice["added_tokens"][1]["content"] = json!("a");
    assert!(refusal(twice).contains("\"a\" is two tokens"));
    let mut suffix = sentencepiece(&[], &["a"], &[]);
    suffix["model"]["end_of_word_suffix"] = json!("</w>");
    assert!(refusal(suffix).contains("`end_of_word_suffix`"));
}
