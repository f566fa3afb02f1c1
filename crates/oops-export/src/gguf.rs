//! `export.gguf`: one GGUF file, as llama.cpp and the programs around it read them.
//!
//! Uniform models keep their own architecture, the others become `deci`, whose widths are lists (see
//! [`oops_model::write_gguf`] for what is written and what never is).

use oops_artifact::Kind;
use oops_core::{Fault, Result, bail_if};
use oops_model::{Checkpoint, DType, GgufFormat, GgufMeta, GgufTarget, write_gguf};
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    proof::Proof,
    stage::{PORTS, Target, Work, tolerance},
};

const FILE: &str = "model.gguf";

/// Parameters of `export.gguf`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// How weights are stored: `f32`, `f16`, `bf16`, `q8_0` or `q4_0`. Norms and biases are f32; rows that are not whole
    /// blocks of 32 are f16.
    format: GgufFormat,
    /// The model's name in the file.
    name: String,
}

impl Default for Params {
    fn default() -> Self {
        Self { format: GgufFormat::default(), name: "pruned".to_owned() }
    }
}

/// A GGUF file.
pub(crate) struct Gguf;

impl Stage for Gguf {
    type Params = Params;
    const NAME: &'static str = "export.gguf";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "one GGUF file for llama.cpp, widths per block kept, reopened and compared";
    const INPUTS: &'static [Port] = PORTS;
    const OUTPUT: Kind = Kind::Export;

    /// What no GGUF file can hold is refused before the work that makes it.
    fn check(_: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        let facts = inputs.one("model");
        if let Some(form) = facts.form {
            bail_if(!form.tokenizer, || {
                Fault::config("a GGUF file holds its tokenizer, but the model has none")
                    .help("put the model's tokenizer.json beside its weights (`save_pretrained` of a fast tokenizer writes one)")
            })?;
            bail_if(form.head_norms && form.output_biases, || {
                Fault::config("no GGUF architecture holds a model that normalises heads (Qwen3) with biases on attention or FFN outputs")
                    .help("repair it without bias compensation (reconstruct.ridge), or use export.onnx or export.hf")
            })?;
            bail_if(form.head_norms && facts.same_widths == Some(false), || {
                Fault::config("no GGUF architecture holds a model that normalises heads (Qwen3) with other widths in each block")
                    .help("use select.uniform with `targets: [gguf, hf]`, which cuts every block alike, or export.onnx or export.hf")
            })?;
        }
        Ok(Facts::default())
    }

    /// Weights are streamed; the comparison runs the model on a few short prompts.
    fn needs(_: &Params, _: &PortFacts) -> Needs {
        Needs::HEAVY
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let work = Work::open(inputs)?;
        GgufTarget::of(&work.model)?;
        let proof = Proof::of(&work.model)?;
        cx.check_cancelled()?;
        let meta = GgufMeta { name: params.name.clone(), chat_template: work.chat_template().map(str::to_owned) };
        let mut target = None;
        cx.work.write(FILE, |path| {
            target = Some(write_gguf(path, &work.model, params.format, &meta)?);
            Ok(())
        })?;
        let target = target.ok_or_else(|| Fault::internal("nothing was written"))?;
        let back = Checkpoint::open_path(&cx.work.path(FILE))?;
        same_text(&work.model, &back)?;
        let allowed = tolerance(&stored(params.format));
        let comparison = proof.compare("oops's own GGUF reader", &proof.run(&back)?, allowed)?;
        work.finish(cx, &card(&target, params), &comparison)
    }
}

fn stored(format: GgufFormat) -> DType {
    match format {
        GgufFormat::F32 => DType::F32,
        GgufFormat::F16 => DType::F16,
        GgufFormat::Bf16 => DType::BF16,
        GgufFormat::Q8_0 | GgufFormat::Q4_0 => DType::Quantized(format.name().to_owned()),
    }
}

/// The tokenizer must have survived.
fn same_text(model: &Checkpoint, back: &Checkpoint) -> Result<()> {
    const TEXT: &str = "Once upon a time, in 1984: “Été à Zürich”\n\n\tit cost 12,345.67 – 🙂";
    let (before, after) = (model.tokenizer()?.encode(TEXT)?, back.tokenizer()?.encode(TEXT)?);
    if before == after {
        return Ok(());
    }
    Err(Fault::numerical(format!("the tokenizer cuts a text into {after:?} after the export, {before:?} before"))
        .help("this is a bug of the exporter: please report it with the model's tokenizer.json"))
}

fn card<'a>(target: &GgufTarget, params: &Params) -> Target<'a> {
    let mut notes = Vec::new();
    if target.architecture == "deci" {
        notes.push("blocks differ in width: the architecture is `deci`, which llama.cpp loads as it is");
        notes.push("without flash attention (`-fa on`) llama.cpp pads its value cache to the widest block");
    }
    Target {
        form: format!("GGUF, architecture `{}`", target.architecture),
        weights: params.format.name().to_owned(),
        usage: "```sh\nllama-cli -m model.gguf -fa on -p \"Once upon a time\"\n```".to_owned(),
        notes,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use oops_stage::Form;

    use super::*;

    #[test]
    fn what_no_file_can_hold_is_refused_before_any_work() {
        let check_with = |output_biases, head_norms, tokenizer, same_widths| {
            let form = Some(Form { head_norms, output_biases, tokenizer, context: 64 });
            let facts = Facts { form, same_widths, ..Facts::default() };
            let ports = PortFacts(BTreeMap::from([("model".to_owned(), vec![facts])]));
            Gguf::check(&Params::default(), &ports, &[]).map(drop)
        };
        let check = |head_norms, tokenizer, same_widths| check_with(false, head_norms, tokenizer, same_widths);
        assert!(check_with(true, true, true, Some(true)).unwrap_err().to_string().contains("with biases"));
        check_with(true, false, true, Some(false)).unwrap();
        assert!(check(false, false, None).unwrap_err().to_string().contains("the model has none"));
        assert!(check(true, true, Some(false)).unwrap_err().to_string().contains("normalises heads"));
        check(true, true, Some(true)).unwrap();
        check(true, true, None).unwrap();
        check(false, true, Some(false)).unwrap();
    }
}
