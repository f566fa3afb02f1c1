//! `export.onnx`: a decoder graph with a key/value cache, widths per block kept, for ONNX Runtime and what is built on it.
//!
//! `genai`: the operators and the folder of onnxruntime-genai (opset 21 and `com.microsoft` 1). `portable`: standard
//! operators only (opset 18), same inputs and outputs, for every other runtime and converter.
//!
//! The written files are read back, checked for hanging together, and run, prompt and three steps with the cache. Two
//! programs can do that, and which one is part of the key, so that what is in the artifact never depends on what the machine
//! has: `embedded`, an interpreter of our own that is always there, and `native`, ONNX Runtime, which fails where there is no
//! library. Last bits differ between machines and versions: the artifact says which tolerance held, the measured
//! differences stand beside it.

mod decoder;
mod draft;
mod embedded;
mod genai;
mod inspect;
mod native;
mod portable;
mod proto;
mod texts;
mod weights;
mod widths;

use std::path::PathBuf;

use oops_artifact::{Kind, json};
use oops_core::{Fault, Result, bail_if};
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    proof::{Allowed, Comparison, Proof},
    stage::{PORTS, Target, Work},
};
use decoder::caches;
use draft::Draft;
pub(crate) use draft::Precision;
use weights::{DATA, GRAPH};

/// Which operators the graph is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// Those of onnxruntime-genai.
    #[default]
    Genai,
    /// Standard ones.
    Portable,
}

impl Form {
    /// Version of the file format, and of the standard operators.
    fn versions(self) -> (i64, i64) {
        match self {
            Self::Genai => (10, 21),
            Self::Portable => (8, 18),
        }
    }
}

/// Who computes what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verify {
    /// Our own interpreter.
    #[default]
    Embedded,
    /// ONNX Runtime.
    Native,
}

/// Parameters of `export.onnx`.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// `genai` (operators and folder of onnxruntime-genai) or `portable` (standard operators only).
    form: Form,
    /// Precision of weights, activations and cache: `f32`, `f16`, or `f16_weights` (matrices stored as f16, half the file,
    /// and computed in f32, which CPUs do faster). Logits are f32; norms and softmax are computed in f32.
    dtype: Precision,
    /// Who computes the written graph, for comparison: `embedded` (an interpreter of our own) or `native` (ONNX Runtime;
    /// needs its library).
    verify: Verify,
    /// Absolute path of ONNX Runtime's library; without it ORT_DYLIB_PATH, then python3's package `onnxruntime`.
    runtime: Option<PathBuf>,
}

/// An ONNX graph.
pub(crate) struct Onnx;

impl Stage for Onnx {
    type Params = Params;
    const NAME: &'static str = "export.onnx";
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "an ONNX graph with a KV cache for onnxruntime-genai or any runtime, run and compared";
    const INPUTS: &'static [Port] = PORTS;
    const OUTPUT: Kind = Kind::Export;
    const UNKEYED: &'static [&'static str] = &["runtime"];

    fn check(params: &Params, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        bail_if(params.runtime.as_ref().is_some_and(|p| !p.is_absolute()), || {
            Fault::config("`runtime` is not an absolute path")
                .help("name the library file, such as libonnxruntime.so.1.32.0")
        })?;
        bail_if(params.runtime.is_some() && params.verify == Verify::Embedded, || {
            Fault::config("`runtime` names a library that `verify: embedded` does not use")
                .help("set `verify: native`, or leave `runtime` out")
        })?;
        Ok(Facts::default())
    }

    /// Weights are streamed; the comparison runs the model on a few short prompts.
    fn needs(_: &Params, _: &PortFacts) -> Needs {
        Needs::HEAVY
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let work = Work::open(inputs)?;
        // First, since nothing may be left to do without it.
        let runtime = match params.verify {
            Verify::Native => Some(native::Runtime::load(params.runtime.as_deref())?),
            Verify::Embedded => None,
        };
        let draft = decoder::draw(&work.model, params.form, params.dtype)?;
        let proof = Proof::of(&work.model, work.model.config().max_position)?;
        files(&work, &draft, params.form, cx)?;
        let comparison = computed(runtime.as_ref(), &work, params, &proof, cx)?;
        work.finish(cx, &target(params), &comparison)
    }
}

/// Weights, graph, and what the form wants beside them; the files are then read back.
fn files(work: &Work<'_>, draft: &Draft<'_>, form: Form, cx: &Cx<'_>) -> Result<()> {
    let text = |name: &str, value: &serde_json::Value| cx.work.write(name, |path| json::write(path, value));
    if form == Form::Genai {
        text("genai_config.json", &texts::genai_config(work.model.config())?)?;
    }
    cx.progress.begin(draft.weights.len() as u64, "tensors");
    if !cx.work.is_done(DATA) {
        let mut step = || {
            cx.progress.advance(1);
            cx.check_cancelled()
        };
        cx.work.write(DATA, |path| weights::write(path, &work.model, draft, &mut step))?;
    }
    let graph = weights::encoded(draft, form);
    cx.work.write(GRAPH, |path| std::fs::write(path, graph).map_err(|e| Fault::writing(path, &e)))?;
    tokenizer(work, cx)?;
    sound(draft, cx).map_err(|f| f.help("this is a bug of the exporter: please report it with the pipeline file"))
}

/// The tokenizer, as the model's own files where it has them; a model without one is exported without.
fn tokenizer(work: &Work<'_>, cx: &Cx<'_>) -> Result<()> {
    let Ok(tokenizer) = work.model.tokenizer() else { return Ok(()) };
    if !cx.work.link_present(work.artifact, "tokenizer.json")? {
        let text = tokenizer.to_json()?;
        cx.work.write("tokenizer.json", |p| std::fs::write(p, &text).map_err(|e| Fault::writing(p, &e)))?;
    }
    let text = |name: &str, text: &str| {
        cx.work.write(name, |path| std::fs::write(path, text).map_err(|e| Fault::writing(path, &e)))
    };
    cx.work.link_present(work.artifact, "special_tokens_map.json")?;
    if !cx.work.link_present(work.artifact, "tokenizer_config.json")? {
        let config = work.model.companion("tokenizer_config.json")?;
        config.map(|config| text("tokenizer_config.json", &config)).transpose()?;
    }
    if !cx.work.link_present(work.artifact, "chat_template.jinja")? {
        work.chat_template().map(|template| text("chat_template.jinja", template)).transpose()?;
    }
    Ok(())
}

/// The written files, read back.
fn sound(draft: &Draft<'_>, cx: &Cx<'_>) -> Result<()> {
    let (graph, data) = (cx.work.path(GRAPH), cx.work.path(DATA));
    let bytes = std::fs::read(&graph).map_err(|e| Fault::reading(&graph, &e))?;
    let data = std::fs::metadata(&data).map_err(|e| Fault::reading(&data, &e))?.len();
    let found = inspect::graph(&bytes, data)?;
    let meant = inspect::Summary { nodes: draft.nodes.len(), weights: draft.weights.len() };
    bail_if(found != meant, || inspect::unsound(format!("it holds {found:?}, not {meant:?}")))
}

/// Logits of the written files, computed by ONNX Runtime or the interpreter, against the model's.
fn computed(
    runtime: Option<&native::Runtime>,
    work: &Work<'_>,
    params: &Params,
    proof: &Proof,
    cx: &Cx<'_>,
) -> Result<Comparison> {
    let (graph, between) = (cx.work.path(GRAPH), || cx.check_cancelled());
    let (name, logits) = if let Some(runtime) = runtime {
        let caches = caches(&work.model.config().dims.blocks);
        cx.measure("onnx_runtime", runtime.build());
        ("ONNX Runtime", runtime.open(&graph, caches, params.dtype)?.run(proof, &between)?)
    } else {
        let bytes = std::fs::read(&graph).map_err(|e| Fault::reading(&graph, &e))?;
        let folder = graph.parent().unwrap_or(&graph);
        (INTERPRETER, embedded::Interpreter::open(&bytes, folder)?.run(proof, &between)?)
    };
    let found = proof.compare(name, &logits, Allowed::Logits(tolerance(params.dtype)))?;
    cx.measure("max_abs_difference", found.max_abs_difference);
    cx.measure("rms_difference", found.rms_difference);
    cx.measure("same_token", found.same_token);
    cx.measure("perplexity", found.perplexity);
    Ok(found.without_figures())
}

/// How a comparison names our own.
const INTERPRETER: &str = "oops's own ONNX interpreter";

/// See [`crate::stage::tolerance`]; `F16` rounds every intermediate too. Measured on small models, with either program: 7e-7,
/// 1.4e-3 and 2.5e-3; in ONNX Runtime on one of 135 million weights 3e-6 (`F32`) and 5e-3 (`F16`).
fn tolerance(dtype: Precision) -> f64 {
    match dtype {
        Precision::F32 => 2e-5,
        Precision::F16Weights => 2e-3,
        Precision::F16 => 2e-2,
    }
}

/// How the card says the folder is loaded.
const USE_GENAI: &str = "```python\nimport onnxruntime_genai as og\n\nmodel = og.Model(\"this-folder\")\n\
                 tokenizer = og.Tokenizer(model)\nparams = og.GeneratorParams(model)\n\
                 params.set_search_options(max_length=64)\ngenerator = og.Generator(model, params)\n\
                 generator.append_tokens(tokenizer.encode(\"Once upon a time\"))\n\
                 while not generator.is_done():\n    generator.generate_next_token()\n\
                 print(tokenizer.decode(generator.get_sequence(0)))\n```";
const USE_PORTABLE: &str = "```python\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession(\"this-folder/model.onnx\")\n```\n\n\
                    Inputs are `input_ids` and `attention_mask` `[batch, tokens]` and, for every block with attention, \
                    `past_key_values.{i}.key` and `.value` `[batch, KV heads, past tokens, head width]`; outputs are \
                    `logits` and `present.{i}.key` and `.value`, which are the next step's past.";

fn target(params: &Params) -> Target {
    let weights = match params.dtype {
        Precision::F32 => "f32",
        Precision::F16 => "f16",
        Precision::F16Weights => "f16, computed in f32",
    };
    Target {
        form: match params.form {
            Form::Genai => "ONNX for onnxruntime-genai (opset 21 and `com.microsoft` 1)".to_owned(),
            Form::Portable => "ONNX of standard operators (opset 18)".to_owned(),
        },
        weights: weights.to_owned(),
        usage: if params.form == Form::Genai { USE_GENAI } else { USE_PORTABLE }.to_owned(),
        notes: vec!["weights are stored in `model.onnx.data`, which must stay beside `model.onnx`".to_owned()],
    }
}

#[cfg(test)]
mod tests;
