//! The stage around a selection method: budget, limits, plan, summary.

use std::marker::PhantomData;

use oops_artifact::{Kind, PlanInfo, Scores, write_plan};
use oops_core::{Fault, ModelDims, Result, UnitKind, bail_if};
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    bundle::{Limits, Queue, bundles, check_budget, plan_without},
    miss::{missed, sure_to_miss},
    targets::{Demands, Target},
};

/// Default of every `at least one` parameter.
pub(crate) fn one() -> usize {
    1
}

/// Parameters of a selection method: those that all have, and then its own. A macro and not a flattened field, since serde
/// refuses unknown names only without one.
macro_rules! selection_params {
    ($(#[$about:meta])* pub(crate) struct Params { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Params {
            /// Fraction of the decoder's linear weights that goes, 0 ≤ ρ < 1.
            remove_fraction: f64,
            /// FFN widths after the cut are multiples of this.
            #[serde(default = "crate::stage::one")]
            channel_multiple: usize,
            /// KV groups (or query heads per group) that stay in every block.
            #[serde(default = "crate::stage::one")]
            min_attention: usize,
            /// Multiples of channels that stay in every block.
            #[serde(default = "crate::stage::one")]
            min_multiples: usize,
            /// Programs that the pruned model must load in: `onnx`, `gguf`, `gguf_k`, `hf`, `vllm`. Each constrains the widths.
            #[serde(default)]
            targets: Vec<crate::targets::Target>,
            /// Devices that share every layer (vLLM's `--tensor-parallel-size`): KV heads and FFN widths divide among them.
            #[serde(default = "crate::stage::one")]
            tensor_parallel: usize,
            /// Make a plan that misses `remove_fraction` by more than one bundle and 1 % of the budget, with a warning; without
            /// it that is an error, which names the fractions that can be reached.
            #[serde(default)]
            allow_miss: bool,
            $($own)*
        }

        impl crate::stage::HasCommon for Params {
            fn common(&self) -> crate::stage::Common {
                crate::stage::Common {
                    remove_fraction: self.remove_fraction,
                    channel_multiple: self.channel_multiple,
                    min_attention: self.min_attention,
                    min_multiples: self.min_multiples,
                    targets: self.targets.clone(),
                    tensor_parallel: self.tensor_parallel,
                    allow_miss: self.allow_miss,
                }
            }
        }
    };
}
pub(crate) use selection_params;

/// Parameters made by [`selection_params`].
pub(crate) trait HasCommon {
    /// Those that all methods have.
    fn common(&self) -> Common;
}

/// What every selection method is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// Fraction of the decoder's linear weights that goes.
    pub(crate) remove_fraction: f64,
    /// FFN widths after the cut are multiples of this.
    pub(crate) channel_multiple: usize,
    /// KV groups (or query heads per group) that stay in every block.
    pub(crate) min_attention: usize,
    /// Multiples of channels that stay in every block.
    pub(crate) min_multiples: usize,
    /// Where the model must load.
    pub(crate) targets: Vec<Target>,
    /// Devices that share every layer.
    pub(crate) tensor_parallel: usize,
    /// Whether a plan may miss its budget by more than a bundle.
    pub(crate) allow_miss: bool,
}

impl Common {
    /// What the targets ask of a method that gives every block the same widths, or does not.
    pub(crate) fn demands(&self, gives_same: bool) -> Demands<'_> {
        Demands { targets: &self.targets, gives_same, tensor_parallel: self.tensor_parallel }
    }

    /// What must stay.
    fn limits(&self, demands: &Demands<'_>) -> Limits {
        Limits {
            channel_multiple: demands.channel_multiple(self.channel_multiple),
            min_attention: self.min_attention,
            min_multiples: self.min_multiples,
            group_multiple: self.tensor_parallel,
            attention_stays: demands.attention_stays(),
        }
    }

    fn check(&self) -> Result<()> {
        bail_if(!(0.0..1.0).contains(&self.remove_fraction), || {
            Fault::config(format!("`remove_fraction` is {}, but must be in 0 ≤ … < 1", self.remove_fraction))
        })?;
        let counts = [self.channel_multiple, self.min_attention, self.min_multiples, self.tensor_parallel];
        bail_if(counts.contains(&0), || {
            Fault::config(
                "`channel_multiple`, `min_attention`, `min_multiples` and `tensor_parallel` must be at least 1",
            )
        })
    }

    /// Linear weights that may go.
    pub(crate) fn budget(&self, dims: &ModelDims) -> u64 {
        (self.remove_fraction * dims.decoder_params() as f64).floor() as u64
    }
}

/// What a method chose.
pub(crate) struct Selected {
    /// Bundles taken from the front of each queue.
    pub(crate) taken: Vec<usize>,
    /// Anything else the method has to say.
    pub(crate) details: Value,
}

/// A selection method: one pure function from queues of bundles and a budget to how many of each go.
pub(crate) trait Selector: Send + Sync + 'static {
    /// Parameters.
    type Params: HasCommon + Serialize + DeserializeOwned + JsonSchema;
    /// Stage name, `select.…`.
    const NAME: &'static str;
    /// Algorithm version.
    const VERSION: u32;
    /// One line for `oops stages`.
    const ABOUT: &'static str;

    /// Whether the method gives every block the same widths when a target needs it.
    const SAME_WIDTHS: bool = false;

    /// Checks the parameters beyond the common ones.
    fn check(_params: &Self::Params) -> Result<()> {
        Ok(())
    }

    /// Whether the method may remove more than the budget, by half a bundle at most.
    fn may_exceed(_params: &Self::Params) -> bool {
        false
    }

    /// How many bundles go from the front of each queue, costing at most `budget` weights, or nearly ([`Self::may_exceed`]).
    fn select(params: &Self::Params, scores: &Scores, queues: &[Queue], budget: u64) -> Result<Selected>;

    /// Weights that the next larger plan than `taken`, which [`Self::select`] chose, removes: by default, that with the
    /// cheapest further bundle.
    fn above(_params: &Self::Params, _scores: &Scores, queues: &[Queue], taken: &[usize]) -> Option<u64> {
        let cheapest = queues.iter().zip(taken).filter_map(|(q, &t)| Some(q.get(t)?.cost)).min();
        cheapest.map(|cost| cost + spent(queues, taken))
    }
}

/// Weights of the first `taken[q]` bundles of each queue.
pub(crate) fn spent(queues: &[Queue], taken: &[usize]) -> u64 {
    queues.iter().zip(taken).flat_map(|(q, &t)| &q[..t]).map(|b| b.cost).sum()
}

/// Weights of the largest bundle.
pub(crate) fn largest(queues: &[Queue]) -> u64 {
    queues.iter().flatten().map(|b| b.cost).max().unwrap_or(0)
}

/// The stage of a method.
pub(crate) struct SelectStage<S>(PhantomData<S>);

impl<S: Selector> Stage for SelectStage<S> {
    type Params = S::Params;
    const NAME: &'static str = S::NAME;
    const VERSION: u32 = S::VERSION;
    const ABOUT: &'static str = S::ABOUT;
    const INPUTS: &'static [Port] = &[Port::optional("model", Kind::Model), Port::one("scores", Kind::Scores)];
    const OUTPUT: Kind = Kind::Plan;

    fn check(params: &S::Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        let common = params.common();
        common.check()?;
        let demands = common.demands(S::SAME_WIDTHS);
        demands.check_method(S::NAME)?;
        demands.check_form(inputs.one("model").form)?;
        S::check(params)?;
        let facts = inputs.one("scores").model.or(inputs.one("model").model);
        if let Some(dims) = &facts {
            demands.check_dense(dims)?;
            // Query heads free less than KV groups; what is impossible for the easier unit is impossible for both.
            check_budget(dims, UnitKind::KvGroup, &common.limits(&demands), common.budget(dims))?;
        }
        let mut warnings = Vec::new();
        if let Some(dims) = facts.as_ref().filter(|_| demands.same_widths()) {
            let miss = sure_to_miss::<S>(params, dims, &common.limits(&demands));
            warnings.extend(miss.map(|m| m.allowed(common.allow_miss)).transpose()?);
        }
        let same_widths = Some(demands.same_widths());
        Ok(Facts { model: facts, same_widths, warnings, ..Facts::default() })
    }

    fn run(params: &S::Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let scores = Scores::read(inputs.one("scores")?)?;
        let dims = &scores.info.dims;
        let common = params.common();
        let (budget, demands) = (common.budget(dims), common.demands(S::SAME_WIDTHS));
        demands.check_dense(dims)?;
        let limits = common.limits(&demands);
        check_budget(dims, scores.info.attention_unit, &limits, budget)?;
        let queues = bundles(&scores, &limits);
        let selected = S::select(params, &scores, &queues, budget)?;
        if let Some(miss) = missed::<S>(params, &scores, &queues, &selected.taken) {
            cx.warn(miss.allowed(common.allow_miss)?);
        }
        let plan = plan_without(dims, &queues, &selected.taken);
        plan.check(dims)?;
        demands.check_widths(&plan.apply(dims))?;
        let removed = plan.removed_params(dims);
        let most = budget + if S::may_exceed(params) { largest(&queues).div_ceil(2) } else { 0 };
        bail_if(removed > most, || Fault::internal(format!("the plan removes {removed} weights of {budget}")))?;
        let info = PlanInfo {
            method: S::NAME.to_owned(),
            remove_fraction: common.remove_fraction,
            removed_fraction: removed as f64 / dims.decoder_params() as f64,
            removed_params: removed,
            before: dims.clone(),
            after: plan.apply(dims),
            details: selected.details,
        };
        write_plan(&cx.work, &plan, &info)
    }
}
