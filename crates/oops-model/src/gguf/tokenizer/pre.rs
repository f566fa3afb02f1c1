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
    /// What GGUF runtimes do otherwise than the tokenizer that the name stands for.
    differs: Option<&'static str>,
}

/// A step of the cut; what it matches and what lies between matches become separate words.
enum Cut {
    Digit,
    Pattern(&'static str),
}

const PLAIN: Pre = Pre {
    name: "gpt-2",
    aliases: &[
        "phi-2",
        "mpt",
        "olmo",
        "jais",
        "trillion",
        "granite-docling",
        "exaone4",
        "gigachat",
        "mellum",
        "a.x-4.0",
        "modern-bert",
        "jina-es",
        "jina-de",
        "jina-v2-es",
        "jina-v2-de",
    ],
    normalizer: None,
    cuts: &[],
    gpt2: true,
    ignore_merges: false,
    adds_bos: false,
    differs: None,
};

/// The cut of GPT-4 with numbers of up to three digits.
const LLAMA3: &[Cut] = &[Cut::Pattern(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
))];

/// The same with single digits.
const QWEN2: &[Cut] = &[Cut::Pattern(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
))];

/// *Source.* Names and what they share: llama.cpp, `llama_vocab::impl::load` and `llm_tokenizer_bpe`.
const KNOWN: [Pre; 9] = [
    PLAIN,
    Pre {
        name: "smollm",
        aliases: &["starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        cuts: &[Cut::Digit],
        ..PLAIN
    },
    Pre {
        name: "llama-bpe",
        aliases: &["llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        cuts: LLAMA3,
        gpt2: false,
        ignore_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    Pre { name: "smaug-bpe", aliases: &["dbrx", "glm4", "chatglm-bpe"], cuts: LLAMA3, gpt2: false, ..PLAIN },
    Pre { name: "qwen2", normalizer: Some("NFC"), aliases: &["megrez"], cuts: QWEN2, gpt2: false, ..PLAIN },
    Pre {
        name: "deepseek-r1-qwen",
        aliases: &["kormo", "f2llmv2", "stablelm2", "hunyuan", "solar-open", "grok-2"],
        cuts: QWEN2,
        gpt2: false,
        ..PLAIN
    },
    Pre {
        name: "tekken",
        aliases: &[],
        cuts: &[Cut::Pattern(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ))],
        gpt2: false,
        ignore_merges: true,
        adds_bos: true,
        differs: Some(
            "llama.cpp tells capital from small letters only in ASCII where it cuts words: words in other alphabets, and accented ones, may become other tokens",
        ),
        ..PLAIN
    },
    Pre {
        name: "deepseek-coder",
        aliases: &[],
        cuts: &[
            Cut::Pattern(r"[\r\n]"),
            Cut::Pattern(r"\s?\p{L}+"),
            Cut::Pattern(r"\s?\p{P}+"),
            Cut::Pattern("[一-龥ࠀ-一가-퟿]+"),
            Cut::Digit,
        ],
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

/// How GGUF runtimes cut text as a tokenizer.json does.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gguf) struct Cutting {
    /// `tokenizer.ggml.pre`.
    pub(in crate::gguf) name: &'static str,
    /// What they do otherwise.
    pub(in crate::gguf) differs: Option<&'static str>,
}

/// The cut of a `tokenizer.json` with these components; `None` if GGUF runtimes know no such cut. They normalise nothing:
/// of names with one cut, that which stands for the normaliser comes first.
pub(in crate::gguf) fn cutting(normalizers: &[&str], pre_tokenizer: &Value, ignore_merges: bool) -> Option<Cutting> {
    let cuts = described(pre_tokenizer)?;
    let same = |p: &&Pre| described(&p.pre_tokenizer()).as_ref() == Some(&cuts) && p.ignore_merges == ignore_merges;
    let found = KNOWN.iter().filter(same).min_by_key(|p| p.normalizer.as_slice() != normalizers)?;
    Some(Cutting { name: found.name, differs: found.differs })
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
            let found = cutting(p.normalizer.as_slice(), &p.pre_tokenizer(), p.ignore_merges);
            assert_eq!(found, Some(Cutting { name: p.name, differs: p.differs }));
        }
        let name = |normalizers: &[&str], pre: &Value, ignore| cutting(normalizers, pre, ignore).map(|c| c.name);
        let plain = json!({ "type": "ByteLevel", "add_prefix_space": false });
        assert_eq!(name(&[], &plain, false), Some("gpt-2"));
        assert_eq!(name(&["NFKC"], &plain, false), Some("gpt-2"));
        assert_eq!(name(&[], &plain, true), None);
        assert_eq!(name(&[], &json!({ "type": "Whitespace" }), false), None);
    }

    #[test]
    fn every_alias_is_one_name_and_stands_for_one_cut() {
        let names: Vec<&str> =
            KNOWN.iter().flat_map(|p| [p.name].into_iter().chain(p.aliases.iter().copied())).collect();
        let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(words("deepseek-r1-qwen", "It's 123"), words("qwen2", "It's 123"));
        assert_eq!(words("falcon3", "It's 1234"), words("smaug-bpe", "It's 1234"));
        assert!(Pre::find("deepseek-r1-qwen").unwrap().normalizer().is_null());
    }

    #[test]
    fn digits_and_spaces_are_cut_as_each_family_does() {
        let text = "It's 12345  ok\n\n x";
        assert_eq!(words("gpt-2", text), ["It", "'s", "_12345", "_", "_ok", "//", "_x"]);
        assert_eq!(words("smollm", text), ["It", "'s", "_", "1", "2", "3", "4", "5", "_", "_ok", "//", "_x"]);
        assert_eq!(words("llama-bpe", text), ["It", "'s", "_", "123", "45", "_", "_ok", "//", "_x"]);
        assert_eq!(words("qwen2", text), ["It", "'s", "_", "1", "2", "3", "4", "5", "_", "_ok", "//", "_x"]);
        assert_eq!(words("tekken", text), ["It", "'s", "_", "1", "2", "3", "4", "5", "_", "_ok", "//", "_x"]);
        assert_eq!(words("tekken", "iPhone OK"), ["i", "Phone", "_OK"]);
        assert_eq!(
            words("deepseek-coder", text),
            ["It", "'", "s", "_", "1", "2", "3", "4", "5", "_", "_ok", "/", "/", "_x"]
        );
        assert_eq!(words("default", text), ["It", "'", "s", "_", "123", "45", "_", "_ok", "//", "_x"]);
    }
}
