//! `eval.speed`: tokens per second of prefill and decoding, models in turn.
//!
//! Times are of a machine and a moment, so they are no part of the artifact, which is the same to the byte wherever it is
//! made: it holds the protocol and what follows from the models. The times go beside it, into the record of the run, under
//! `models`, one entry per row.
//!
//! Serving holds a model in memory, so all models are held at once, in f32: the one stage besides `distill.logits` that does
//! not stream. A round measures every model once, one after another, so that whatever else the machine does meets all of them; the
//! ratio to the first model is taken within each round. Every figure is the median of the rounds, with the quartiles.

use std::time::Instant;

use oops_artifact::{Kind, Metrics};
use oops_core::{Fault, Result, Rng, bail_if};
use oops_model::{Checkpoint, KvCache, LoadedModel, likeliest};
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Sizes, Source, Stage, peak_rss_bytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    size::{parameters, total_params},
    spread::Spread,
};

/// Parameters of [`Speed`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Tokens of the prompt.
    prompt_tokens: usize,
    /// Tokens decoded behind it, one at a time.
    decode_tokens: usize,
    /// Rounds that are measured, after one that is not.
    repeats: usize,
    /// Worker threads; those of the program (all cores, or RAYON_NUM_THREADS) without it.
    threads: Option<usize>,
}

impl Default for Params {
    fn default() -> Self {
        Self { prompt_tokens: 512, decode_tokens: 64, repeats: 5, threads: None }
    }
}

/// Speed of models.
pub struct Speed;

impl Stage for Speed {
    type Params = Params;
    const NAME: &'static str = "eval.speed";
    /// 2: biases and head norms count as parameters.
    const VERSION: u32 = 2;
    const ABOUT: &'static str =
        "tokens per second of prefill and decoding, models in turn; times lie beside the result";
    const INPUTS: &'static [Port] = &[Port::many("models", Kind::Model)];
    const OUTPUT: Kind = Kind::Metrics;

    fn check(params: &Params, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        let counts = [
            ("prompt_tokens", Some(params.prompt_tokens)),
            ("decode_tokens", Some(params.decode_tokens)),
            ("repeats", Some(params.repeats)),
            ("threads", params.threads),
        ];
        match counts.into_iter().find(|(_, count)| *count == Some(0)) {
            Some((name, _)) => Err(Fault::config(format!("`{name}` must be at least 1"))),
            None => Ok(Facts::default()),
        }
    }

    /// Memory: every model whole, in f32, with its cache; and one piece of the prompt inside a block.
    fn needs(params: &Params, inputs: &PortFacts) -> Needs {
        let facts = inputs.0.get("models").map_or(&[][..], Vec::as_slice);
        let tokens = (params.prompt_tokens + params.decode_tokens) as u64;
        let held = |f: &Facts| {
            let dims = f.dims_at_most()?;
            Some(4 * total_params(dims) + tokens * dims.kv_bytes_per_token(4) + Sizes(dims).inner(512))
        };
        Needs { memory_bytes: facts.iter().map(held).sum(), disk_bytes: Some(0), ..Needs::HEAVY }
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let mut rows = Vec::new();
        let mut runners = Vec::new();
        for (i, model) in inputs.many("models").iter().enumerate() {
            let at = |f: Fault| f.at(format!("model {}", i + 1));
            let checkpoint = Checkpoint::open(&model.paths).map_err(at)?;
            let runner = Runner::new(&checkpoint, params).map_err(at)?;
            rows.push(Metrics::row(model, figures(&checkpoint, &runner.model)));
            runners.push(runner);
        }
        let rounds = in_pool(params.threads, || rounds(&mut runners, params.repeats, cx))?;
        cx.measure("models", summary(&rounds));
        cx.measure("threads", params.threads.unwrap_or_else(rayon::current_num_threads));
        cx.measure("peak_rss_bytes", peak_rss_bytes());
        Metrics { protocol: protocol(params), models: rows }.write(&cx.work)
    }
}

fn protocol(params: &Params) -> Map<String, Value> {
    Map::from_iter([
        ("prompt_tokens".to_owned(), json!(params.prompt_tokens)),
        ("decode_tokens".to_owned(), json!(params.decode_tokens)),
        ("repeats".to_owned(), json!(params.repeats)),
        ("threads".to_owned(), json!(params.threads.map_or("all".to_owned(), |n| n.to_string()))),
        ("sequences".to_owned(), json!(1)),
        ("dtype".to_owned(), json!("f32 weights, activations and cache")),
        ("order".to_owned(), json!("models in turn, ratios to the first within each round, medians with quartiles")),
    ])
}

/// What does not differ from run to run.
fn figures(checkpoint: &Checkpoint, model: &LoadedModel) -> Value {
    let dims = &checkpoint.config().dims;
    json!({
        "parameters": parameters(checkpoint),
        "decoder_parameters": dims.decoder_params(),
        "stored_bytes": checkpoint.stored_bytes(),
        "resident_bytes": model.weight_bytes(),
        "cache_bytes_per_token": dims.kv_bytes_per_token(4),
    })
}

/// A loaded model with what it is measured on.
struct Runner {
    model: LoadedModel,
    cache: KvCache,
    prompt: Vec<u32>,
    decode_tokens: usize,
}

/// Tokens per second of one measurement.
#[derive(Clone, Copy, Debug)]
struct Rates {
    prefill: f64,
    decode: f64,
}

impl Runner {
    fn new(checkpoint: &Checkpoint, params: &Params) -> Result<Self> {
        let (tokens, most) = (params.prompt_tokens + params.decode_tokens, checkpoint.config().max_position);
        bail_if(tokens > most, || {
            Fault::data(format!("the model was made for sequences of {most} tokens, not {tokens}"))
                .help("lower `prompt_tokens` or `decode_tokens`")
        })?;
        let model = LoadedModel::load(checkpoint, tokens)?;
        // Which tokens they are does not matter for the time; all models of a vocabulary get the same.
        let (vocab, mut rng) = (checkpoint.config().dims.vocab, Rng::new(0, Speed::NAME));
        let prompt = (0..params.prompt_tokens).map(|_| rng.below(vocab) as u32).collect();
        Ok(Self { cache: model.cache(tokens), model, prompt, decode_tokens: params.decode_tokens })
    }

    /// Prefill of the prompt and greedy decoding behind it.
    fn measure(&mut self, cx: &Cx<'_>) -> Result<Rates> {
        cx.check_cancelled()?;
        self.cache.clear();
        let start = Instant::now();
        let mut logits = self.model.extend(&mut self.cache, &self.prompt)?;
        let prefill_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for _ in 0..self.decode_tokens {
            logits = self.model.extend(&mut self.cache, &[likeliest(&logits)])?;
        }
        let decode_s = start.elapsed().as_secs_f64();
        cx.progress.advance(1);
        Ok(Rates { prefill: self.prompt.len() as f64 / prefill_s, decode: self.decode_tokens as f64 / decode_s })
    }
}

/// Rates of every model in every round.
fn rounds(runners: &mut [Runner], repeats: usize, cx: &Cx<'_>) -> Result<Vec<Vec<Rates>>> {
    cx.progress.begin(((repeats + 1) * runners.len()) as u64, "measurements");
    let mut round = || runners.iter_mut().map(|r| r.measure(cx)).collect::<Result<Vec<_>>>();
    // The first meets cold caches and pages that were never touched.
    round()?;
    (0..repeats).map(|_| round()).collect()
}

/// Runs `f` with as many threads as asked for.
fn in_pool<T: Send>(threads: Option<usize>, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let Some(threads) = threads else { return f() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| Fault::config(format!("{threads} threads cannot be had: {e}")))?.install(f)
}

/// One entry per model.
fn summary(rounds: &[Vec<Rates>]) -> Vec<Value> {
    let models = rounds.first().map_or(0, Vec::len);
    let of = |f: &dyn Fn(&[Rates]) -> f64| Spread::of(rounds.iter().map(|round| f(round)).collect());
    let row = |i: usize| {
        json!({
            "prefill_tokens_per_s": of(&|r| r[i].prefill),
            "prefill_ratio": of(&|r| r[i].prefill / r[0].prefill),
            "decode_tokens_per_s": of(&|r| r[i].decode),
            "decode_ratio": of(&|r| r[i].decode / r[0].decode),
        })
    };
    (0..models).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The machine slows down between the rounds; the second model is twice and three times as fast all along.
        let round = |speed: f64| {
            vec![Rates { prefill: speed, decode: speed }, Rates { prefill: 2.0 * speed, decode: 3.0 * speed }]
        };
        let rows = summary(&[round(100.0), round(50.0), round(10.0)]);
        assert_eq!(rows[0]["prefill_tokens_per_s"], json!({ "median": 50.0, "quartiles": [30.0, 75.0] }));
        assert_eq!(rows[1]["prefill_ratio"], json!({ "median": 2.0, "quartiles": [2.0, 2.0] }));
        assert_eq!(rows[1]["decode_ratio"]["median"], 3.0);
    }

    #[test]
    fn threads_are_those_that_were_asked_for() {
        assert_eq!(in_pool(Some(3), || Ok(rayon::current_num_threads())).unwrap(), 3);
        assert_eq!(in_pool(None, || Ok(rayon::current_num_threads())).unwrap(), rayon::current_num_threads());
    }

    #[test]
    fn counts_of_zero_are_refused_by_name() {
        for name in ["prompt_tokens", "decode_tokens", "repeats", "threads"] {
            let params: Params = serde_json::from_value(json!({ name: 0 })).unwrap();
            let fault = Speed::check(&params, &PortFacts::default(), &[]).unwrap_err();
            assert!(fault.what().contains(name) && fault.class().exit_code() == 2, "{fault}");
        }
    }
}
