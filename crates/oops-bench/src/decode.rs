//! Decoding one token after another, whose limit is reading the weights once per token.

use std::path::Path;

use oops_core::{Fault, Result, bail_if};
use oops_model::{Checkpoint, LoadedModel, read_ceiling};

use crate::report::{Figures, figures, timed};

/// A model in memory behind a prompt.
pub struct Decoding {
    model: LoadedModel,
    prompt: Vec<u32>,
    tokens: usize,
}

impl Decoding {
    /// Loads the model at `path`, to read `prompt_tokens` tokens and then `tokens` one by one.
    pub fn load(path: &Path, prompt_tokens: usize, tokens: usize) -> Result<Self> {
        let checkpoint = Checkpoint::open_path(path)?;
        let (all, most) = (prompt_tokens + tokens, checkpoint.config().max_position);
        bail_if(all > most, || Fault::config(format!("{all} tokens, but the model was made for sequences of {most}")))?;
        let vocab = checkpoint.config().dims.vocab as u32;
        let prompt = (0..prompt_tokens as u32).map(|i| i % vocab).collect();
        Ok(Self { model: LoadedModel::load(&checkpoint, all)?, prompt, tokens })
    }

    /// Tokens per second beside the rate at which memory is read: 4 bytes per weight and token, the embedding of a model
    /// with a head of its own left out.
    pub fn run(&self) -> Result<Figures> {
        let dims = &self.model.config().dims;
        let unread = if dims.tied { 0 } else { 4 * (dims.vocab * dims.hidden) as u64 };
        let gb = (self.model.weight_bytes() - unread) as f64 / 1e9;
        let mut cache = self.model.cache(self.prompt.len() + self.tokens);
        let (prefill, logits) = timed(|| self.model.extend(&mut cache, &self.prompt));
        logits?;
        let ceiling = read_ceiling();
        let next = |_| self.model.extend(&mut cache, &self.prompt[..1]).map(drop);
        let (seconds, done) = timed(|| (0..self.tokens).try_for_each(next));
        done?;
        let rate = gb * self.tokens as f64 / seconds;
        Ok(figures([
            ("tokens_per_s", self.tokens as f64 / seconds),
            ("prefill_tokens_per_s", self.prompt.len() as f64 / prefill),
            ("weights_gb_per_s", rate),
            ("read_ceiling_gb_per_s", ceiling),
            ("share_of_read_ceiling", rate / ceiling),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_model_decodes_and_longer_sequences_than_it_takes_are_refused() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/model");
        let found = Decoding::load(&model, 5, 3).unwrap().run().unwrap();
        assert!(found["tokens_per_s"] > 0.0 && found["share_of_read_ceiling"] > 0.0);
        assert!(Decoding::load(&model, 5, 1 << 30).is_err());
    }
}
