//! How byte-level tokenizers cut text into words before merging: what `tokenizer.ggml.pre` stands for.

use oops_core::{Fault, Result};
use serde_json::{Value, json};

/// A cut into words.
pub(super) struct Pre {
    name: &'static str,
    aliases: &'static [&'static str],
    /// Unicode normalisation before the cut.
    normalizer: Option<&'static str>,
    cuts: &'static [Cut],
    /// Whether GPT-2's own pattern cuts what is left.
    gpt2: bool,
    /// Whether a word that is a token stays whole whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether a BOS token is put in front by default.
    pub(super) adds_bos: bool,
}

/// A step of the cut; what it matches and what lies between matches become separate words.
enum Cut {
    Digit,
    Pattern(&'static str),
}

const PLAIN: Pre = Pre {
    name: "gpt-2",
    aliases: &["phi-2"],
    normalizer: None,
    cuts: &[],
    gpt2: true,
    ignore_merges: false,
    adds_bos: false,
};

const KNOWN: [Pre; 5] = [
    PLAIN,
    Pre { name: "smollm", aliases: &["starcoder"], cuts: &[Cut::Digit], ..PLAIN },
    Pre {
        name: "llama-bpe",
        aliases: &["llama3", "llama-v3"],
        cuts: &[Cut::Pattern(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ))],
        gpt2: false,
        ignore_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    Pre {
        name: "qwen2",
        normalizer: Some("NFC"),
        aliases: &[],
        cuts: &[Cut::Pattern(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ))],
        gpt2: false,
        ..PLAIN
    },
    // What GGUF runtimes do with files that were converted before the key existed.
    Pre {
        name: "default",
        aliases: &[],
        cuts: &[
            Cut::Pattern(r"[\p{P}\$\+<=>\^~\|]+"),
            Cut::Pattern(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"),
            Cut::Pattern(r"\p{N}+"),
            Cut::Pattern(r"[0-9][0-9][0-9]"),
        ],
        gpt2: false,
        ..PLAIN
    },
];

impl Pre {
    /// The cut with this name.
    pub(super) fn find(name: &str) -> Result<&'static Self> {
        KNOWN.iter().find(|p| p.name == name || p.aliases.contains(&name)).ok_or_else(|| {
            let names: Vec<&str> =
                KNOWN.iter().flat_map(|p| [p.name].into_iter().chain(p.aliases.iter().copied())).collect();
            Fault::data(format!("the pre-tokenizer `{name}` is not known"))
                .at("metadata `tokenizer.ggml.pre`")
                .help(format!("known are {}; or use the Hugging Face folder of the model", names.join(", ")))
        })
    }

    pub(super) fn normalizer(&self) -> Value {
        self.normalizer.map_or(Value::Null, |n| json!({ "type": n }))
    }

    pub(super) fn pre_tokenizer(&self) -> Value {
        let cut = |c: &Cut| match c {
            Cut::Digit => json!({ "type": "Digits", "individual_digits": true }),
            Cut::Pattern(p) => {
                json!({ "type": "Split", "pattern": { "Regex": p }, "behavior": "Isolated", "invert": false })
            }
        };
        let bytes =
            json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": self.gpt2 });
        let steps: Vec<Value> = self.cuts.iter().map(cut).chain([bytes]).collect();
        json!({ "type": "Sequence", "pretokenizers": steps })
    }
}

/// The name under which GGUF runtimes know how a `tokenizer.json` with these two components cuts text; `None` if they
/// know no such cut.
pub(in crate::gguf) fn cut_name(normalizer: &Value, pre_tokenizer: &Value) -> Option<&'static str> {
    let cuts = described(pre_tokenizer)?;
    let same = |p: &&Pre| described(&p.pre_tokenizer()) == Some(cuts.clone()) && p.normalizer() == *normalizer;
    KNOWN.iter().find(same).map(|p| p.name)
}

/// The steps of a pre-tokenizer, defaults filled; `None` for a step that no known cut has.
fn described(pre_tokenizer: &Value) -> Option<Vec<String>> {
    let steps = pre_tokenizer.get("pretokenizers").and_then(Value::as_array);
    let step = |s: &Value| match s["type"].as_str()? {
        "Digits" if s["individual_digits"] == true => Some("digit".to_owned()),
        "Split" if s["behavior"] == "Isolated" && s["invert"] != true => {
            Some(format!("split {}", s["pattern"]["Regex"].as_str()?))
        }
        "ByteLevel" if s["add_prefix_space"] == false => Some(format!("bytes {}", s["use_regex"] != false)),
        _ => None,
    };
    steps.map_or(std::slice::from_ref(pre_tokenizer), Vec::as_slice).iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, pre_tokenizers::PreTokenizerWrapper,
    };

    use super::*;

    fn words(pre: &str, text: &str) -> Vec<String> {
        let pre: PreTokenizerWrapper = serde_json::from_value(Pre::find(pre).unwrap().pre_tokenizer()).unwrap();
        let mut cut = PreTokenizedString::from(text);
        pre.pre_tokenize(&mut cut).unwrap();
        let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(w, _, _)| w.replace('Ġ', "_").replace('Ċ', "/")).collect()
    }

    #[test]
    fn every_cut_is_known_again_by_what_it_does() {
        for p in &KNOWN {
            assert_eq!(cut_name(&p.normalizer(), &p.pre_tokenizer()), Some(p.name));
        }
        let plain = json!({ "type": "ByteLevel", "add_prefix_space": false });
        assert_eq!(cut_name(&Value::Null, &plain), Some("gpt-2"));
        assert_eq!(cut_name(&json!({ "type": "NFKC" }), &plain), None);
        assert_eq!(cut_name(&Value::Null, &json!({ "type": "Whitespace" })), None);
    }

    #[test]
    fn digits_and_spaces_are_cut_as_each_family_does() {
        let text = "It's 12345  ok\n\n x";
        assert_eq!(words("gpt-2", text), ["It", "'s", "_12345", "_", "_ok", "//", "_x"]);
        assert_eq!(words("smollm", text), ["It", "'s", "_", "1", "2", "3", "4", "5", "_", "_ok", "//", "_x"]);
        assert_eq!(words("llama-bpe", text), ["It", "'s", "_", "123", "45", "_", "_ok", "//", "_x"]);
        assert_eq!(words("qwen2", text), ["It", "'s", "_", "1", "2", "3", "4", "5", "_", "_ok", "//", "_x"]);
        assert_eq!(words("default", text), ["It", "'", "s", "_", "123", "45", "_", "_ok", "//", "_x"]);
    }
}
