//! `source.text`: a text file, tokenised with the model's tokenizer and cut into sequences.

use std::path::Path;

use oops_artifact::{Kind, TokenSet, TokensInfo};
use oops_core::{Fault, Result, Rng, bail_if};
use oops_model::Checkpoint;
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage, TokensFacts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::read;

/// How sequences are cut from documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Packing {
    /// One sequence per document, whole.
    Documents,
    /// Documents one after another, cut into equal sequences from the start; the tail is dropped.
    Packed,
    /// Documents one after another; sequences start at random tokens (seeded).
    Random,
}

/// Parameters of [`SourceText`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A `.txt`, `.jsonl` or `.parquet` file; relative to the pipeline file.
    path: String,
    /// JSON key or Parquet column that holds the text.
    #[serde(default = "text_field")]
    text_field: String,
    /// Number of sequences; without it, as many as the text gives.
    #[serde(default)]
    sequences: Option<usize>,
    /// Tokens per sequence, BOS included; needed unless packing is `documents`.
    #[serde(default)]
    sequence_tokens: Option<usize>,
    /// `documents`, `packed` or `random`; default: `random` with `sequences` and `sequence_tokens`, `packed` with
    /// `sequence_tokens` alone, else `documents`.
    #[serde(default)]
    packing: Option<Packing>,
    /// Start every sequence with the tokenizer's BOS token.
    #[serde(default)]
    bos: bool,
}

fn text_field() -> String {
    "text".to_owned()
}

impl Params {
    fn packing(&self) -> Packing {
        self.packing.unwrap_or(match (self.sequences, self.sequence_tokens) {
            (Some(_), Some(_)) => Packing::Random,
            (None, Some(_)) => Packing::Packed,
            _ => Packing::Documents,
        })
    }
}

/// A token set.
pub struct SourceText;

impl Stage for SourceText {
    type Params = Params;
    const NAME: &'static str = "source.text";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "text, tokenised with the model's tokenizer and cut into sequences";
    const INPUTS: &'static [Port] = &[Port::one("model", Kind::Model)];
    const OUTPUT: Kind = Kind::Tokens;
    const SEEDED: bool = true;
    const UNKEYED: &'static [&'static str] = &["path"];

    fn sources(params: &Params, base: &Path) -> Result<Vec<Source>> {
        let path = base.join(&params.path);
        bail_if(!path.is_file(), || {
            Fault::data("no such file").at(path.display()).help("paths are relative to the pipeline file")
        })?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(vec![Source { name, path }])
    }

    fn check(params: &Params, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        bail_if(params.packing() != Packing::Documents && params.sequence_tokens.is_none(), || {
            Fault::config("`packed` and `random` sequences need `sequence_tokens`")
        })?;
        bail_if(params.sequence_tokens.is_some_and(|t| t < 2) || params.sequences == Some(0), || {
            Fault::config("`sequences` must be at least 1 and `sequence_tokens` at least 2")
        })?;
        bail_if(params.packing() == Packing::Random && params.sequences.is_none(), || {
            Fault::config("`random` sequences need `sequences`")
        })?;
        let shape = params.sequences.zip(params.sequence_tokens);
        let tokens = shape.map(|(sequences, sequence_tokens)| TokensFacts { sequences, sequence_tokens });
        Ok(Facts { tokens, ..Facts::default() })
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let checkpoint = Checkpoint::open(&inputs.one("model")?.paths)?;
        let tokenizer = checkpoint.tokenizer()?;
        let source = inputs.sources.first().ok_or_else(|| Fault::internal("no source file"))?;
        let docs = read::documents(&source.path, &source.name, &params.text_field)?;
        cx.progress.begin(docs.len() as u64, "documents");
        let encode = |d: &String| {
            cx.check_cancelled()?;
            cx.progress.advance(1);
            tokenizer.encode(d)
        };
        let docs: Vec<Vec<u32>> = docs.iter().map(encode).collect::<Result<_>>()?;
        let bos = params.bos.then(|| tokenizer.bos().ok_or_else(|| no_bos().at(&source.name))).transpose()?;
        let (offsets, sequences) = cut(params, &docs, bos, cx.seed).map_err(|f| f.at(source.path.display()))?;
        let info = TokensInfo {
            text: source.name.clone(),
            text_digest: source.entry.digest,
            documents: docs.len(),
            text_tokens: docs.iter().map(Vec::len).sum(),
            bos: params.bos,
            packing: format!("{:?}", params.packing()).to_lowercase(),
            sequences: sequences.len(),
            tokens: sequences.iter().map(Vec::len).sum(),
            vocab: tokenizer.vocab_size(),
        };
        let set = TokenSet { info, sequences, offsets };
        set.check_vocab(checkpoint.config().dims.vocab)?;
        set.write(&cx.work)
    }
}

fn no_bos() -> Fault {
    Fault::config("`bos: true`, but the model names no BOS token").help("set `bos: false`")
}

/// Offsets and sequences.
type Cut = (Vec<u64>, Vec<Vec<u32>>);

fn cut(params: &Params, docs: &[Vec<u32>], bos: Option<u32>, seed: u64) -> Result<Cut> {
    let starts: Vec<u64> = docs
        .iter()
        .scan(0, |at, d| {
            let start = *at;
            *at += d.len() as u64;
            Some(start)
        })
        .collect();
    let with_bos = |tokens: &[u32]| bos.iter().copied().chain(tokens.iter().copied()).collect::<Vec<u32>>();
    if params.packing() == Packing::Documents {
        let longest = params.sequence_tokens.unwrap_or(usize::MAX) - bos.iter().len();
        let kept = starts.iter().zip(docs).filter(|(_, d)| !d.is_empty()).take(params.sequences.unwrap_or(usize::MAX));
        return Ok(kept.map(|(&s, d)| (s, with_bos(&d[..d.len().min(longest)]))).unzip());
    }
    let stream = docs.concat();
    let length = params.sequence_tokens.unwrap_or_default() - bos.iter().len();
    bail_if(stream.len() < length, || {
        Fault::data(format!("the text has {} tokens, less than one sequence of {length}", stream.len()))
            .help("use a longer text or a smaller `sequence_tokens`")
    })?;
    let starts: Vec<usize> = if params.packing() == Packing::Random {
        let mut rng = Rng::new(seed, "source.text");
        (0..params.sequences.unwrap_or_default()).map(|_| rng.below(stream.len() - length + 1)).collect()
    } else {
        let available = stream.len() / length;
        let wanted = params.sequences.unwrap_or(available);
        bail_if(wanted > available, || {
            Fault::data(format!("the text gives {available} sequences of {length} tokens, not {wanted}"))
                .help("use a longer text, fewer `sequences`, or `packing: random`")
        })?;
        (0..wanted).map(|i| i * length).collect()
    };
    Ok(starts.into_iter().map(|s| (s as u64, with_bos(&stream[s..s + length]))).unzip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(json: serde_json::Value) -> Params {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn packed_sequences_tile_the_text_and_drop_the_tail() {
        let p = params(serde_json::json!({"path": "t.txt", "sequence_tokens": 3, "bos": true}));
        let (offsets, sequences) = cut(&p, &[vec![1, 2, 3], vec![4, 5]], Some(9), 0).unwrap();
        assert_eq!((offsets, sequences), (vec![0, 2], vec![vec![9, 1, 2], vec![9, 3, 4]]));
        let p = params(serde_json::json!({"path": "t.txt", "sequence_tokens": 8}));
        assert!(cut(&p, &[vec![1, 2, 3]], None, 0).unwrap_err().what().contains("less than one sequence"));
    }

    #[test]
    fn random_sequences_follow_the_seed_and_stay_inside() {
        let p = params(serde_json::json!({"path": "t.txt", "sequence_tokens": 4, "sequences": 50}));
        let doc: Vec<u32> = (0..20).collect();
        let a = cut(&p, std::slice::from_ref(&doc), None, 1).unwrap();
        assert_eq!(a, cut(&p, std::slice::from_ref(&doc), None, 1).unwrap());
        assert_ne!(a, cut(&p, std::slice::from_ref(&doc), None, 2).unwrap());
        assert!(a.1.iter().zip(&a.0).all(|(s, &o)| s[0] as u64 == o && s.len() == 4));
        assert!(a.0.contains(&16), "the last start is reachable");
    }
}
