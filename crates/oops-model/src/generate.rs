//! Continuing a prompt token by token.

use std::time::Instant;

use oops_core::{Fault, Result, bail_if};

use crate::{LoadedModel, ModelConfig, Sampler};

/// Why a continuation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The model ended its text.
    EndOfText,
    /// As many tokens as were asked for.
    Tokens,
    /// The model was made for no longer sequence.
    Context,
}

/// A continuation.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Its tokens, without the one that ends a text.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stopped: Stopped,
    /// Seconds until the first token was known.
    pub prefill_s: f64,
    /// Seconds of all later tokens.
    pub decode_s: f64,
    /// Tokens read behind the prompt, one at a time, in `decode_s`.
    pub decoded: usize,
}

/// How many of `tokens` tokens fit behind `prompt`; a fault if none does, or if there is no prompt.
pub fn room(config: &ModelConfig, prompt: &[u32], tokens: usize) -> Result<usize> {
    let context = config.max_position;
    bail_if(prompt.is_empty(), || {
        Fault::config("the prompt has no tokens").help("give some text; this tokenizer begins no sequence by itself")
    })?;
    bail_if(prompt.len() >= context, || {
        Fault::config(format!("the prompt has {} tokens; the model was made for sequences of {context}", prompt.len()))
            .help(format!("give a prompt of at most {} tokens", context.saturating_sub(1)))
    })?;
    Ok(tokens.min(context - prompt.len()))
}

/// Continues `prompt` by up to `tokens` tokens; each is handed to `token` as soon as it is known.
///
/// `model` must have been loaded for the prompt and the [`room`] behind it.
pub fn generate(
    model: &LoadedModel,
    prompt: &[u32],
    tokens: usize,
    sampler: &mut Sampler,
    token: &mut dyn FnMut(u32) -> Result<()>,
) -> Result<Generated> {
    let room = room(model.config(), prompt, tokens)?;
    let ended = if room < tokens { Stopped::Context } else { Stopped::Tokens };
    let mut cache = model.cache(prompt.len() + room);
    let start = Instant::now();
    let mut next = sampler.next(&model.extend(&mut cache, prompt)?)?;
    let prefill_s = start.elapsed().as_secs_f64();
    let mut out = Generated { ids: Vec::new(), stopped: ended, prefill_s, decode_s: 0.0, decoded: 0 };
    while out.ids.len() < room {
        if model.config().eos.contains(&next) {
            out.stopped = Stopped::EndOfText;
            break;
        }
        out.ids.push(next);
        token(next)?;
        if out.ids.len() < room {
            let start = Instant::now();
            next = sampler.next(&model.extend(&mut cache, &[next])?)?;
            out.decode_s += start.elapsed().as_secs_f64();
            out.decoded += 1;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{Checkpoint, fixtures::fixture};

    fn model(tokens: usize) -> LoadedModel {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/model");
        LoadedModel::load(&Checkpoint::open_path(&path).unwrap(), tokens).unwrap()
    }

    fn run(model: &LoadedModel, prompt: &[u32], tokens: usize, temperature: f64, seed: u64) -> Generated {
        let mut sampler = Sampler::new(temperature, 0.9, seed).unwrap();
        let mut seen = Vec::new();
        let made = generate(model, prompt, tokens, &mut sampler, &mut |id| {
            seen.push(id);
            Ok(())
        });
        let made = made.unwrap();
        assert_eq!(made.ids, seen);
        made
    }

    #[test]
    fn it_ends_with_the_text_the_tokens_or_the_context() {
        let model = model(1024);
        let bos = model.config().bos.unwrap();
        let few = run(&model, &[bos], 5, 0.0, 0);
        assert_eq!((few.ids.len(), few.decoded, few.stopped), (5, 4, Stopped::Tokens));
        let story = run(&model, &[bos], 1000, 0.0, 0);
        assert_eq!((story.stopped, story.decoded), (Stopped::EndOfText, story.ids.len()));
        assert!(!story.ids.contains(&model.config().eos[0]) && story.ids[..5] == few.ids);
        let full = run(&model, &vec![bos; 1022], 50, 0.0, 0);
        assert!(full.stopped == Stopped::EndOfText || (full.stopped, full.ids.len()) == (Stopped::Context, 2));
    }

    #[test]
    fn draws_follow_the_seed() {
        let model = model(64);
        let bos = [model.config().bos.unwrap()];
        let ids = |seed| run(&model, &bos, 40, 1.0, seed).ids;
        assert_eq!(ids(3), ids(3));
        assert_ne!(ids(3), ids(4));
    }

    #[test]
    fn prompts_that_cannot_be_continued_are_faults() {
        let model = model(8);
        assert_eq!(room(model.config(), &[1; 1000], 30).unwrap(), 24);
        for (prompt, words) in [(vec![1; 1024], "sequences of 1024"), (vec![], "no tokens")] {
            let fault = room(model.config(), &prompt, 1).unwrap_err();
            assert!(fault.to_string().contains(words) && fault.class().exit_code() == 2, "{fault}");
        }
    }

    #[test]
    fn the_fault_of_a_listener_stops_it() {
        let mut sampler = Sampler::new(0.0, 1.0, 0).unwrap();
        let stop = &mut |_| Err(Fault::interrupted("stop"));
        assert_eq!(generate(&model(8), &[0], 4, &mut sampler, stop).unwrap_err().what(), "stop");
    }

    #[test]
    #[ignore = "needs OOPS_FIXTURES"]
    fn stories260k_tells_its_story_from_a_cache() {
        let path = fixture("models/stories260k");
        let checkpoint = Checkpoint::open_path(&path).unwrap();
        let tokenizer = checkpoint.tokenizer().unwrap();
        let model = LoadedModel::load(&checkpoint, 128).unwrap();
        let made = run(&model, &[tokenizer.bos().unwrap()], 60, 0.0, 0);
        let begin = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. \
                     One day, she saw a big, red ball.";
        assert!(tokenizer.decode(&made.ids).unwrap().trim_start().starts_with(begin));
    }
}
