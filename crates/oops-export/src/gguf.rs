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
    proof::{Comparison, Proof},
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
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "one GGUF file for llama.cpp, widths per block kept, reopened and compared";
    const INPUTS: &'static [Port] = PORTS;
    const OUTPUT: Kind = Kind::Export;

    /// What no GGUF file can hold is refused before the work that makes it.
    fn check(_: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        let facts = inputs.one("model");
        let mut warnings = Vec::new();
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
            warnings = form
                .gguf_losses
                .map_err(|why| Fault::config(why).help("export.hf and export.onnx take this tokenizer as it is"))?;
        }
        Ok(Facts { warnings, ..Facts::default() })
    }

    /// Weights are streamed; the comparison runs the model on a few short prompts.
    fn needs(_: &Params, _: &PortFacts) -> Needs {
        Needs::HEAVY
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let work = Work::open(inputs)?;
        GgufTarget::of(&work.model)?;
        // Beyond a sliding window llama.cpp computes something else: the file's context ends there.
        let config = work.model.config();
        let proof = Proof::of(&work.model, config.sliding_window.unwrap_or(usize::MAX).min(config.max_position))?;
        cx.check_cancelled()?;
        let meta = GgufMeta { name: params.name.clone(), chat_template: work.chat_template().map(str::to_owned) };
        let mut target = None;
        cx.work.write(FILE, |path| {
            target = Some(write_gguf(path, &work.model, params.format, &meta)?);
            Ok(())
        })?;
        let target = target.ok_or_else(|| Fault::internal("nothing was written"))?;
        let back = Checkpoint::open_as_llama_cpp(&cx.work.path(FILE))?;
        let other_tokens = proof.other_tokens(&back.tokenizer()?, &target.lost)?;
        let allowed = tolerance(&stored(params.format));
        let compared =
            proof.compare("oops's own GGUF reader, as llama.cpp reads the file", &proof.run(&back)?, allowed)?;
        let comparison = Comparison { other_tokens, notes: target.lost.clone(), ..compared };
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

fn card(target: &GgufTarget, params: &Params) -> Target {
    let mut notes = target.lost.clone();
    if target.architecture == "deci" {
        notes.push(
            "the architecture is `deci`, which has widths for every block; llama.cpp loads it as it is".to_owned(),
        );
        notes.push("without flash attention (`-fa on`) llama.cpp pads its value cache to the widest block".to_owned());
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
            let form = Some(Form { head_norms, output_biases, tokenizer, context: 64, gguf_losses: Ok(Vec::new()) });
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

    #[test]
    fn what_llama_cpp_does_otherwise_is_known_before_any_work() {
        let check = |gguf_losses| {
            let form =
                Some(Form { head_norms: false, output_biases: false, tokenizer: true, context: 64, gguf_losses });
            let facts = Facts { form, ..Facts::default() };
            Gguf::check(&Params::default(), &PortFacts(BTreeMap::from([("model".to_owned(), vec![facts])])), &[])
        };
        assert_eq!(check(Ok(vec!["no window".to_owned()])).unwrap().warnings, ["no window"]);
        assert!(check(Err("its model is Unigram".to_owned())).unwrap_err().to_string().contains("Unigram"));
    }
}
