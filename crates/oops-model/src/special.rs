//! Special tokens: each file for what it is the authority on.
//!
//! The tokenizer (tokenizer_config.json, else special_tokens_map.json) says what begins a text and how the special tokens
//! are spelled. generation_config.json says what ends one; config.json is asked where a model has no such file, or where
//! that names none. config.json's own BOS is often another (DeepSeek-R1-Distill-Qwen), and its EOS often one of several
//! (Llama 3 Instruct, Qwen2.5 Instruct).
//! *Source.* transformers 5.24: `TokenizersBackend.update_post_processor`, `GenerationMixin._prepare_generation_config`.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use oops_core::Result;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{ModelConfig, hf::json as files};

/// Names of special tokens, as tokenizer_config.json has them.
const NAMES: [&str; 8] =
    ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token", "eot_token"];

/// What the files beside the weights say of special tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Special {
    /// Spellings by their names (`bos_token`, …).
    pub(crate) texts: BTreeMap<String, String>,
    /// Whether a text begins with BOS, and ends with EOS; `None` leaves it to the tokenizer.json.
    pub(crate) adds: [Option<bool>; 2],
    /// Whether the tokenizer's own files were there: then a name that they lack has no token.
    pub(crate) stated: bool,
}

impl Special {
    /// Reads tokenizer_config.json and special_tokens_map.json of a Hugging Face folder.
    pub(crate) fn of_folder(files: &BTreeMap<String, PathBuf>) -> Result<Self> {
        let read = |name: &str| files.get(name).map(|path| files::read_object(path)).transpose();
        let (config, map) = (read("tokenizer_config.json")?, read("special_tokens_map.json")?);
        let mut out = Self { stated: config.is_some() || map.is_some(), ..Self::default() };
        for object in [&map, &config].into_iter().flatten() {
            out.take(object);
        }
        if let Some(config) = &config {
            out.adds = ["add_bos_token", "add_eos_token"].map(|key| config.get(key).and_then(Value::as_bool));
        }
        Ok(out)
    }

    /// Takes the spellings of `object` over those that are there; `null` takes one away.
    fn take(&mut self, object: &Map<String, Value>) {
        for name in NAMES {
            let Some(value) = object.get(name) else { continue };
            match value.as_str().or_else(|| value["content"].as_str()) {
                Some(text) => self.texts.insert(name.to_owned(), text.to_owned()),
                None => self.texts.remove(name),
            };
        }
    }

    /// The spelling of `name`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// `config` with the tokens that the tokenizer is the authority on: its BOS in place of the model's, its EOS first
    /// among those that end a text.
    pub(crate) fn settle(&self, mut config: ModelConfig, tokenizer_json: Option<&str>) -> ModelConfig {
        let ids = tokenizer_json.map(|json| ids(json, &self.texts)).unwrap_or_default();
        let id = |name: &str| ids.get(self.text(name)?).copied();
        config.bos = id("bos_token").or(config.bos);
        match id("eos_token") {
            Some(eos) if config.eos.is_empty() => config.eos.push(eos),
            Some(eos) => config.eos.sort_by_key(|&e| e != eos),
            None => {}
        }
        let mut seen = Vec::new();
        config.eos.retain(|e| {
            !seen.contains(e) && {
                seen.push(*e);
                true
            }
        });
        config
    }

    /// The spellings of a model whose file has ids only (GGUF).
    pub(crate) fn of_ids(
        config: &ModelConfig,
        adds: [Option<bool>; 2],
        spelled: &dyn Fn(u32) -> Option<String>,
    ) -> Self {
        let named = [("bos_token", config.bos), ("eos_token", config.eos.first().copied())];
        let texts = named.into_iter().filter_map(|(name, id)| Some((name.to_owned(), spelled(id?)?))).collect();
        Self { texts, adds, stated: true }
    }

    /// A tokenizer_config.json that says the same.
    pub(crate) fn tokenizer_config(&self, longest: usize) -> Value {
        let mut out = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "model_max_length": longest,
        });
        for (name, text) in &self.texts {
            out[name] = json!(text);
        }
        for (key, adds) in ["add_bos_token", "add_eos_token"].into_iter().zip(self.adds) {
            if let Some(adds) = adds {
                out[key] = json!(adds);
            }
        }
        out
    }
}

/// generation_config.json of a model whose source has none.
pub(crate) fn generation_config(config: &ModelConfig) -> Value {
    json!({ "bos_token_id": config.bos, "eos_token_id": config.eos })
}

/// Ids of `wanted` tokens in the text of a tokenizer.json.
fn ids(tokenizer_json: &str, wanted: &BTreeMap<String, String>) -> HashMap<String, u32> {
    #[derive(Deserialize)]
    struct Added {
        id: u32,
        content: String,
    }
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        added_tokens: Vec<Added>,
    }
    #[derive(Deserialize)]
    struct Model {
        vocab: HashMap<String, u32>,
    }
    #[derive(Deserialize)]
    struct Learned {
        model: Model,
    }
    let added = serde_json::from_str::<Document>(tokenizer_json).map(|d| d.added_tokens).unwrap_or_default();
    let mut found: HashMap<String, u32> = added.into_iter().map(|t| (t.content, t.id)).collect();
    // Hardly any tokenizer leaves a special token among the learned ones: the vocabulary is read only then.
    if wanted.values().any(|text| !found.contains_key(text)) {
        let learned = serde_json::from_str::<Learned>(tokenizer_json).map(|l| l.model.vocab).unwrap_or_default();
        found.extend(wanted.values().filter_map(|text| Some((text.clone(), *learned.get(text)?))));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use oops_core::BlockDims;

    use super::*;
    use crate::{Family, fixtures::config};

    const TOKENIZER: &str = r#"{
        "added_tokens": [{ "id": 5, "content": "<b>" }, { "id": 6, "content": "<e>" }],
        "model": { "type": "BPE", "vocab": { "a": 0, "</s>": 2 }, "merges": [] }
    }"#;

    fn model(eos: &[u32]) -> ModelConfig {
        let dims = BlockDims { query_heads: 2, kv_heads: 1, head_dim: 4, ffn: 6 };
        ModelConfig { bos: Some(1), eos: eos.to_vec(), ..config(Family::Llama, 8, vec![dims]) }
    }

    fn of(tokenizer_config: &str) -> Special {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer_config.json");
        fs::write(&path, tokenizer_config).unwrap();
        Special::of_folder(&BTreeMap::from([("tokenizer_config.json".to_owned(), path)])).unwrap()
    }

    #[test]
    fn the_tokenizer_says_what_begins_a_text() {
        let special = of(r#"{ "bos_token": { "content": "<b>" }, "eos_token": "<e>", "add_eos_token": true }"#);
        let settled = special.settle(model(&[2, 6, 2]), Some(TOKENIZER));
        assert_eq!((settled.bos, settled.eos), (Some(5), vec![6, 2]));
        assert_eq!((special.text("bos_token"), special.adds), (Some("<b>"), [None, Some(true)]));
    }

    #[test]
    fn a_learned_token_can_be_special_and_an_unknown_one_changes_nothing() {
        let special = of(r#"{ "bos_token": "<nowhere>", "eos_token": "</s>" }"#);
        let settled = special.settle(model(&[6, 2]), Some(TOKENIZER));
        assert_eq!((settled.bos, settled.eos), (Some(1), vec![2, 6]));
        assert_eq!(special.settle(model(&[]), Some(TOKENIZER)).eos, [2]);
        let none = of(r#"{ "bos_token": null }"#);
        assert_eq!((none.settle(model(&[6]), Some(TOKENIZER)).bos, none.text("bos_token")), (Some(1), None));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let special = of(r#"{ "bos_token": "<b>", "eos_token": "<e>", "pad_token": "<e>", "add_bos_token": true }"#);
        assert_eq!(of(&special.tokenizer_config(512).to_string()), special);
    }
}
