//! `source.mix`: one token set from several, sequence by sequence in turn, so that any prefix of it is as mixed as the whole.

use std::collections::BTreeMap;

use oops_artifact::{Kind, TokenSet, TokensInfo};
use oops_core::{Fault, Result, bail_if};
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of [`SourceMix`].
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Number of sequences; without it, all of them.
    sequences: Option<usize>,
}

/// A mixed token set.
pub struct SourceMix;

impl Stage for SourceMix {
    type Params = Params;
    const NAME: &'static str = "source.mix";
    /// 2: file names are not kept; spellings of tokens must agree.
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "sequences of several token sets in turn";
    const INPUTS: &'static [Port] = &[Port::many("tokens", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Tokens;

    fn check(params: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        bail_if(params.sequences == Some(0), || Fault::config("`sequences` must be at least 1"))?;
        // Only where all inputs are alike is the shape of the mix known.
        let parts = inputs.0.get("tokens").map_or(&[][..], Vec::as_slice);
        let first = parts.first().and_then(|f| f.tokens);
        let alike = parts.iter().all(|f| f.tokens.map(|t| t.sequence_tokens) == first.map(|t| t.sequence_tokens));
        let total = parts.iter().map(|f| f.tokens.map_or(0, |t| t.sequences)).fold(0, usize::saturating_add);
        let sequences = params.sequences.unwrap_or(total);
        let tokens = first.filter(|_| alike).map(|t| oops_stage::TokensFacts { sequences, ..t });
        Ok(Facts { tokens, ..Facts::default() })
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let sets = inputs.many("tokens").iter().map(TokenSet::read).collect::<Result<Vec<_>>>()?;
        if sets.iter().any(|s| s.info.bos) && !sets.iter().all(|s| s.info.bos) {
            cx.warn("some of the token sets begin every sequence with BOS and others do not: set `bos` alike in all");
        }
        mix(&sets, params.sequences)?.write(&cx.work)
    }
}

/// The first sequence of every set, then the second of every set …; sets that have run out are passed over.
fn mix(sets: &[TokenSet], wanted: Option<usize>) -> Result<TokenSet> {
    let available: usize = sets.iter().map(|s| s.sequences.len()).sum();
    let wanted = wanted.unwrap_or(available);
    bail_if(wanted > available, || {
        Fault::data(format!("the token sets hold {available} sequences, not {wanted}"))
            .help("ask for fewer `sequences`, or for more of the sources")
    })?;
    let spellings = spellings(sets)?;
    let longest = sets.iter().map(|s| s.sequences.len()).max().unwrap_or(0);
    let turns = (0..longest).flat_map(|i| sets.iter().map(move |s| (s, i)));
    let taken = turns.filter(|(s, i)| *i < s.sequences.len()).take(wanted);
    let (sequences, offsets): (Vec<Vec<u32>>, Vec<u64>) =
        taken.map(|(s, i)| (s.sequences[i].clone(), s.offsets[i])).unzip();
    let info = info(sets, &sequences);
    let mut set = TokenSet { info, sequences, offsets, spellings };
    let ids = set.ids();
    set.spellings.retain(|id, _| ids.contains(id));
    Ok(set)
}

fn info(sets: &[TokenSet], sequences: &[Vec<u32>]) -> TokensInfo {
    let infos = || sets.iter().map(|s| &s.info);
    let separator = infos().next().and_then(|i| i.separator.clone());
    TokensInfo {
        texts: infos().flat_map(|i| i.texts.clone()).collect(),
        documents: infos().map(|i| i.documents).sum(),
        nulls: infos().map(|i| i.nulls).sum(),
        text_tokens: infos().map(|i| i.text_tokens).sum(),
        bos: infos().all(|i| i.bos),
        eos: infos().all(|i| i.eos),
        separator: separator.filter(|s| infos().all(|i| i.separator.as_ref() == Some(s))),
        packing: infos().map(|i| i.packing.as_str()).collect::<Vec<_>>().join(" + "),
        seed: infos().find_map(|i| i.seed),
        sequence_tokens: infos()
            .map(|i| i.sequence_tokens)
            .collect::<Option<Vec<_>>>()
            .and_then(|t| t.into_iter().max()),
        sequences: sequences.len(),
        tokens: sequences.iter().map(Vec::len).sum(),
        vocab: infos().map(|i| i.vocab).max().unwrap_or(0),
    }
}

/// Spellings of all sets, which must agree: the same id must be the same token everywhere.
fn spellings(sets: &[TokenSet]) -> Result<BTreeMap<u32, String>> {
    let mut all: BTreeMap<u32, String> = BTreeMap::new();
    let vocab = sets.first().map_or(0, |s| s.info.vocab);
    let fault = |what: &str| {
        Fault::data(format!("the token sets were made with different tokenizers: {what}"))
            .help("connect the same model to every source.text")
    };
    for set in sets {
        bail_if(set.info.vocab != vocab, || fault(&format!("one has {vocab} tokens, another {}", set.info.vocab)))?;
        for (&id, text) in &set.spellings {
            let known = all.entry(id).or_insert_with(|| text.clone());
            bail_if(*known != *text, || fault(&format!("token {id} is `{known}` in one, `{text}` in another")))?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use oops_core::Digest;

    use super::*;

    fn set(text: &str, sequences: &[u32]) -> TokenSet {
        let mut set = TokenSet::of(sequences.iter().map(|&t| vec![t]).collect(), 50);
        set.info.texts = vec![Digest::of(text.as_bytes())];
        set.offsets = (0..sequences.len() as u64).collect();
        set.spellings = sequences.iter().map(|&id| (id, format!("t{id}"))).collect();
        set
    }

    #[test]
    fn sets_take_turns_until_they_run_out() {
        let sets = [set("a", &[1, 2, 3]), set("b", &[11])];
        let all = mix(&sets, None).unwrap();
        assert_eq!((all.sequences, all.offsets), (vec![vec![1], vec![11], vec![2], vec![3]], vec![0, 0, 1, 2]));
        let some = mix(&sets, Some(2)).unwrap();
        assert_eq!((some.info.texts.len(), some.info.sequences, some.sequences[1][0]), (2, 2, 11));
        assert_eq!(some.spellings.into_keys().collect::<Vec<_>>(), [1, 11], "of what is there");
        assert!(mix(&sets, Some(5)).unwrap_err().what().contains("4 sequences"));
    }

    #[test]
    fn tokenizers_must_agree() {
        let mut other = set("b", &[1]);
        other.info.vocab = 51;
        assert!(mix(&[set("a", &[1]), other], None).is_err());
        let mut other = set("b", &[2, 1]);
        other.spellings.insert(1, "u1".to_owned());
        let fault = mix(&[set("a", &[1]), other], None).unwrap_err();
        assert!(fault.what().contains("token 1 is `t1` in one, `u1` in another"), "{fault}");
    }
}
