//! Benchmarks of whole stages: a pipeline in a temporary folder, some of its stages run again and again.
//!
//! What is timed is what a user waits for: the stage as the engine runs it, files and checkpoints included. The share of
//! the GEMM ceiling is the stage's own count of floating-point operations (its forecast of work) over wall time.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use oops_core::{Fault, Result, Rng, bail_if};
use oops_engine::{Limits, Resolved, Selection, Session, Silent, needs, run};
use oops_model::{ComputeDtype, gemm_ceiling};
use oops_pipeline::{Graph, Problems};
use oops_stage::Registry;
use oops_store::Store;
use serde_json::{Value, json};

use crate::report::{Figures, repeat};

/// A benchmark of stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageBench {
    /// `calibrate.activations` with Gram matrices.
    Calibrate,
    /// `calibrate.gradients`.
    Gradients,
    /// `distill.blockwise`, one epoch, on a model cut to 70 %.
    Distill,
    /// `eval.perplexity`.
    Evaluate,
    /// Calibration, FLAP scores, selection and ridge repair.
    Prune,
    /// The whole of OOPS without training.
    Oops,
}

impl StageBench {
    /// Instances that are timed.
    fn instances(self) -> &'static [&'static str] {
        match self {
            Self::Calibrate => &["stats"],
            Self::Gradients => &["gradients"],
            Self::Distill => &["distilled"],
            Self::Evaluate => &["quality"],
            Self::Prune => &["stats", "flap", "global", "repaired"],
            Self::Oops => &["stats", "gradients", "scores", "plan", "pruned"],
        }
    }
}

/// What stages are measured on.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Checkpoint.
    pub model: PathBuf,
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens of each.
    pub sequence_tokens: usize,
    /// Precision of the operands of linear layers in calibration.
    pub compute_dtype: ComputeDtype,
}

/// At least so many bytes of words of random letters: no run of tokens occurs twice, so that held-out tokens can judge.
fn words(bytes: usize) -> String {
    let mut rng = Rng::new(0, "bench text");
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.extend((0..2 + rng.below(6)).map(|_| char::from(b'a' + rng.below(26) as u8)));
        text.push(' ');
    }
    text
}

impl Subject {
    /// The pipeline, beside a text that is long enough for a tokenizer with a token per byte.
    fn write(&self, folder: &Path) -> Result<PathBuf> {
        // Tokenizers of trained models make about a fifth as many tokens.
        let bytes = self.sequences * self.sequence_tokens * 6 + 1024;
        let (text, pipeline) = (folder.join("text.txt"), folder.join("bench.yaml"));
        fs::write(&text, words(bytes)).map_err(|e| Fault::writing(&text, &e))?;
        let stage = |name: &str, inputs: Value, with: Value| json!({ "use": name, "in": inputs, "with": with });
        let Self { sequences, sequence_tokens, compute_dtype, .. } = self;
        let model = self.model.canonicalize().map_err(|e| Fault::reading(&self.model, &e))?;
        let cut = |plan: &str, stats: &str| json!({ "model": "dense", "plan": plan, "stats": stats });
        let stages = json!({
            "dense": { "use": "source.model", "with": { "path": model } },
            "text": stage("source.text", json!({ "model": "dense" }), json!({
                "path": text, "sequences": sequences, "sequence_tokens": sequence_tokens, "packing": "packed" })),
            "stats": stage("calibrate.activations", json!({ "model": "dense", "tokens": "text" }), json!({
                "gram": true, "compute_dtype": compute_dtype })),
            "gradients": stage("calibrate.gradients", json!({ "model": "dense", "tokens": "text" }), json!({
                "compute_dtype": compute_dtype })),
            "scores": stage("score.oops", json!({ "model": "dense", "stats": "stats", "gradients": "gradients" }), json!({})),
            "plan": stage("select.qp", json!({ "model": "dense", "scores": "scores" }), json!({ "remove_fraction": 0.3 })),
            "pruned": stage("reconstruct.ridge", cut("plan", "stats"), json!({ "damping": 0.001 })),
            "flap": stage("score.flap", json!({ "model": "dense", "stats": "stats" }), json!({})),
            "global": stage("select.global", json!({ "model": "dense", "scores": "flap" }), json!({ "remove_fraction": 0.3 })),
            "repaired": stage("reconstruct.ridge", cut("global", "stats"), json!({ "damping": 0.001 })),
            "magnitude": stage("score.magnitude", json!({ "model": "dense" }), json!({})),
            "uniform": stage("select.uniform", json!({ "model": "dense", "scores": "magnitude" }), json!({ "remove_fraction": 0.3 })),
            "cut": stage("reconstruct.none", json!({ "model": "dense", "plan": "uniform" }), json!({})),
            "distilled": stage("distill.blockwise", json!({ "student": "cut", "teacher": "dense", "tokens": "text" }), json!({ "epochs": 1 })),
            "quality": stage("eval.perplexity", json!({ "models": "dense", "tokens": "text" }), json!({ "window_tokens": sequence_tokens })),
        });
        let file = json!({ "version": 1, "about": "benchmark", "defaults": { "seed": 17, "device": "cpu" }, "stages": stages });
        fs::write(&pipeline, file.to_string()).map_err(|e| Fault::writing(&pipeline, &e))?;
        Ok(pipeline)
    }
}

/// Runs the stages of `bench` `runs` times, with everything that they need once. `done` hears of every repetition.
pub fn bench_stages(
    bench: StageBench,
    subject: &Subject,
    registry: &Registry,
    runs: usize,
    cancel: &AtomicBool,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Figures>> {
    let place = tempfile::tempdir().map_err(|e| Fault::store(format!("no temporary folder: {e}")))?;
    let mut graph = Graph::load(&subject.write(place.path())?, &[], registry).map_err(|p| refused(&p))?;
    let names: Vec<String> = bench.instances().iter().map(|&name| name.to_owned()).collect();
    let wanted = Selection { targets: names.clone(), ..Selection::default() };
    let needed = wanted.needed(&graph)?;
    graph.check(&needed).map_err(|p| refused(&p))?;
    let store = Store::open(place.path().join("store"))?;
    let session = Session { graph: &graph, store: &store, observer: &Silent, cancel };
    // Inputs first, so that no repetition pays for them.
    let timed: Vec<usize> = names.iter().map(|name| graph.find(name)).collect::<Result<_>>()?;
    let inputs = timed.iter().flat_map(|&i| graph.nodes[i].uses()).filter(|i| !timed.contains(i));
    let inputs: Vec<String> = inputs.map(|i| graph.nodes[i].name.clone()).collect();
    walk(session, &Selection { targets: inputs, ..Selection::default() })?;
    let again = Selection { force: names, ..wanted };
    repeat(runs, done, || {
        let before = gemm_ceiling()?;
        let outcome = walk(session, &again)?;
        let ceiling = before.max(gemm_ceiling()?);
        let results = timed.iter().map(|i| (*i, &outcome[i])).collect::<Vec<_>>();
        Ok(Measured { graph: &graph, results, tokens: subject.sequences * subject.sequence_tokens }.figures(ceiling))
    })
}

/// What a stage says against the subject, for example sequences that are longer than the model takes.
fn refused(problems: &Problems) -> Fault {
    problems.list.first().map_or_else(|| Fault::internal("refused without a reason"), |p| p.fault.clone())
}

fn walk(session: Session<'_>, selection: &Selection) -> Result<std::collections::BTreeMap<usize, Resolved>> {
    let mut outcome = run(session, selection, &[], Limits::default())?;
    if outcome.failed.is_empty() {
        bail_if(!outcome.open.is_empty(), || Fault::interrupted("stopped"))?;
        return Ok(outcome.results);
    }
    let (name, fault) = outcome.failed.swap_remove(0);
    Err(fault.at(name))
}

/// The results of one repetition.
struct Measured<'a> {
    graph: &'a Graph<'a>,
    results: Vec<(usize, &'a Resolved)>,
    tokens: usize,
}

impl Measured<'_> {
    fn figures(&self, ceiling: f64) -> Figures {
        let mut figures = Figures::new();
        let mut seconds = 0.0;
        for (i, result) in &self.results {
            let (node, record) = (&self.graph.nodes[*i], &result.record);
            let (wall, needs) = (record.provenance.wall_s, needs(self.graph, *i));
            let name = |figure: &str| match self.results.len() {
                1 => figure.to_owned(),
                _ => format!("{}.{figure}", node.name),
            };
            seconds += wall;
            if self.results.len() > 1 {
                figures.insert(name("seconds"), wall);
            }
            for (part, value) in record.measured.get("seconds").and_then(Value::as_object).into_iter().flatten() {
                figures.extend(value.as_f64().map(|value| (name(&format!("seconds_{part}")), value)));
            }
            let rss = record.measured.get("peak_rss_bytes").and_then(Value::as_f64);
            figures.extend(rss.map(|bytes| (name("peak_rss_bytes"), bytes)));
            figures.extend(needs.memory_bytes.map(|bytes| (name("forecast_memory_bytes"), bytes as f64)));
            if let Some(work) = needs.work {
                let gflops = work / wall.max(1e-9) / 1e9;
                figures.insert(name("gflops"), gflops);
                figures.insert(name("share_of_gemm_ceiling"), gflops / ceiling);
            }
        }
        let blocks =
            self.results.iter().find_map(|(i, _)| Some(self.graph.nodes[*i].facts.model.as_ref()?.blocks.len()));
        figures.extend(blocks.map(|blocks| ("seconds_per_block".to_owned(), seconds / blocks as f64)));
        figures.insert("seconds".to_owned(), seconds);
        figures.insert("tokens_per_s".to_owned(), self.tokens as f64 / seconds.max(1e-9));
        figures.insert("gemm_ceiling_gflops".to_owned(), ceiling);
        figures
    }
}
