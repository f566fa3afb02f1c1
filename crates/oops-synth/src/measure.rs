//! Held-out perplexity of a stored model, and stories told by it.

use oops_core::Result;
use oops_model::{Block, Checkpoint, Decoder, cross_entropy, values};

use crate::{bpe::EOS, network::CONTEXT, rng::Rng};
use candle_core::Tensor;

/// Tokens that are packed into one forward pass.
const PACK: usize = 4096;

/// A checkpoint with all its weights in memory: small models only.
pub(crate) struct Reader {
    decoder: Decoder,
    blocks: Vec<Block>,
    embedding: Tensor,
    final_norm: Tensor,
    head: Tensor,
}

impl Reader {
    /// Loads every weight for sequences of up to twice the training context.
    pub(crate) fn new(model: &Checkpoint) -> Result<Self> {
        let blocks = (0..model.config().dims.blocks.len()).map(|l| model.block(l)).collect::<Result<_>>()?;
        Ok(Self {
            decoder: Decoder::new(model.config(), 2 * CONTEXT)?,
            blocks,
            embedding: model.embedding()?,
            final_norm: model.final_norm()?,
            head: model.head()?,
        })
    }

    /// Logits `[Σ tokens, vocab]` of packed sequences.
    fn logits(&self, sequences: &[&[u32]]) -> Result<Tensor> {
        let lengths: Vec<usize> = sequences.iter().map(|s| s.len()).collect();
        let mut x = self.decoder.embed(&self.embedding, &sequences.concat())?;
        for block in &self.blocks {
            x = self.decoder.block(block, &x, &lengths, &mut |_, _| Ok(()))?;
        }
        self.decoder.logits(&self.final_norm, &self.head, &x)
    }

    /// Perplexity over all tokens of `docs` but the first of each (its BOS); every document by itself.
    pub(crate) fn perplexity(&self, docs: &[Vec<u32>]) -> Result<f64> {
        let (mut sum, mut tokens, mut rest) = (0.0, 0, docs);
        while !rest.is_empty() {
            let mut size = 0;
            let count = rest.iter().take_while(|d| (size == 0, size += d.len()).0 || size <= PACK).count();
            let (pack, after) = rest.split_at(count);
            let inputs: Vec<&[u32]> = pack.iter().map(|d| &d[..d.len() - 1]).collect();
            let targets: Vec<u32> = pack.iter().flat_map(|d| &d[1..]).copied().collect();
            sum += cross_entropy(&self.logits(&inputs)?, &targets)?.iter().sum::<f64>();
            tokens += targets.len();
            rest = after;
        }
        Ok((sum / tokens.max(1) as f64).exp())
    }

    /// Continues `tokens` until the story ends or fills the context: the likeliest token at `temperature` 0, else a
    /// draw from softmax(logits/temperature).
    pub(crate) fn tell(&self, mut tokens: Vec<u32>, temperature: f64, seed: u64) -> Result<Vec<u32>> {
        let mut rng = Rng::new(seed);
        while tokens.len() < CONTEXT {
            let logits = values(&self.logits(&[&tokens])?)?;
            let next = choose(&logits[logits.len() - logits.len() / tokens.len()..], temperature, &mut rng);
            if next <= EOS.1 {
                break;
            }
            tokens.push(next);
        }
        Ok(tokens)
    }
}

fn choose(logits: &[f32], temperature: f64, rng: &mut Rng) -> u32 {
    let best = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |b, (i, &v)| if v > b.1 { (i, v) } else { b });
    if temperature <= 0.0 {
        return best.0 as u32;
    }
    let weights: Vec<f64> = logits.iter().map(|v| (f64::from(v - best.1) / temperature).exp()).collect();
    let mut left = rng.unit() * weights.iter().sum::<f64>();
    let chosen = weights.iter().position(|w| {
        left -= w;
        left <= 0.0
    });
    chosen.unwrap_or(best.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_zero_is_greedy_and_one_follows_the_odds() {
        let mut rng = Rng::new(1);
        let logits = [0.0, 3_f32.ln(), -9.0];
        assert_eq!(choose(&logits, 0.0, &mut rng), 1);
        let ones = (0..4000).filter(|_| choose(&logits, 1.0, &mut rng) == 1).count();
        assert!((2850..3150).contains(&ones), "{ones}");
    }
}
