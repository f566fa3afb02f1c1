//! The comparison of an export with the model that it was made from, on fixed prompts ([`texts`]).
//!
//! A prompt is prefilled, then three tokens are decoded greedily; both programs see the same tokens (those of the model
//! that went in) and must give the same logits at every position, within what the stored precision allows. Weights that were
//! quantised are judged by what they are for: how well the text is predicted, and how often the same token comes first.

mod texts;

use std::ops::Range;

use oops_core::{Fault, Result, bail_if};
use oops_model::{Checkpoint, Decoder, Tokenizer, likeliest, values};
use serde::{Deserialize, Serialize};

use texts::Prompt;

/// Tokens decoded after each prompt.
const STEPS: usize = 3;

/// Sequences, and the logits of the model that went in at every position.
pub(crate) struct Proof {
    /// Prompts, each with the tokens decoded after it.
    pub(crate) sequences: Vec<Vec<u32>>,
    prompts: Vec<Prompt>,
    /// `[Σ lengths, vocab]`, sequence after sequence.
    logits: Vec<f32>,
    vocab: usize,
}

/// How far apart an export may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowed {
    /// A logit by this times the largest magnitude of a logit.
    Logits(f64),
    /// Quantised weights: the perplexity of the text by this factor, either way; and this fraction of positions must have
    /// the same most likely token.
    Text { perplexity: f64, same_token: f64 },
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
    /// The text of each prompt; null where it is part of one, or random.
    pub(crate) texts: Vec<Option<String>>,
    /// Texts of which the target makes other tokens, for the reasons in `notes`.
    pub(crate) other_tokens: Vec<String>,
    /// What the target does otherwise than the model with its tokenizer.
    pub(crate) notes: Vec<String>,
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
    /// Perplexity of the texts, in the model and in the export; absent without a tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) perplexity: Option<[f64; 2]>,
    /// What the largest difference may be; absent for quantised weights.
    pub(crate) tolerance: Option<f64>,
    /// The largest factor between the two perplexities, and the least `same_token`, for quantised weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<[f64; 2]>,
}

impl Proof {
    /// Runs the model on the prompts, of sequences of up to `context` tokens.
    pub(crate) fn of(model: &Checkpoint, context: usize) -> Result<Self> {
        let vocab = model.config().dims.vocab;
        let prompts = texts::prompts(model, context.saturating_sub(STEPS).max(1))?;
        let mut sequences: Vec<Vec<u32>> = prompts.iter().map(|p| p.ids.clone()).collect();
        for _ in 0..STEPS {
            let logits = logits(model, &sequences)?;
            let mut end = 0;
            for s in &mut sequences {
                end += s.len();
                s.push(likeliest(&logits[(end - 1) * vocab..end * vocab]));
            }
        }
        let logits = logits(model, &sequences)?;
        bail_if(finite(&logits) != logits.len(), || {
            let what = format!("the model itself gives {} finite logits of {}", finite(&logits), logits.len());
            Fault::numerical(what).help("nothing can be compared with it: look at how it was repaired or trained")
        })?;
        Ok(Self { sequences, prompts, logits, vocab })
    }

    /// What a program that keeps a cache is fed of a sequence, call by call: the prompt at once, then token by token.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&[u32], impl Iterator<Item = Range<usize>> + use<>)> {
        let calls = |(sequence, prompt): (&'_ Vec<u32>, &Prompt)| {
            let starts = std::iter::once(0).chain(prompt.ids.len()..sequence.len());
            starts.zip(prompt.ids.len()..=sequence.len()).map(|(start, end)| start..end)
        };
        self.sequences.iter().zip(&self.prompts).map(move |pair| (pair.0.as_slice(), calls(pair)))
    }

    /// Logits of an export that our own readers open.
    pub(crate) fn run(&self, model: &Checkpoint) -> Result<Vec<f32>> {
        logits(model, &self.sequences)
    }

    /// Texts of which `tokenizer`, which cuts as the target does, makes other tokens; a fault if one of them is plain, or if
    /// the target is not known to do anything otherwise (`lost`).
    pub(crate) fn other_tokens(&self, tokenizer: &Tokenizer, lost: &[String]) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for prompt in &self.prompts {
            let Some(text) = &prompt.text else { continue };
            let after = tokenizer.encode(text)?;
            if after == prompt.ids {
                continue;
            }
            bail_if(prompt.plain || lost.is_empty(), || {
                let what = format!("{text:?} has the tokens {after:?} after the export, {:?} before", prompt.ids);
                Fault::numerical(what)
                    .help("the target cannot hold this tokenizer: please report it with the model's tokenizer.json")
            })?;
            out.push(text.clone());
        }
        Ok(out)
    }

    /// Compares logits `[Σ lengths, vocab]` of an export; a fault if they are further apart than `allowed`.
    pub(crate) fn compare(&self, runtime: &str, other: &[f32], allowed: Allowed) -> Result<Comparison> {
        bail_if(other.len() != self.logits.len() || finite(other) != other.len(), || {
            Fault::numerical(format!("the export gives {} finite logits of {}", finite(other), self.logits.len()))
        })?;
        let differences = || self.logits.iter().zip(other).map(|(a, b)| f64::from(a - b).abs());
        let largest = largest(self.logits.iter().map(|v| f64::from(v.abs())))?;
        let rows = || self.logits.chunks_exact(self.vocab).zip(other.chunks_exact(self.vocab));
        let same = rows().filter(|(a, b)| likeliest(a) == likeliest(b)).count();
        let text = self.prompts.iter().any(|p| p.written && p.ids.len() > 1);
        let out = Comparison {
            runtime: runtime.to_owned(),
            sequences: self.sequences.clone(),
            prompt_tokens: self.prompts.iter().map(|p| p.ids.len()).collect(),
            texts: self.prompts.iter().map(|p| p.text.clone()).collect(),
            other_tokens: Vec::new(),
            notes: Vec::new(),
            max_abs_difference: Some(self::largest(differences())?),
            rms_difference: Some((differences().map(|d| d * d).sum::<f64>() / self.logits.len().max(1) as f64).sqrt()),
            max_abs_logit: largest,
            same_token: Some(same as f64 / rows().len().max(1) as f64),
            perplexity: text.then(|| [self.perplexity(&self.logits), self.perplexity(other)]),
            tolerance: match allowed {
                Allowed::Logits(t) => Some(t * largest),
                Allowed::Text { .. } => None,
            },
            limits: match allowed {
                Allowed::Logits(_) => None,
                Allowed::Text { perplexity, same_token } => Some([perplexity, same_token]),
            },
        };
        out.judged()
    }

    /// exp of the mean cross-entropy of the texts' tokens, each given those before it.
    fn perplexity(&self, logits: &[f32]) -> f64 {
        let (mut sum, mut tokens, mut start) = (0.0, 0_usize, 0);
        for (prompt, sequence) in self.prompts.iter().zip(&self.sequences) {
            let steps = if prompt.written { prompt.ids.len().saturating_sub(1) } else { 0 };
            for t in 0..steps {
                let row = &logits[(start + t) * self.vocab..(start + t + 1) * self.vocab];
                sum += surprise(row, prompt.ids[t + 1]);
            }
            tokens += steps;
            start += sequence.len();
        }
        (sum / tokens.max(1) as f64).exp()
    }
}

/// ln Σ exp(x) − x of the token, in nats.
fn surprise(row: &[f32], token: u32) -> f64 {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
    sum.ln() - f64::from(row[token as usize] - top)
}

impl Comparison {
    /// Itself, if the two are as near as they must be.
    fn judged(self) -> Result<Self> {
        if let Some((t, difference)) = self.tolerance.zip(self.max_abs_difference) {
            bail_if(difference > t, || {
                let what = format!(
                    "the export's logits differ from the model's by up to {difference:.2e}; {t:.2e} is allowed"
                );
                Fault::numerical(what).help("this is a bug of the exporter: please report it with the pipeline file")
            })?;
        }
        let Some([factor, least]) = self.limits else { return Ok(self) };
        let [before, after] = self.perplexity.unwrap_or([1.0; 2]);
        let same = self.same_token.unwrap_or(0.0);
        let ratio = (after / before).max(before / after);
        bail_if(!ratio.is_finite() || ratio > factor || same < least, || {
            Fault::numerical(format!(
                "the quantised model is another: perplexity {after:.2} on the texts of the proof, {before:.2} before (a factor of {factor} is allowed), and the same most likely token at {:.1} % of positions ({:.0} % are asked for)",
                100.0 * same,
                100.0 * least
            ))
            .help("this model does not bear so few bits: use a larger `format`, such as q8_0 or f16")
        })?;
        Ok(self)
    }

    /// The same without the figures that differ from machine to machine.
    pub(crate) fn without_figures(self) -> Self {
        Self { max_abs_difference: None, rms_difference: None, same_token: None, perplexity: None, ..self }
    }
}

fn finite(values: &[f32]) -> usize {
    values.iter().filter(|v| v.is_finite()).count()
}

/// The largest of some numbers that are not negative; a fault if one is no number.
fn largest(values: impl Iterator<Item = f64>) -> Result<f64> {
    let mut out = 0.0;
    for v in values {
        bail_if(!v.is_finite(), || Fault::numerical(format!("a logit or a difference of two is {v}")))?;
        out = f64::max(out, v);
    }
    Ok(out)
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
        let prompt = Prompt { ids: vec![0, 1], text: None, written: true, plain: true };
        Proof { sequences: vec![vec![0, 1]], prompts: vec![prompt], logits: vec![0.0, 2.0, 1.0, -4.0], vocab: 2 }
    }

    const ANY: Allowed = Allowed::Logits(f64::MAX);

    #[test]
    fn a_comparison_counts_what_it_says() {
        let c = proof().compare("other", &[0.0, 2.0, 1.0, 2.0], ANY).unwrap();
        assert_eq!((c.max_abs_difference, c.rms_difference), (Some(6.0), Some(3.0)));
        assert_eq!((c.max_abs_logit, c.same_token), (4.0, Some(0.5)));
        // Token 1 after token 0: ln(1 + e²) − 2, the same in both.
        let [before, after] = c.perplexity.unwrap();
        assert!((before - (1.0 + (-2.0_f64).exp())).abs() < 1e-12 && before.total_cmp(&after).is_eq(), "{before}");
        let bare = serde_json::to_string(&c.without_figures()).unwrap();
        assert!(!bare.contains("difference") && !bare.contains("same_token") && !bare.contains("perplexity"), "{bare}");
    }

    #[test]
    fn what_is_too_far_off_or_not_finite_is_refused() {
        let within = Allowed::Logits(1e-2);
        assert!(proof().compare("other", &[0.0, 2.0, 1.0, -4.03], within).is_ok());
        let fault = proof().compare("other", &[0.0, 2.0, 1.0, -4.1], within).unwrap_err();
        assert!(fault.what().contains("1.00e-1; 4.00e-2 is allowed"), "{fault}");
        assert!(proof().compare("other", &[0.0, f32::NAN, 1.0, -4.0], ANY).is_err());
        assert!(proof().compare("other", &[0.0], ANY).is_err());
        let reference = Proof { logits: vec![0.0, f32::NAN, 1.0, -4.0], ..proof() };
        assert!(reference.compare("other", &[0.0, 2.0, 1.0, -4.0], ANY).is_err());
    }

    #[test]
    fn quantised_weights_are_judged_by_the_text() {
        let judged = |other: &[f32], perplexity, same_token| {
            proof().compare("other", other, Allowed::Text { perplexity, same_token })
        };
        // Logits that all move together are far off and say the same.
        assert!(judged(&[30.0, 32.0, 31.0, 26.0], 1.001, 1.0).is_ok());
        let fault = judged(&[2.0, 0.0, 1.0, -4.0], 1.5, 0.0).unwrap_err();
        assert!(fault.what().contains("perplexity 8.39") && fault.what().contains("1.14 before"), "{fault}");
        assert!(judged(&[0.0, 2.0, -4.0, 1.0], 1.5, 0.9).unwrap_err().what().contains("at 50.0 %"));
    }

    #[test]
    fn the_first_of_equals_is_the_likeliest() {
        assert_eq!(likeliest(&[1.0, 3.0, 3.0, 2.0]), 1);
    }
}
