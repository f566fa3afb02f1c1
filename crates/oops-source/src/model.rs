//! `source.model`: a checkpoint on this machine, by reference.

use std::path::Path;

use oops_artifact::{Kind, SUMMARY, json};
use oops_core::{Fault, Result};
use oops_model::{Checkpoint, Family, gguf_losses};
use oops_stage::{Cx, Facts, Form, Inputs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of [`SourceModel`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A Hugging Face folder (config.json, *.safetensors, tokenizer.json), a GGUF file, or a folder with one `.gguf`;
    /// also a model's folder in the Hugging Face cache, or a manifest of Ollama. Relative to the pipeline file; `~/`,
    /// `$NAME` and `${NAME}` are put in.
    path: String,
}

/// A checkpoint; its files are linked, never copied.
pub struct SourceModel;

impl Stage for SourceModel {
    type Params = Params;
    const NAME: &'static str = "source.model";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "a checkpoint: Hugging Face folder or GGUF file";
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Kind = Kind::Model;
    const UNKEYED: &'static [&'static str] = &["path"];

    fn sources(params: &Params, base: &Path) -> Result<Vec<Source>> {
        let files = Checkpoint::files(&Source::resolve(base, &params.path)?)?;
        Ok(files.into_iter().map(|(name, path)| Source { name, path }).collect())
    }

    fn check(_: &Params, _: &PortFacts, sources: &[Source]) -> Result<Facts> {
        let files = sources.iter().map(|s| (s.name.clone(), s.path.clone())).collect();
        let checkpoint = Checkpoint::open(&files)?;
        let config = checkpoint.config();
        let blocks = 0..config.dims.blocks.len();
        let biased = |part: &str| blocks.clone().any(|l| checkpoint.has(&format!("model.layers.{l}.{part}.bias")));
        let form = Form {
            head_norms: config.family == Family::Qwen3,
            output_biases: biased("self_attn.o_proj") || biased("mlp.down_proj"),
            tokenizer: checkpoint.has_tokenizer(),
            context: config.max_position,
            gguf_losses: gguf_losses(&checkpoint).map_err(|f| f.what().to_owned()),
        };
        let warnings = checkpoint.warnings().to_vec();
        Ok(Facts { model: Some(config.dims.clone()), form: Some(form), warnings, ..Facts::default() })
    }

    fn run(_: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let files = inputs.sources.iter().map(|s| (s.name.clone(), s.path.clone())).collect();
        let checkpoint = Checkpoint::open(&files)?;
        inputs.sources.iter().for_each(|s| cx.work.link_source(s));
        cx.work.write(SUMMARY, |path| {
            let dims = &checkpoint.config().dims;
            if dims.blocks.is_empty() {
                return Err(Fault::data("the checkpoint has no decoder blocks"));
            }
            json::write(path, dims)
        })
    }
}
