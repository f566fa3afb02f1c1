//! The comparison of an export with the model that it was made from, on fixed prompts.
//!
//! A prompt is prefilled, then three tokens are decoded greedily; both programs see the same tokens (those of the model
//! that went in) and must give the same logits at every position, within what the stored precision allows.

use std::ops::Range;

use oops_core::{Fault, Result, Rng, bail_if};
use oops_model::{Checkpoint, Decoder, likeliest, values};
use serde::{Deserialize, Serialize};

/// Texts that every tokenizer knows; where there is none, random tokens take their place.
const TEXTS: [&str; 2] = ["The capital of France is", "Once upon a time, there was a little girl who"];
/// Tokens of the random prompt.
const RANDOM: usize = 16;
/// Tokens decoded after each prompt.
const STEPS: usize = 3;

/// Sequences, and the logits of the model that went in at every position.
pub(crate) struct Proof {
    /// Prompts, each with the tokens decoded after it.
    pub(crate) sequences: Vec<Vec<u32>>,
    /// Tokens of each sequence that are the prompt.
    pub(crate) prompts: Vec<usize>,
    /// `[Σ lengths, vocab]`, sequence after sequence.
    logits: Vec<f32>,
    vocab: usize,
}

/// What a comparison came to: `verify.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Comparison {
    /// Who computed the export's logits.
    pub(crate) runtime: String,
    /// Compared sequences (prompt and decoded tokens).
    pub(crate) sequences: Vec<Vec<u32>>,
    /// Tokens of each that are the prompt.
    pub(crate) prompt_tokens: Vec<usize>,
    /// Largest difference of a logit. This and the other figures are absent where what computed the export is not
    /// reproducible to the byte: then they are kept with the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_abs_difference: Option<f64>,
    /// Square root of the mean squared difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rms_difference: Option<f64>,
    /// Largest magnitude of a logit, to compare with.
    pub(crate) max_abs_logit: f64,
    /// Fraction of positions whose most likely token is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) same_token: Option<f64>,
    /// What the largest difference may be; absent for quantised weights, whose loss is the format's.
    pub(crate) tolerance: Option<f64>,
}

impl Proof {
    /// Runs the model on the prompts.
    pub(crate) fn of(model: &Checkpoint) -> Result<Self> {
        let vocab = model.config().dims.vocab;
        let mut sequences = prompts(model);
        let prompts: Vec<usize> = sequences.iter().map(Vec::len).collect();
        for _ in 0..STEPS {
            let logits = logits(model, &sequences)?;
            let mut end = 0;
            for s in &mut sequences {
                end += s.len();
                s.push(likeliest(&logits[(end - 1) * vocab..end * vocab]));
            }
        }
        let logits = logits(model, &sequences)?;
        Ok(Self { sequences, prompts, logits, vocab })
    }

    /// What a program that keeps a cache is fed of a sequence, call by call: the prompt at once, then token by token.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&[u32], impl Iterator<Item = Range<usize>> + use<>)> {
        let calls = |(sequence, &prompt): (&'_ Vec<u32>, &usize)| {
            let starts = std::iter::once(0).chain(prompt..sequence.len());
            starts.zip(prompt..=sequence.len()).map(|(start, end)| start..end)
        };
        self.sequences.iter().zip(&self.prompts).map(move |pair| (pair.0.as_slice(), calls(pair)))
    }

    /// Logits of an export that our own readers open.
    pub(crate) fn run(&self, model: &Checkpoint) -> Result<Vec<f32>> {
        logits(model, &self.sequences)
    }

    /// Compares logits `[Σ lengths, vocab]` of an export; a fault if one is off by more than `tolerance` times the largest
    /// magnitude of a logit.
    pub(crate) fn compare(&self, runtime: &str, other: &[f32], tolerance: Option<f64>) -> Result<Comparison> {
        bail_if(other.len() != self.logits.len() || other.iter().any(|v| !v.is_finite()), || {
            Fault::numerical(format!("the export gives {} finite logits of {}", finite(other), self.logits.len()))
        })?;
        let differences = || self.logits.iter().zip(other).map(|(a, b)| f64::from(a - b).abs());
        let largest = self.logits.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max);
        let (tolerance, largest_difference) = (tolerance.map(|t| t * largest), differences().fold(0.0, f64::max));
        let rows = || self.logits.chunks_exact(self.vocab).zip(other.chunks_exact(self.vocab));
        let same = rows().filter(|(a, b)| likeliest(a) == likeliest(b)).count();
        let out = Comparison {
            runtime: runtime.to_owned(),
            sequences: self.sequences.clone(),
            prompt_tokens: self.prompts.clone(),
            max_abs_difference: Some(largest_difference),
            rms_difference: Some((differences().map(|d| d * d).sum::<f64>() / self.logits.len().max(1) as f64).sqrt()),
            max_abs_logit: largest,
            same_token: Some(same as f64 / rows().len().max(1) as f64),
            tolerance,
        };
        match tolerance.filter(|t| largest_difference > *t) {
            None => Ok(out),
            Some(t) => Err(Fault::numerical(format!(
                "the export's logits differ from the model's by up to {largest_difference:.2e}; {t:.2e} is allowed"
            ))
            .help("this is a bug of the exporter: please report it with the pipeline file")),
        }
    }
}

impl Comparison {
    /// The same without the figures that differ from machine to machine.
    pub(crate) fn without_figures(self) -> Self {
        Self { max_abs_difference: None, rms_difference: None, same_token: None, ..self }
    }
}

fn finite(values: &[f32]) -> usize {
    values.iter().filter(|v| v.is_finite()).count()
}

fn prompts(model: &Checkpoint) -> Vec<Vec<u32>> {
    let config = model.config();
    let most = config.max_position.saturating_sub(STEPS).max(1);
    let mut rng = Rng::new(0, "oops-export/prompts");
    let mut random = |n: usize| (0..n).map(|_| rng.below(config.dims.vocab) as u32).collect::<Vec<_>>();
    let tokenizer = model.tokenizer().ok();
    let written = |text: &str| tokenizer.as_ref().and_then(|t| t.encode(text).ok()).filter(|ids| !ids.is_empty());
    let mut out: Vec<Vec<u32>> = TEXTS.iter().map(|t| written(t).unwrap_or_else(|| random(RANDOM / 2))).collect();
    out.push(random(RANDOM));
    out.iter_mut().for_each(|s| s.truncate(most));
    out
}

/// Logits of packed sequences `[Σ lengths, vocab]`, one block in memory.
fn logits(model: &Checkpoint, sequences: &[Vec<u32>]) -> Result<Vec<f32>> {
    let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
    let decoder = Decoder::new(model.config(), lengths.iter().copied().max().unwrap_or(0))?;
    let mut x = decoder.embed(&model.embedding()?, &sequences.concat())?;
    for l in 0..model.config().dims.blocks.len() {
        x = decoder.block(&model.block(l)?, &x, &lengths, &mut |_, _| Ok(()))?;
    }
    values(&decoder.logits(&model.final_norm()?, &model.head()?, &x)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> Proof {
        Proof { sequences: vec![vec![0, 1]], prompts: vec![1], logits: vec![0.0, 2.0, 1.0, -4.0], vocab: 2 }
    }

    #[test]
    fn a_comparison_counts_what_it_says() {
        let c = proof().compare("other", &[0.0, 2.0, 1.0, 2.0], None).unwrap();
        assert_eq!((c.max_abs_difference, c.rms_difference), (Some(6.0), Some(3.0)));
        assert_eq!((c.max_abs_logit, c.same_token), (4.0, Some(0.5)));
        let bare = serde_json::to_string(&c.without_figures()).unwrap();
        assert!(!bare.contains("difference") && !bare.contains("same_token"), "{bare}");
    }

    #[test]
    fn what_is_too_far_off_or_not_finite_is_refused() {
        assert!(proof().compare("other", &[0.0, 2.0, 1.0, -4.03], Some(1e-2)).is_ok());
        let fault = proof().compare("other", &[0.0, 2.0, 1.0, -4.1], Some(1e-2)).unwrap_err();
        assert!(fault.what().contains("1.00e-1; 4.00e-2 is allowed"), "{fault}");
        assert!(proof().compare("other", &[0.0, f32::NAN, 1.0, -4.0], None).is_err());
        assert!(proof().compare("other", &[0.0], None).is_err());
    }

    #[test]
    fn the_first_of_equals_is_the_likeliest() {
        assert_eq!(likeliest(&[1.0, 3.0, 3.0, 2.0]), 1);
    }
}
