//! `tokenizer.ggml.model = llama`: SentencePiece BPE. The file has a score per piece and no merges. SentencePiece merges
//! the adjacent pair whose result scores highest, so every way to cut a piece into two pieces is a merge, and the
//! piece's score ranks it; ways to make the same piece are ranked by the ids of their parts. Characters that are no
//! piece become bytes (`<0xE2>`).

use oops_core::{Fault, Result, bail_if};
use serde_json::{Value, json};

use super::{NORMAL, Parts, TOKENS, Vocabulary};
use crate::gguf::metadata::Metadata;

const SCORES: &str = "tokenizer.ggml.scores";
/// Bytes of the longest piece that is cut; bounds the work on a damaged file (trained vocabularies stay below 100).
const MAX_PIECE: usize = 256;

pub(super) fn parts(m: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Parts> {
    let scores = m.floats(SCORES)?.ok_or_else(|| Metadata::missing(SCORES))?;
    bail_if(scores.len() != vocabulary.tokens.len(), || {
        let what = format!("{} scores for {} tokens", scores.len(), vocabulary.tokens.len());
        Fault::data(what).at(format!("metadata `{SCORES}`"))
    })?;
    let unknown = vocabulary.token(m, "tokenizer.ggml.unknown_token_id")?;
    let unknown = unknown.map(|u| u.1).or_else(|| vocabulary.tokens.first().copied());
    let prefix = m.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    Ok(Parts {
        normalizer: normalizer(prefix),
        pre_tokenizer: Value::Null,
        decoder: decoder(prefix),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary.json(), "merges": merges(vocabulary, &scores)?,
        }),
        adds_bos: true,
    })
}

/// Spaces become `▁`; a prefix makes the first word look like any other.
fn normalizer(prefix: bool) -> Value {
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let prepend = prefix.then(|| json!({ "type": "Prepend", "prepend": "▁" }));
    json!({ "type": "Sequence", "normalizers": prepend.into_iter().chain([replace]).collect::<Vec<_>>() })
}

fn decoder(prefix: bool) -> Value {
    let replace = json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " });
    let strip = prefix.then(|| json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    let steps = [replace, json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
    json!({ "type": "Sequence", "decoders": steps.into_iter().chain(strip).collect::<Vec<_>>() })
}

/// All merges, best first.
fn merges<'a>(vocabulary: &Vocabulary<'a>, scores: &[f64]) -> Result<Vec<(&'a str, &'a str)>> {
    let normal = |piece: &str| vocabulary.ids.get(piece).filter(|&&id| vocabulary.kinds[id as usize] == NORMAL);
    let mut all = Vec::new();
    for (id, &piece) in vocabulary.tokens.iter().enumerate().filter(|(id, _)| vocabulary.kinds[*id] == NORMAL) {
        bail_if(piece.len() > MAX_PIECE, || {
            let what = format!("token {id} has {} bytes; {MAX_PIECE} are allowed", piece.len());
            Fault::data(what).at(format!("metadata `{TOKENS}`"))
        })?;
        let cut = |(at, _)| {
            let (l, r) = piece.split_at(at);
            Some((scores[id], id, normal(l)?, normal(r)?, l, r))
        };
        all.extend(piece.char_indices().skip(1).filter_map(cut));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    Ok(all.into_iter().map(|m| (m.4, m.5)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fixtures::fixture;

    fn vocabulary<'a>(tokens: &[&'a str]) -> Vocabulary<'a> {
        let ids = tokens.iter().enumerate().map(|(i, t)| (*t, i as u32)).collect();
        Vocabulary { tokens: tokens.to_vec(), kinds: vec![NORMAL; tokens.len()], ids }
    }

    #[test]
    fn every_cut_of_a_piece_is_a_merge_ranked_by_its_score() {
        let v = vocabulary(&["a", "b", "c", "bc", "abc", "ab"]);
        let list = merges(&v, &[-9.0, -9.0, -9.0, -3.0, -2.0, -1.0]).unwrap();
        assert_eq!(list, [("a", "b"), ("a", "bc"), ("ab", "c"), ("b", "c")]);
    }

    /// The merges of a published tokenizer.json come back from its vocabulary with scores that fall with the id.
    #[test]
    #[ignore = "needs OOPS_FIXTURES"]
    fn merges_of_a_real_vocabulary_are_recovered() {
        let text = std::fs::read_to_string(fixture("models/stories260k/tokenizer.json")).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let by_id: BTreeMap<u64, &str> = json["model"]["vocab"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(t, id)| (id.as_u64().unwrap(), t.as_str()))
            .collect();
        let tokens: Vec<&str> = by_id.into_values().collect();
        let scores: Vec<f64> = (0..tokens.len()).map(|i| -(i as f64)).collect();
        let list = merges(&vocabulary(&tokens), &scores).unwrap();
        let want: Vec<(&str, &str)> = json["model"]["merges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| (m[0].as_str().unwrap(), m[1].as_str().unwrap()))
            .collect();
        assert_eq!(list, want);
    }
}
