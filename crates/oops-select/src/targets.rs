//! Programs that the pruned model must load in, and what each asks of the widths. Stated before anything runs, since a
//! plan that its program refuses costs the whole run.
//!
//! | target | FFN channels | blocks | why |
//! | --- | --- | --- | --- |
//! | `onnx` | any | may differ | widths are shapes of the graph |
//! | `gguf` | multiples of 32 | may differ | blocks of Q8_0 and Q4_0; narrower rows fall back to F16 |
//! | `gguf_k` | multiples of 256 | may differ | super-blocks of the K-quants; other rows fall back to larger formats |
//! | `hf` | any | all the same | stock classes of transformers have one width (export.hf writes remote code otherwise) |
//! | `vllm` | any | all the same | the same, and it runs no remote modelling code |
//!
//! Every block keeps attention and FFN whatever the target (`min_attention`, `min_multiples`), so the shapes that
//! llama.cpp gets wrong (no attention in block 0, attention without FFN) do not arise.

use oops_core::{Fault, ModelDims, Result, bail_if};
use oops_stage::Form;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bundle::Limits;

/// A program that the pruned model must load in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// ONNX Runtime.
    Onnx,
    /// llama.cpp in F32, F16, BF16, Q8_0 or Q4_0.
    Gguf,
    /// llama.cpp in K-quants.
    GgufK,
    /// Stock classes of transformers.
    Hf,
    /// vLLM.
    Vllm,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Gguf => "gguf",
            Self::GgufK => "gguf_k",
            Self::Hf => "hf",
            Self::Vllm => "vllm",
        }
    }

    /// FFN widths are multiples of this.
    fn multiple(self) -> usize {
        match self {
            Self::Gguf => 32,
            Self::GgufK => 256,
            Self::Onnx | Self::Hf | Self::Vllm => 1,
        }
    }

    fn same_widths(self) -> bool {
        matches!(self, Self::Hf | Self::Vllm)
    }
}

/// The first target that needs the same widths in every block.
pub(crate) fn same_widths(targets: &[Target]) -> Option<Target> {
    targets.iter().copied().find(|t| t.same_widths())
}

/// The limits with the targets' multiples.
pub(crate) fn limits(limits: Limits, targets: &[Target]) -> Limits {
    let least = |a: usize, b: usize| (1..=b).map(|k| k * a).find(|n| n.is_multiple_of(b)).unwrap_or(a * b);
    Limits { channel_multiple: targets.iter().fold(limits.channel_multiple, |m, t| least(m, t.multiple())), ..limits }
}

/// Fails if a method that gives every block its own widths is asked for a target that needs one.
pub(crate) fn check_method(targets: &[Target], method: &str, gives_same: bool) -> Result<()> {
    let Some(target) = same_widths(targets).filter(|_| !gives_same) else { return Ok(()) };
    Err(Fault::config(format!(
        "target `{}` needs the same widths in every block, but `{method}` gives each its own",
        target.name()
    ))
    .help("use select.uniform, or leave the target out: export.hf then writes remote code, export.gguf and export.onnx take any widths"))
}

/// Fails if a model that normalises heads shall load in llama.cpp with other widths in each block: it has no architecture
/// for both.
pub(crate) fn check_form(targets: &[Target], form: Option<Form>) -> Result<()> {
    let gguf = targets.iter().find(|t| matches!(t, Target::Gguf | Target::GgufK));
    let Some(target) = gguf.filter(|_| form.is_some_and(|f| f.head_norms) && same_widths(targets).is_none()) else {
        return Ok(());
    };
    Err(Fault::config(format!(
        "target `{}` cannot hold a model that normalises heads (Qwen3) with other widths in each block",
        target.name()
    ))
    .help("add `hf` to `targets` and use select.uniform, which then cuts every block alike"))
}

/// Fails if a dense model, all of whose blocks must come out alike, does not have them alike.
pub(crate) fn check_dense(targets: &[Target], dims: &ModelDims) -> Result<()> {
    let unlike = dims.blocks.windows(2).any(|w| w[0] != w[1]);
    bail_if(same_widths(targets).is_some() && unlike, || {
        Fault::config("the target needs the same widths in every block, but those of the model differ before the cut")
    })
}

/// Fails if a plan's widths are not what its targets need: a method's bug.
pub(crate) fn check_widths(targets: &[Target], after: &ModelDims) -> Result<()> {
    check_dense(targets, after)?;
    let wrong = |t: &Target| after.blocks.iter().any(|b| !b.ffn.is_multiple_of(t.multiple()));
    match targets.iter().find(|t| wrong(t)) {
        None => Ok(()),
        Some(t) => Err(Fault::config(format!("FFN widths after the cut are no multiples of {}, as target `{}` needs", t.multiple(), t.name()))
            .help("a model whose own width is no multiple must lose the rest: raise `remove_fraction`, or leave the target out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::testkit::LIMITS;
    use oops_core::BlockDims;

    #[test]
    fn multiples_combine() {
        let multiple =
            |own: usize, t: &[Target]| limits(Limits { channel_multiple: own, ..LIMITS }, t).channel_multiple;
        assert_eq!(multiple(1, &[]), 1);
        assert_eq!(multiple(1, &[Target::Gguf, Target::Onnx]), 32);
        assert_eq!(multiple(48, &[Target::Gguf]), 96);
        assert_eq!(multiple(32, &[Target::GgufK, Target::Gguf]), 256);
    }

    #[test]
    fn what_a_target_cannot_have_is_refused_with_the_way_out() {
        let fault = check_method(&[Target::Gguf, Target::Hf], "select.qp", false).unwrap_err().to_string();
        assert!(fault.contains("target `hf` needs the same widths") && fault.contains("select.uniform"), "{fault}");
        check_method(&[Target::Gguf], "select.qp", false).unwrap();
        check_method(&[Target::Vllm], "select.uniform", true).unwrap();
        let qwen3 = Some(Form { head_norms: true, tokenizer: true });
        let fault = check_form(&[Target::Gguf], qwen3).unwrap_err().to_string();
        assert!(fault.contains("target `gguf` cannot hold") && fault.contains("select.uniform"), "{fault}");
        check_form(&[Target::Gguf, Target::Hf], qwen3).unwrap();
        check_form(&[Target::Onnx], qwen3).unwrap();
        check_form(&[Target::Gguf], None).unwrap();
        let block = BlockDims { query_heads: 2, kv_heads: 1, head_dim: 4, ffn: 64 };
        let dims = |ffn: usize| ModelDims {
            hidden: 8,
            vocab: 9,
            tied: true,
            gated: true,
            blocks: vec![block, BlockDims { ffn, ..block }],
        };
        check_widths(&[Target::Gguf], &dims(32)).unwrap();
        assert!(check_widths(&[Target::GgufK], &dims(64)).unwrap_err().what().contains("multiples of 256"));
        assert!(check_widths(&[Target::Hf], &dims(32)).is_err());
    }
}
