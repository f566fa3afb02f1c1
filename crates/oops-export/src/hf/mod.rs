//! `export.hf`: a folder that transformers loads.
//!
//! `stock`: one of transformers' own classes, no remote code. Needs one width for all blocks, and biases as the class has
//! them (missing ones are written as zeros). A Llama whose heads do not divide the hidden width is written as Mistral,
//! which computes the same and accepts it. `remote`: our own small `modeling_oops.py` (`trust_remote_code=True`) with the
//! widths of every block; where attention is whole in every block (`targets: [vllm]`), under the names of vLLM's
//! `DeciLMForCausalLM`, which then serves it. `padded`: every block padded with zeros to the widest, for stock classes: it computes the same
//! and is larger, a check on quality and nothing else.

mod form;
mod per_layer;

use std::collections::BTreeMap;

use oops_artifact::{Artifact, Kind};
use oops_core::{Fault, Result};
use oops_model::{Checkpoint, DType, ModelConfig, SaveAs, block_file, pad_block, write_block, write_rest};
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    proof::Proof,
    stage::{PORTS, Target, Work, tolerance},
};
use form::{Form, Plan};

/// Parameters of `export.hf`.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// `auto` (`stock` where it can be, else `remote`), `stock`, `remote` or `padded`.
    form: Form,
    /// Precision of the written weights: `auto` (as the model; f32 for quantised models), `f32`, `f16` or `bf16`.
    dtype: SaveAs,
}

/// The chat template's own file.
const CHAT: &str = "chat_template.jinja";

/// A folder for transformers.
pub(crate) struct Hf;

impl Stage for Hf {
    type Params = Params;
    const NAME: &'static str = "export.hf";
    const VERSION: u32 = 4;
    const ABOUT: &'static str = "a folder for transformers (stock class or remote code), reopened and compared";
    const INPUTS: &'static [Port] = PORTS;
    const OUTPUT: Kind = Kind::Export;

    fn check(_: &Params, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        Ok(Facts::default())
    }

    /// Weights are streamed; the comparison runs the model on a few short prompts.
    fn needs(_: &Params, _: &PortFacts) -> Needs {
        Needs::HEAVY
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let work = Work::open(inputs)?;
        let dtype = params.dtype.resolve(&work.model.config().dtype);
        let plan = Plan::of(&work.model, params.form)?;
        let proof = Proof::of(&work.model, work.model.config().max_position)?;
        blocks(&work, &plan, &dtype, cx)?;
        rest(&work, &plan, &dtype, cx)?;
        let back = Checkpoint::open(&written(&work, &plan, &dtype, cx)?)?;
        // Weights that were rounded anew are further off than those that were taken over.
        let allowed = if dtype == work.model.config().dtype { tolerance(&DType::F32) } else { tolerance(&dtype) };
        let comparison = proof.compare("oops's own reader", &proof.run(&back)?, allowed)?;
        work.finish(cx, &plan.card(&dtype), &comparison)
    }
}

/// Whether the shard of block `l` can be taken over as it is.
fn is_kept(work: &Work<'_>, plan: &Plan, dtype: &DType, l: usize) -> bool {
    *dtype == work.model.config().dtype && plan.keeps(&work.model, l) && has_shards(work.artifact)
}

fn has_shards(artifact: &Artifact) -> bool {
    artifact.tree.0.contains_key(&block_file(0))
}

/// One shard per block.
fn blocks(work: &Work<'_>, plan: &Plan, dtype: &DType, cx: &Cx<'_>) -> Result<()> {
    cx.progress.begin(plan.blocks.len() as u64, "blocks");
    for (l, dims) in plan.blocks.iter().enumerate() {
        cx.check_cancelled()?;
        let name = block_file(l);
        if is_kept(work, plan, dtype, l) {
            cx.work.link(&name, work.artifact, &name)?;
        } else if !cx.work.is_done(&name) {
            let block = plan.with_biases(pad_block(&work.model.block(l)?, dims)?)?;
            cx.work.write(&name, |path| write_block(path, l, &block, dtype))?;
        }
        cx.progress.advance(1);
    }
    Ok(())
}

/// Everything but the blocks; the configuration last, over the one of the model's own form.
fn rest(work: &Work<'_>, plan: &Plan, dtype: &DType, cx: &Cx<'_>) -> Result<()> {
    let mut config = ModelConfig { dtype: dtype.clone(), ..work.model.config().clone() };
    config.dims.blocks.clone_from(&plan.blocks);
    let shard = |name: &str| match work.artifact.paths.get(name) {
        Some(path) if !cx.work.is_done(name) => path.clone(),
        _ => cx.work.path(name),
    };
    write_rest(
        &work.model,
        &config,
        &mut |name, write| match name {
            "config.json" => Ok(()),
            _ => cx.work.write(name, write),
        },
        &shard,
        &mut |name| cx.work.link_present(work.artifact, name),
    )?;
    for (name, text) in plan.texts(&config) {
        cx.work.write(name, |path| std::fs::write(path, &text).map_err(|e| Fault::writing(path, &e)))?;
    }
    match work.chat_template() {
        Some(template) if !work.artifact.tree.0.contains_key(CHAT) && !cx.work.is_done(CHAT) => {
            cx.work.write(CHAT, |p| std::fs::write(p, template).map_err(|e| Fault::writing(p, &e)))
        }
        _ => Ok(()),
    }
}

/// The files of the export that our own reader opens, where they lie now.
fn written(work: &Work<'_>, plan: &Plan, dtype: &DType, cx: &Cx<'_>) -> Result<BTreeMap<String, std::path::PathBuf>> {
    let mut files = BTreeMap::new();
    for l in 0..plan.blocks.len() {
        let name = block_file(l);
        let path =
            if is_kept(work, plan, dtype, l) { work.artifact.path(&name)?.to_owned() } else { cx.work.path(&name) };
        files.insert(name, path);
    }
    for name in ["config.json", "model-outer.safetensors", "model.safetensors.index.json"] {
        files.insert(name.to_owned(), cx.work.path(name));
    }
    Ok(files)
}

impl Plan {
    fn card(&self, dtype: &DType) -> Target {
        let mut notes = Vec::new();
        let trust = match self.form {
            Form::Remote => {
                notes.push(
                    "`modeling_oops.py` (about 60 lines) gives every block its own widths: read it before you trust it"
                        .to_owned(),
                );
                ", trust_remote_code=True"
            }
            _ => "",
        };
        if self.form == Form::Padded {
            notes.push(
                "every block is padded with zeros to the widest: same function, no smaller; for checks only".to_owned(),
            );
        }
        if self.is_served() {
            notes.push(
                "vLLM has a class of this name: `vllm serve this-folder` (with `--trust-remote-code` for remote code)"
                    .to_owned(),
            );
        }
        Target {
            form: format!("a Hugging Face folder, {}", self.described()),
            weights: format!("{dtype:?}"),
            usage: format!(
                "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
                 model = AutoModelForCausalLM.from_pretrained(\"this-folder\"{trust})\n\
                 tokenizer = AutoTokenizer.from_pretrained(\"this-folder\")\n```"
            ),
            notes,
        }
    }
}

#[cfg(test)]
mod tests;
