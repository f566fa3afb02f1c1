//! A `tokenizer.json` as `tokenizer.ggml.*` metadata: the inverse of [`super::super::tokenizer`].

use std::collections::BTreeMap;

use oops_core::{Fault, Result, bail_if};
use serde_json::Value as Json;

use super::{
    super::tokenizer::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, cut_name},
    container::Value,
};

type Pairs = Vec<(String, Value)>;

/// What of a `tokenizer.json` the metadata hold.
struct Document {
    json: Json,
    /// Tokens by id, and each one's type.
    tokens: BTreeMap<usize, (String, usize)>,
}

/// Metadata for an embedding of `vocab` rows; ids that the tokenizer lacks get a name and the type "unused".
pub(super) fn pairs(text: &str, vocab: usize, bos: Option<u32>, eos: &[u32]) -> Result<Pairs> {
    let document = Document::read(text)?;
    let byte_level = steps(&document.json["pre_tokenizer"], "pretokenizers").any(|s| s["type"] == "ByteLevel");
    let mut out = if byte_level { document.byte_level()? } else { document.sentencepiece()? };
    let (mut tokens, mut kinds) = (Vec::with_capacity(vocab), Vec::with_capacity(vocab));
    for id in 0..vocab {
        let unused = || (format!("[PAD{id}]"), UNUSED);
        let (token, kind) = document.tokens.get(&id).cloned().unwrap_or_else(unused);
        tokens.push(token);
        kinds.push(kind as i32);
    }
    out.extend([pair("tokens", Value::Texts(tokens)), pair("token_type", Value::I32s(kinds))]);
    if let Some(scores) = document.scores(vocab).filter(|_| !byte_level) {
        out.push(pair("scores", Value::F32s(scores)));
    }
    let ids = [("bos", bos), ("eos", eos.first().copied()), ("eot", eos.get(1).copied())];
    out.extend(ids.into_iter().filter_map(|(name, id)| Some(pair(&format!("{name}_token_id"), Value::U32(id?)))));
    out.push(pair("add_bos_token", Value::Bool(document.adds_bos())));
    Ok(out)
}

fn pair(name: &str, value: Value) -> (String, Value) {
    (format!("tokenizer.ggml.{name}"), value)
}

/// A component, or the components of a sequence, whose list is called `list`.
fn steps<'a>(component: &'a Json, list: &str) -> impl Iterator<Item = &'a Json> {
    let many = component.get(list).and_then(Json::as_array);
    many.map_or(std::slice::from_ref(component), Vec::as_slice).iter()
}

fn unsupported(what: &str) -> Fault {
    Fault::data(format!("the tokenizer cannot be written to GGUF: {what}"))
        .at("tokenizer.json")
        .help("byte-level BPE (of GPT-2, SmolLM, Llama 3, Qwen2) and SentencePiece BPE can be written")
}

impl Document {
    fn read(text: &str) -> Result<Self> {
        let json: Json = serde_json::from_str(text).map_err(|e| unsupported(&format!("not JSON: {e}")))?;
        let kind = json["model"]["type"].as_str().unwrap_or("BPE");
        bail_if(kind != "BPE", || unsupported(&format!("its model is {kind}")))?;
        let vocab = json["model"]["vocab"].as_object().ok_or_else(|| unsupported("it has no vocabulary"))?;
        let id = |v: &Json| v.as_u64().map(|id| id as usize).ok_or_else(|| unsupported("an id is not a number"));
        let mut tokens = BTreeMap::new();
        for (token, value) in vocab {
            let byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
            tokens.insert(id(value)?, (token.clone(), if byte { BYTE } else { NORMAL }));
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let text = added["content"].as_str().ok_or_else(|| unsupported("an added token has no content"))?;
            let special = added["special"] == true;
            let kind = match json["model"]["unk_token"].as_str() {
                Some(unknown) if unknown == text => UNKNOWN,
                _ if special => CONTROL,
                _ => USER_DEFINED,
            };
            tokens.insert(id(&added["id"])?, (text.to_owned(), kind));
        }
        Ok(Self { json, tokens })
    }

    fn byte_level(&self) -> Result<Pairs> {
        let name = cut_name(&self.json["normalizer"], &self.json["pre_tokenizer"])
            .ok_or_else(|| unsupported("no GGUF runtime knows how it cuts text into words (`pre_tokenizer`)"))?;
        let merges = self.merges()?.into_iter().map(|(l, r)| format!("{l} {r}")).collect();
        Ok(vec![
            pair("model", Value::Text("gpt2".to_owned())),
            pair("pre", Value::Text(name.to_owned())),
            pair("merges", Value::Texts(merges)),
        ])
    }

    fn sentencepiece(&self) -> Result<Pairs> {
        bail_if(self.json["model"]["byte_fallback"] != true, || {
            unsupported("it is neither byte-level nor falls back to bytes")
        })?;
        let prefix = steps(&self.json["normalizer"], "normalizers").any(|s| s["type"] == "Prepend")
            || steps(&self.json["pre_tokenizer"], "pretokenizers")
                .any(|s| s["type"] == "Metaspace" && s["prepend_scheme"] != "never");
        let mut out =
            vec![pair("model", Value::Text("llama".to_owned())), pair("add_space_prefix", Value::Bool(prefix))];
        let unknown = self.tokens.iter().find(|(_, t)| t.1 == UNKNOWN).map(|(id, _)| *id as u32);
        out.extend(unknown.map(|id| pair("unknown_token_id", Value::U32(id))));
        Ok(out)
    }

    /// The merges, best first; files list them as pairs or as `left right`.
    fn merges(&self) -> Result<Vec<(&str, &str)>> {
        let list = self.json["model"]["merges"].as_array().ok_or_else(|| unsupported("it has no merges"))?;
        let one = |m: &'_ Json| match m.as_array().map(Vec::as_slice) {
            Some([l, r]) => l.as_str().zip(r.as_str()).is_some(),
            _ => m.as_str().is_some_and(|s| s.contains(' ')),
        };
        bail_if(!list.iter().all(one), || unsupported("a merge is not a pair"))?;
        Ok(list
            .iter()
            .filter_map(|m| match m.as_array() {
                Some(pair) => pair[0].as_str().zip(pair[1].as_str()),
                None => m.as_str()?.split_once(' '),
            })
            .collect())
    }

    /// SentencePiece merges what scores highest: minus the rank of the first merge that makes a piece. Pieces that no
    /// merge makes score below all others; tokens that text never becomes by merging score 0.
    fn scores(&self, vocab: usize) -> Option<Vec<f32>> {
        let merges = self.merges().ok()?;
        let mut ranks = BTreeMap::new();
        for (rank, (l, r)) in merges.iter().enumerate() {
            ranks.entry(format!("{l}{r}")).or_insert(rank);
        }
        let score = |id: usize| match self.tokens.get(&id) {
            Some((token, NORMAL)) => -(ranks.get(token).map_or(merges.len() + id, |r| *r) as f32),
            _ => 0.0,
        };
        Some((0..vocab).map(score).collect())
    }

    /// Whether the post-processor puts a special token in front.
    fn adds_bos(&self) -> bool {
        let first = steps(&self.json["post_processor"], "processors").find_map(|p| p["single"].as_array()?.first());
        first.is_some_and(|step| step.get("SpecialToken").is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a Value> {
        pairs.iter().find(|(k, _)| k.ends_with(&format!(".{name}"))).map(|p| &p.1)
    }

    #[test]
    fn sentencepiece_pieces_score_by_the_rank_of_their_merge() {
        let text = json!({
            "added_tokens": [{ "id": 0, "content": "<unk>", "special": true }, { "id": 7, "content": "<t>", "special": false }],
            "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }] },
            "pre_tokenizer": null,
            "model": { "type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
                "vocab": { "<unk>": 0, "<0x41>": 1, "a": 2, "b": 3, "ab": 4, "abb": 5 }, "merges": [["a", "b"], "ab b"] },
        });
        let out = pairs(&text.to_string(), 8, Some(0), &[1, 2]).unwrap();
        let kinds = [UNKNOWN, BYTE, NORMAL, NORMAL, NORMAL, NORMAL, UNUSED, USER_DEFINED].map(|k| k as i32);
        assert_eq!(value(&out, "token_type"), Some(&Value::I32s(kinds.to_vec())));
        let scores = vec![0.0, 0.0, -4.0, -5.0, 0.0, -1.0, 0.0, 0.0];
        assert_eq!(value(&out, "scores"), Some(&Value::F32s(scores)));
        assert_eq!(value(&out, "add_space_prefix"), Some(&Value::Bool(true)));
        assert_eq!(value(&out, "eot_token_id"), Some(&Value::U32(2)));
        assert_eq!(value(&out, "add_bos_token"), Some(&Value::Bool(false)));
    }

    #[test]
    fn tokenizers_without_a_home_are_refused_with_the_reason() {
        let refusal = |text: Json| pairs(&text.to_string(), 4, None, &[]).unwrap_err().to_string();
        assert!(refusal(json!({ "model": { "type": "WordPiece" } })).contains("its model is WordPiece"));
        assert!(refusal(json!({ "model": { "vocab": {}, "merges": [] } })).contains("falls back to bytes"));
        let cut = json!({ "type": "ByteLevel", "add_prefix_space": true, "use_regex": true });
        let text = json!({ "pre_tokenizer": cut, "model": { "vocab": {}, "merges": [] } });
        assert!(refusal(text).contains("cuts text into words"));
    }
}
