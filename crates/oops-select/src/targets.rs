//! Programs that the pruned model must load in, and what each asks of the widths. Stated before anything runs, since a
//! plan that its program refuses costs the whole run.
//!
//! | target | FFN channels | blocks | why |
//! | --- | --- | --- | --- |
//! | `onnx` | any | may differ | widths are shapes of the graph |
//! | `gguf` | multiples of 32 | may differ | blocks of Q8_0 and Q4_0; narrower rows fall back to F16 |
//! | `gguf_k` | multiples of 256 | may differ | super-blocks of the K-quants; other rows fall back to larger formats |
//! | `hf` | any | all the same | stock classes of transformers have one width (export.hf writes remote code otherwise) |
//! | `vllm` | any | attention stays whole, or all the same | `DeciLMForCausalLM` has widths per block but one number of query heads; the stock classes have one width |
//!
//! `select.uniform` gives `vllm` the same widths, every other method leaves attention whole for it. With `tensor_parallel`
//! devices, KV heads are multiples of their number, and FFN channels are so on each of them.
//!
//! Every block keeps attention and FFN whatever the target (`min_attention`, `min_multiples`), so the shapes that
//! llama.cpp and vLLM get wrong (no attention in block 0, attention without FFN) do not arise.

use oops_core::{Fault, ModelDims, Result, bail_if};
use oops_stage::Form;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
}

/// What the targets of a stage ask together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demands<'a> {
    pub(crate) targets: &'a [Target],
    /// Whether the method gives every block the same widths when asked.
    pub(crate) gives_same: bool,
    /// Devices that share every layer.
    pub(crate) tensor_parallel: usize,
}

impl Demands<'_> {
    fn has(&self, target: Target) -> bool {
        self.targets.contains(&target)
    }

    /// Whether every block must have the same widths.
    pub(crate) fn same_widths(&self) -> bool {
        self.has(Target::Hf) || self.has(Target::Vllm) && self.gives_same
    }

    /// Whether attention must stay as it is.
    pub(crate) fn attention_stays(&self) -> bool {
        self.has(Target::Vllm) && !self.same_widths()
    }

    /// FFN widths are multiples of this and of `own`, on every device.
    pub(crate) fn channel_multiple(&self, own: usize) -> usize {
        let multiples = |a: usize, b: usize| (1..=b).map(move |k| a.saturating_mul(k));
        let least = |a, b| multiples(a, b).find(|n| n.is_multiple_of(b)).unwrap_or(usize::MAX);
        self.targets.iter().fold(own, |m, t| least(m, t.multiple())).saturating_mul(self.tensor_parallel)
    }

    /// Fails if `method`, which gives every block its own widths, is asked for a target that needs one.
    pub(crate) fn check_method(&self, method: &str) -> Result<()> {
        bail_if(self.same_widths() && !self.gives_same, || {
            Fault::config(format!("target `hf` needs the same widths in every block, but `{method}` gives each its own"))
                .help("use select.uniform, or leave the target out: export.hf then writes remote code, export.gguf and export.onnx take any widths")
        })
    }

    /// Fails if a target has no place for the model whatever is cut from it: for its tokenizer, or for heads that are
    /// normalised beside other widths in each block.
    pub(crate) fn check_form(&self, form: Option<Form>) -> Result<()> {
        let Some(form) = form else { return Ok(()) };
        let in_gguf = |t: &&Target| matches!(t, Target::Gguf | Target::GgufK);
        if let Some((target, why)) = self.targets.iter().find(in_gguf).zip(form.gguf_losses.as_ref().err()) {
            let what = format!("target `{}` cannot hold this model: {why}", target.name());
            return Err(Fault::config(what).help("leave the target out: export.hf and export.onnx take any tokenizer"));
        }
        let unlike = |t: &&Target| in_gguf(t) || **t == Target::Vllm;
        let target = self.targets.iter().find(unlike);
        let Some(target) = target.filter(|_| form.head_norms && !self.same_widths()) else {
            return Ok(());
        };
        Err(Fault::config(format!(
            "target `{}` cannot hold a model that normalises heads (Qwen3) with other widths in each block",
            target.name()
        ))
        .help("add `hf` to `targets` and use select.uniform, which then cuts every block alike"))
    }

    /// Fails if a dense model has not what only a cut could take away.
    pub(crate) fn check_dense(&self, dims: &ModelDims) -> Result<()> {
        let unlike = dims.blocks.windows(2).any(|w| w[0] != w[1]);
        bail_if(self.same_widths() && unlike, || {
            Fault::config(
                "the target needs the same widths in every block, but those of the model differ before the cut",
            )
        })?;
        let unlike = dims.blocks.windows(2).any(|w| w[0].query_heads != w[1].query_heads);
        bail_if(self.attention_stays() && unlike, || {
            Fault::config(
                "target `vllm` needs as many query heads in every block, but those of the model differ before the cut",
            )
        })?;
        let devices = self.tensor_parallel;
        let uneven = dims.blocks.iter().find(|b| !b.kv_heads.is_multiple_of(devices));
        bail_if(uneven.is_some(), || {
            let heads = uneven.map_or(0, |b| b.kv_heads);
            Fault::config(format!("{heads} KV heads cannot be shared by {devices} devices (`tensor_parallel`)"))
                .help("lower `tensor_parallel` to a divisor of the model's KV heads")
        })
    }

    /// Fails if a plan's widths are not what its targets need: a method's bug.
    pub(crate) fn check_widths(&self, after: &ModelDims) -> Result<()> {
        self.check_dense(after)?;
        let multiple = self.channel_multiple(1);
        bail_if(after.blocks.iter().any(|b| !b.ffn.is_multiple_of(multiple)), || {
            let names: Vec<_> = self.targets.iter().map(|t| format!("`{}`", t.name())).collect();
            let devices = self.tensor_parallel;
            Fault::config(format!("FFN widths after the cut are no multiples of {multiple}, as the targets ({}) on {devices} devices need", names.join(", ")))
                .help("a model whose own width is no multiple must lose the rest: raise `remove_fraction`, or leave the target out")
        })
    }
}

#[cfg(test)]
mod tests {
    use oops_core::BlockDims;

    use super::*;

    fn of(targets: &[Target]) -> Demands<'_> {
        Demands { targets, gives_same: false, tensor_parallel: 1 }
    }

    #[test]
    fn multiples_combine() {
        assert_eq!(of(&[]).channel_multiple(1), 1);
        assert_eq!(of(&[Target::Gguf, Target::Onnx]).channel_multiple(1), 32);
        assert_eq!(of(&[Target::Gguf]).channel_multiple(48), 96);
        assert_eq!(of(&[Target::GgufK, Target::Gguf]).channel_multiple(32), 256);
        assert_eq!(Demands { tensor_parallel: 4, ..of(&[Target::Gguf]) }.channel_multiple(1), 128);
        assert_eq!(Demands { tensor_parallel: 4, ..of(&[Target::Gguf]) }.channel_multiple(usize::MAX), usize::MAX);
    }

    #[test]
    fn what_a_target_cannot_have_is_refused_with_the_way_out() {
        let fault = of(&[Target::Gguf, Target::Hf]).check_method("select.qp").unwrap_err().to_string();
        assert!(fault.contains("target `hf` needs the same widths") && fault.contains("select.uniform"), "{fault}");
        of(&[Target::Gguf, Target::Vllm]).check_method("select.qp").unwrap();
        let form = |head_norms, gguf_losses| Form {
            head_norms,
            output_biases: false,
            tokenizer: true,
            context: 64,
            gguf_losses,
        };
        let qwen3 = Some(form(true, Ok(Vec::new())));
        for target in [Target::Gguf, Target::Vllm] {
            let (targets, both) = ([target], [target, Target::Hf]);
            let fault = of(&targets).check_form(qwen3.clone()).unwrap_err().to_string();
            assert!(fault.contains(&format!("`{}` cannot hold", target.name())) && fault.contains("select.uniform"));
            of(&both).check_form(qwen3.clone()).unwrap();
            of(&targets).check_form(None).unwrap();
        }
        of(&[Target::Onnx]).check_form(qwen3).unwrap();
        let unigram = Some(form(false, Err("its model is Unigram".to_owned())));
        let fault = of(&[Target::Onnx, Target::GgufK]).check_form(unigram.clone()).unwrap_err().to_string();
        assert!(fault.contains("`gguf_k` cannot hold this model: its model is Unigram"), "{fault}");
        of(&[Target::Vllm]).check_form(unigram).unwrap();
    }

    fn dims(second: BlockDims) -> ModelDims {
        ModelDims { hidden: 8, vocab: 9, tied: true, gated: true, blocks: vec![BLOCK, second] }
    }

    const BLOCK: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 64 };

    #[test]
    fn widths_are_what_the_targets_need() {
        let narrow = dims(BlockDims { ffn: 32, ..BLOCK });
        of(&[Target::Gguf]).check_widths(&narrow).unwrap();
        assert!(of(&[Target::GgufK]).check_widths(&narrow).unwrap_err().what().contains("multiples of 256"));
        assert!(of(&[Target::Hf]).check_widths(&narrow).is_err());
        of(&[Target::Vllm]).check_widths(&narrow).unwrap();
        assert!(Demands { gives_same: true, ..of(&[Target::Vllm]) }.check_widths(&narrow).is_err());
        let fewer = dims(BlockDims { query_heads: 2, kv_heads: 1, ..BLOCK });
        assert!(of(&[Target::Vllm]).check_widths(&fewer).unwrap_err().what().contains("as many query heads"));
    }

    #[test]
    fn devices_share_heads_and_channels() {
        let on = |tensor_parallel| Demands { tensor_parallel, ..of(&[]) };
        on(2).check_widths(&dims(BLOCK)).unwrap();
        assert!(on(4).check_dense(&dims(BLOCK)).unwrap_err().what().contains("2 KV heads cannot be shared by 4"));
        let odd = dims(BlockDims { ffn: 33, ..BLOCK });
        assert!(on(2).check_widths(&odd).unwrap_err().what().contains("multiples of 2"));
    }
}
