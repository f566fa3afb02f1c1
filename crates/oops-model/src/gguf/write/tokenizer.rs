//! A `tokenizer.json` as `tokenizer.ggml.*` metadata: the inverse of [`super::super::tokenizer`].
//!
//! GGUF runtimes normalise no text: SentencePiece tokenizers turn spaces into `▁` and put one in front, byte-level ones do
//! nothing. A tokenizer that normalises Unicode first is written all the same, since most text is as that leaves it, and
//! the loss is said. One that does more than that to a text would be another tokenizer, and is refused.

use std::collections::{BTreeMap, HashSet};

use oops_core::{Fault, Result, bail_if};
use serde_json::Value as Json;

use super::{
    super::tokenizer::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, cutting},
    container::Value,
};

type Pairs = Vec<(String, Value)>;

/// Normalisers that leave most text as it is.
const UNICODE: [&str; 6] = ["NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled"];

/// What of a `tokenizer.json` the metadata hold.
pub(super) struct Document {
    json: Json,
    /// Tokens by id, and each one's type.
    tokens: BTreeMap<usize, (String, usize)>,
    /// What GGUF runtimes do otherwise, in sentences.
    pub(super) lost: Vec<String>,
    /// What the two kinds of tokenizer do not share.
    own: Pairs,
    byte_level: bool,
}

/// Metadata for an embedding of `vocab` rows; ids that the tokenizer lacks get a name and the type "unused".
pub(super) fn pairs(document: &Document, vocab: usize, bos: Option<u32>, eos: &[u32]) -> Pairs {
    let mut out = document.own.clone();
    let (mut tokens, mut kinds) = (Vec::with_capacity(vocab), Vec::with_capacity(vocab));
    for id in 0..vocab {
        let unused = || (format!("[PAD{id}]"), UNUSED);
        let (token, kind) = document.tokens.get(&id).cloned().unwrap_or_else(unused);
        tokens.push(token);
        kinds.push(kind as i32);
    }
    out.extend([pair("tokens", Value::Texts(tokens)), pair("token_type", Value::I32s(kinds))]);
    if let Some(scores) = document.scores(vocab).filter(|_| !document.byte_level) {
        out.push(pair("scores", Value::F32s(scores)));
    }
    let mut ids = vec![("bos", bos)];
    ids.extend(ENDS.into_iter().zip(eos.iter().copied().map(Some)));
    let ids = ids.into_iter().filter_map(|(name, id)| Some((name, id.filter(|&id| (id as usize) < vocab)?)));
    out.extend(ids.map(|(name, id)| pair(&format!("{name}_token_id"), Value::U32(id))));
    let [first, last] = document.ends();
    out.push(pair("add_bos_token", Value::Bool(first)));
    if last {
        out.push(pair("add_eos_token", Value::Bool(true)));
    }
    out
}

/// Names of the tokens that end a text, as many as GGUF has.
pub(super) const ENDS: [&str; 3] = ["eos", "eot", "eom"];

fn pair(name: &str, value: Value) -> (String, Value) {
    (format!("tokenizer.ggml.{name}"), value)
}

/// A component, or the components of a sequence, whose list is called `list`.
fn steps<'a>(component: &'a Json, list: &str) -> impl Iterator<Item = &'a Json> {
    let many = component.get(list).and_then(Json::as_array);
    many.map_or(std::slice::from_ref(component), Vec::as_slice).iter().filter(|step| !step.is_null())
}

fn unsupported(what: &str) -> Fault {
    Fault::data(format!("the tokenizer cannot be written to GGUF: {what}"))
        .at("tokenizer.json")
        .help("byte-level BPE (of GPT-2, SmolLM, Llama 3, Qwen2) and SentencePiece BPE can be written; export.hf and export.onnx take any tokenizer")
}

fn kind(step: &Json) -> &str {
    step["type"].as_str().unwrap_or("of no type")
}

impl Document {
    /// Reads the text of a `tokenizer.json`; a fault if no GGUF runtime would make the same tokens of plain text.
    pub(super) fn read(text: &str) -> Result<Self> {
        let json: Json = serde_json::from_str(text).map_err(|e| unsupported(&format!("not JSON: {e}")))?;
        let model = json["model"]["type"].as_str().unwrap_or("BPE");
        bail_if(model != "BPE", || unsupported(&format!("its model is {model}")))?;
        for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            let plain = json["model"][key].is_null() || json["model"][key] == "";
            bail_if(!plain, || unsupported(&format!("its model has `{key}`")))?;
        }
        let byte_level = steps(&json["pre_tokenizer"], "pretokenizers").any(|s| s["type"] == "ByteLevel");
        let tokens = tokens(&json)?;
        let mut out = Self { json, tokens, lost: Vec::new(), own: Vec::new(), byte_level };
        let normalizers = out.normalizers()?;
        out.own = if byte_level { out.byte_level(&normalizers)? } else { out.sentencepiece()? };
        out.strips();
        Ok(out)
    }

    /// The Unicode normalisers; a fault for others than a SentencePiece tokenizer's own.
    fn normalizers(&mut self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for step in steps(&self.json["normalizer"], "normalizers") {
            let spaces = step["pattern"]["String"] == " " && step["content"] == "▁" || step["prepend"] == "▁";
            match kind(step) {
                name if UNICODE.contains(&name) => found.push(name.to_owned()),
                "Prepend" | "Replace" if spaces && !self.byte_level => {}
                other => {
                    let what = format!("its normalizer has the step {other}, which GGUF runtimes do not have");
                    return Err(unsupported(&what));
                }
            }
        }
        if !found.is_empty() {
            self.lost.push(format!(
                "llama.cpp does not normalise text ({}): accents in two characters, ligatures, full-width letters and the like become other tokens than in training; normalise text before it goes in",
                found.join(", ")
            ));
        }
        Ok(found)
    }

    fn byte_level(&mut self, normalizers: &[String]) -> Result<Pairs> {
        let normalizers: Vec<&str> = normalizers.iter().map(String::as_str).collect();
        let ignore_merges = self.json["model"]["ignore_merges"] == true;
        let cutting = cutting(&normalizers, &self.json["pre_tokenizer"], ignore_merges).ok_or_else(|| {
            let whole = if ignore_merges { ", and keeps words that are tokens whole (`ignore_merges`)" } else { "" };
            unsupported(&format!("no GGUF runtime knows how it cuts text into words (`pre_tokenizer`){whole}"))
        })?;
        self.lost.extend(cutting.differs.map(str::to_owned));
        let merges = self.merges()?.into_iter().map(|(l, r)| format!("{l} {r}")).collect();
        Ok(vec![
            pair("model", Value::Text("gpt2".to_owned())),
            pair("pre", Value::Text(cutting.name.to_owned())),
            pair("merges", Value::Texts(merges)),
        ])
    }

    fn sentencepiece(&mut self) -> Result<Pairs> {
        let bytes = self.tokens.values().filter(|t| t.1 == BYTE).count();
        bail_if(self.json["model"]["byte_fallback"] != true || bytes < 256, || {
            unsupported("it is neither byte-level nor falls back to bytes")
        })?;
        let mut prefix = steps(&self.json["normalizer"], "normalizers").any(|s| s["type"] == "Prepend");
        for step in steps(&self.json["pre_tokenizer"].clone(), "pretokenizers") {
            prefix |= self.metaspace(step)?;
        }
        self.merged_otherwise()?;
        let mut out =
            vec![pair("model", Value::Text("llama".to_owned())), pair("add_space_prefix", Value::Bool(prefix))];
        let unknown = self.tokens.iter().find(|(_, t)| t.1 == UNKNOWN).map(|(id, _)| *id as u32);
        out.extend(unknown.map(|id| pair("unknown_token_id", Value::U32(id))));
        Ok(out)
    }

    /// Whether a pre-tokenizer puts a space in front; a fault if it does more than that.
    fn metaspace(&mut self, step: &Json) -> Result<bool> {
        let replacement = step["replacement"].as_str().unwrap_or("▁");
        bail_if(kind(step) != "Metaspace" || replacement != "▁", || {
            unsupported(&format!("its pre-tokenizer has the step {}, which GGUF runtimes do not have", kind(step)))
        })?;
        let inner = |t: &(String, usize)| t.1 == NORMAL && t.0.chars().skip(1).any(|c| c == '▁');
        let across = self.tokens.values().find(|t| inner(t)).map(|t| t.0.clone());
        bail_if(step["split"] != false && across.is_some(), || {
            let token = across.unwrap_or_default();
            unsupported(&format!("it cuts text at spaces (`split`), so that llama.cpp alone would make {token:?}"))
        })?;
        // Files of before the scheme have a flag.
        let scheme = if step["add_prefix_space"] == false { "never" } else { "always" };
        let scheme = step["prepend_scheme"].as_str().unwrap_or(scheme);
        if scheme != "never" {
            self.lost.push("llama.cpp puts a space before a text that begins with one, too".to_owned());
        }
        if scheme == "first" {
            self.lost.push("llama.cpp puts a space before the text after each special token, too".to_owned());
        }
        Ok(scheme != "never")
    }

    /// llama.cpp merges any two pieces that make a third; a tokenizer merges those that it lists.
    fn merged_otherwise(&mut self) -> Result<()> {
        let listed: HashSet<(&str, &str)> = self.merges()?.into_iter().collect();
        let pieces: HashSet<&str> = self.tokens.values().filter(|t| t.1 == NORMAL).map(|t| t.0.as_str()).collect();
        let cuts = |piece: &'_ &str| {
            let cut = |(at, _)| piece.split_at(at);
            let known = |c: &(&str, &str)| pieces.contains(c.0) && pieces.contains(c.1);
            piece.char_indices().skip(1).map(cut).filter(known).filter(|c| !listed.contains(c)).count()
        };
        let (unlisted, listed): (usize, usize) = (pieces.iter().map(cuts).sum(), listed.len());
        if unlisted > 0 {
            self.lost.push(format!(
                "llama.cpp merges any two pieces that make a third, {unlisted} ways more than the {listed} that the tokenizer lists: some words may become other tokens"
            ));
        }
        Ok(())
    }

    /// Added tokens that take the spaces beside them along do so in no GGUF runtime.
    fn strips(&mut self) {
        let takes = |t: &&Json| ["lstrip", "rstrip", "single_word"].iter().any(|key| t[key] == true);
        let names = self.json["added_tokens"].as_array().into_iter().flatten().filter(takes);
        let names: Vec<&str> = names.filter_map(|t| t["content"].as_str()).collect();
        if let Some(first) = names.first() {
            let more = if names.len() > 1 { format!(" and {} more tokens", names.len() - 1) } else { String::new() };
            self.lost
                .push(format!("llama.cpp keeps the spaces beside `{first}`{more}, which the tokenizer takes along"));
        }
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

    /// Whether the post-processor puts a special token before a text, and after it.
    fn ends(&self) -> [bool; 2] {
        let single = steps(&self.json["post_processor"], "processors").find_map(|p| p["single"].as_array());
        let special = |step: Option<&Json>| step.is_some_and(|step| step.get("SpecialToken").is_some());
        single.map_or([false; 2], |steps| [special(steps.first()), special(steps.last())])
    }
}

/// Tokens by id, and each one's type.
fn tokens(json: &Json) -> Result<BTreeMap<usize, (String, usize)>> {
    let vocab = json["model"]["vocab"].as_object().ok_or_else(|| unsupported("it has no vocabulary"))?;
    let id = |v: &Json| v.as_u64().map(|id| id as usize).ok_or_else(|| unsupported("an id is not a number"));
    let mut tokens = BTreeMap::new();
    for (token, value) in vocab {
        let byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        tokens.insert(id(value)?, (token.clone(), if byte { BYTE } else { NORMAL }));
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let text = added["content"].as_str().ok_or_else(|| unsupported("an added token has no content"))?;
        let kind = match json["model"]["unk_token"].as_str() {
            Some(unknown) if unknown == text => UNKNOWN,
            _ if added["special"] == true => CONTROL,
            _ => USER_DEFINED,
        };
        tokens.insert(id(&added["id"])?, (text.to_owned(), kind));
    }
    let mut seen = HashSet::new();
    let twice = tokens.values().find(|t| !seen.insert(t.0.as_str())).map(|t| t.0.clone());
    bail_if(twice.is_some(), || unsupported(&format!("{:?} is two tokens", twice.unwrap_or_default())))?;
    Ok(tokens)
}

#[cfg(test)]
mod tests;
