//! `source.mix`: one token set from several, sequence by sequence in turn, so that any prefix of it is as mixed as the whole.

use oops_artifact::{Kind, TokenSet, TokensInfo};
use oops_core::{Digest, Fault, Result, bail_if};
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
    const VERSION: u32 = 1;
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
        mix(&sets, params.sequences)?.write(&cx.work)
    }
}

/// The first sequence of every set, then the second of every set …; sets that have run out are passed over.
fn mix(sets: &[TokenSet], wanted: Option<usize>) -> Result<TokenSet> {
    let vocab = sets.first().map_or(0, |s| s.info.vocab);
    bail_if(sets.iter().any(|s| s.info.vocab != vocab), || {
        Fault::data("the token sets were made with tokenizers of different size")
            .help("connect the same model to every source.text")
    })?;
    let available: usize = sets.iter().map(|s| s.sequences.len()).sum();
    let wanted = wanted.unwrap_or(available);
    bail_if(wanted > available, || {
        Fault::data(format!("the token sets hold {available} sequences, not {wanted}"))
            .help("ask for fewer `sequences`, or for more of the sources")
    })?;
    let longest = sets.iter().map(|s| s.sequences.len()).max().unwrap_or(0);
    let turns = (0..longest).flat_map(|i| sets.iter().map(move |s| (s, i)));
    let taken = turns.filter(|(s, i)| *i < s.sequences.len()).take(wanted);
    let (sequences, offsets): (Vec<Vec<u32>>, Vec<u64>) =
        taken.map(|(s, i)| (s.sequences[i].clone(), s.offsets[i])).unzip();
    let all = |f: fn(&TokensInfo) -> &str| sets.iter().map(|s| f(&s.info)).collect::<Vec<_>>().join(" + ");
    let digests: String = sets.iter().map(|s| s.info.text_digest.to_string()).collect();
    let info = TokensInfo {
        text: all(|i| &i.text),
        text_digest: Digest::of(digests.as_bytes()),
        documents: sets.iter().map(|s| s.info.documents).sum(),
        text_tokens: sets.iter().map(|s| s.info.text_tokens).sum(),
        bos: sets.iter().all(|s| s.info.bos),
        packing: all(|i| &i.packing),
        sequences: sequences.len(),
        tokens: sequences.iter().map(Vec::len).sum(),
        vocab,
    };
    Ok(TokenSet { info, sequences, offsets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, sequences: &[u32]) -> TokenSet {
        let info = TokensInfo {
            text: text.into(),
            text_digest: Digest::of(text.as_bytes()),
            documents: 1,
            text_tokens: 10,
            bos: false,
            packing: "packed".into(),
            sequences: sequences.len(),
            tokens: sequences.len(),
            vocab: 50,
        };
        let offsets = (0..sequences.len() as u64).collect();
        TokenSet { info, sequences: sequences.iter().map(|&t| vec![t]).collect(), offsets }
    }

    #[test]
    fn sets_take_turns_until_they_run_out() {
        let sets = [set("a", &[1, 2, 3]), set("b", &[11])];
        let all = mix(&sets, None).unwrap();
        assert_eq!((all.sequences, all.offsets), (vec![vec![1], vec![11], vec![2], vec![3]], vec![0, 0, 1, 2]));
        let some = mix(&sets, Some(2)).unwrap();
        assert_eq!((some.info.text.as_str(), some.info.sequences, some.sequences[1][0]), ("a + b", 2, 11));
        assert!(mix(&sets, Some(5)).unwrap_err().what().contains("4 sequences"));
    }

    #[test]
    fn vocabularies_must_agree() {
        let mut other = set("b", &[1]);
        other.info.vocab = 51;
        assert!(mix(&[set("a", &[1]), other], None).is_err());
    }
}
