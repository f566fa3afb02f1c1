//! The loop over blocks, once for all methods.

use std::marker::PhantomData;

use oops_artifact::{BlockScores, ChannelStats, Kind, Scale, Scores, ScoresInfo, read_site};
use oops_core::{Fault, Result, Rng, Site, UnitKind, bail_if};
use oops_model::Checkpoint;
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::BlockView;

/// Parameters of methods that have none of their own.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shared {
    /// Attention units that are scored: `kv_group` or `query_head`.
    pub attention_unit: UnitKind,
}

impl Default for Shared {
    fn default() -> Self {
        Self { attention_unit: UnitKind::KvGroup }
    }
}

/// A scoring method: one pure function of one block.
pub trait Scorer: Send + Sync + 'static {
    /// Parameters; must include `attention_unit`.
    type Params: Serialize + DeserializeOwned + JsonSchema;
    /// Stage name, `score.…`.
    const NAME: &'static str;
    /// Algorithm version.
    const VERSION: u32;
    /// One line for `oops stages`.
    const ABOUT: &'static str;
    /// How scores compare across blocks and kinds.
    const SCALE: Scale;
    /// Whether the method reads activation statistics.
    const NEEDS_STATS: bool = true;
    /// Whether the method draws random numbers.
    const SEEDED: bool = false;

    /// The attention units that the parameters ask for.
    fn attention_unit(params: &Self::Params) -> UnitKind;

    /// One number per unit of the block, higher = keep.
    fn score(params: &Self::Params, view: &BlockView<'_>, rng: &mut Rng) -> Result<BlockScores>;
}

/// The stage of a method.
pub(crate) struct ScoreStage<S>(PhantomData<S>);

impl<S: Scorer> Stage for ScoreStage<S> {
    type Params = S::Params;
    const NAME: &'static str = S::NAME;
    const VERSION: u32 = S::VERSION;
    const ABOUT: &'static str = S::ABOUT;
    const INPUTS: &'static [Port] = &[Port::one("model", Kind::Model), Port::optional("stats", Kind::Stats)];
    const OUTPUT: Kind = Kind::Scores;
    const SEEDED: bool = S::SEEDED;

    fn check(params: &S::Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        bail_if(S::NEEDS_STATS && !inputs.0.contains_key("stats"), || {
            Fault::config(format!("`{}` needs activation statistics", S::NAME))
                .help("connect a calibrate.activations stage: `in: { …, stats: <stage> }`")
        })?;
        bail_if(S::attention_unit(params) == UnitKind::FfnChannel, || {
            Fault::config("`attention_unit` cannot be `ffn_channel`").help("allowed: kv_group, query_head")
        })?;
        let model = inputs.one("model").model;
        if let (Some(a), Some(b)) = (&model, inputs.one("stats").model) {
            bail_if(*a != b, || Fault::config("`stats` were taken from a model of other dimensions than `model`"))?;
        }
        Ok(Facts { model, ..Facts::default() })
    }

    fn run(params: &S::Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let checkpoint = Checkpoint::open(&inputs.one("model")?.paths)?;
        let dims = &checkpoint.config().dims;
        let stats = inputs.optional("stats").filter(|_| S::NEEDS_STATS);
        let mut rng = Rng::new(cx.seed, S::NAME);
        cx.progress.begin(dims.blocks.len() as u64, "blocks");
        let mut blocks = Vec::with_capacity(dims.blocks.len());
        for (l, widths) in dims.blocks.iter().enumerate() {
            cx.check_cancelled()?;
            let block = checkpoint.block(l)?;
            let site = |s: Site| -> Result<ChannelStats> {
                let all = stats.map(|a| read_site(a, l, s)).transpose()?.map(|x| x.all()).unwrap_or_default();
                bail_if(stats.is_some() && all.mean.len() != widths.width(s), || {
                    Fault::data(format!("statistics of {} channels for a site of {}", all.mean.len(), widths.width(s)))
                        .at(format!("block {l}, {s}"))
                })?;
                Ok(all)
            };
            let view = BlockView { dims: widths, block: &block, stats: [site(Site::AttnOut)?, site(Site::MlpDown)?] };
            blocks.push(S::score(params, &view, &mut rng).and_then(finite).map_err(|f| f.at(format!("block {l}")))?);
            cx.progress.advance(1);
        }
        let info = ScoresInfo {
            method: S::NAME.to_owned(),
            scale: S::SCALE,
            attention_unit: S::attention_unit(params),
            dims: dims.clone(),
        };
        Scores { info, blocks }.write(&cx.work)
    }
}

fn finite(scores: BlockScores) -> Result<BlockScores> {
    let all = scores.attention.iter().chain(&scores.ffn).all(|s| s.is_finite());
    bail_if(!all, || Fault::numerical("a score is not finite").help("check the model's weights and the statistics"))?;
    Ok(scores)
}
