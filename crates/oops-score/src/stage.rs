//! The loop over blocks, once for all methods.

use std::marker::PhantomData;

use oops_artifact::{
    BlockScores, Kind, MeasuredOn, Scale, Scores, ScoresInfo, read_curvature, read_gradients, read_gram_all,
    read_massive_dimensions, read_site,
};
use oops_core::{BlockDims, Fault, Result, Rng, Site, UnitKind, bail_if};
use oops_model::{Block, Checkpoint};
use oops_stage::{self as stage, Cx, Facts, Inputs, Port, PortFacts, Sizes, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{BlockView, view::Gradients};

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

/// Measurements that a method cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a measurement of its own, needed or not")]
pub struct Needs {
    /// Moments per channel.
    pub stats: bool,
    /// Gram matrices.
    pub gram: bool,
    /// Mask gradients.
    pub gradients: bool,
    /// Curvature behind the sites.
    pub curvature: bool,
}

impl Needs {
    /// Weights alone.
    pub const NOTHING: Self = Self { stats: false, gram: false, gradients: false, curvature: false };
    /// Moments per channel.
    pub const STATS: Self = Self { stats: true, ..Self::NOTHING };
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
    /// What the method needs to have been measured, whatever its parameters.
    const NEEDS: Needs;
    /// Whether the method draws random numbers.
    const SEEDED: bool = false;

    /// The attention units that the parameters ask for.
    fn attention_unit(params: &Self::Params) -> UnitKind;

    /// What the method needs to have been measured for these parameters.
    fn needs(_params: &Self::Params) -> Needs {
        Self::NEEDS
    }

    /// Checks the parameters.
    fn check(_params: &Self::Params) -> Result<()> {
        Ok(())
    }

    /// OWL's share of outlier weights of the block, if the method states it.
    fn outlier_share(_params: &Self::Params, _view: &BlockView<'_>) -> Result<Option<f64>> {
        Ok(None)
    }

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
    const INPUTS: &'static [Port] = &[
        Port::one("model", Kind::Model),
        Port::optional("stats", Kind::Stats),
        Port::optional("gradients", Kind::Gradients),
    ];
    const OUTPUT: Kind = Kind::Scores;
    const SEEDED: bool = S::SEEDED;

    fn check(params: &S::Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        let needs = S::needs(params);
        let needed = [
            ("stats", needs.stats, "calibrate.activations"),
            ("gradients", needs.gradients || needs.curvature, "calibrate.gradients"),
        ];
        for (port, is_needed, stage) in needed {
            bail_if(is_needed && !inputs.0.contains_key(port), || {
                Fault::config(format!("`{}` needs `{port}`", S::NAME))
                    .help(format!("connect a {stage} stage: `in: {{ …, {port}: <stage> }}`"))
            })?;
        }
        bail_if(needs.gram && inputs.one("stats").gram == Some(false), || {
            Fault::config(format!("`{}` needs Gram matrices, but `stats` has none", S::NAME))
                .help("set `gram: true` on the calibrate.activations stage")
        })?;
        bail_if(needs.curvature && inputs.one("gradients").gram == Some(false), || {
            Fault::config(format!("`{}` needs the curvature, but `gradients` has none", S::NAME))
                .help("set `curvature: true` on the calibrate.gradients stage")
        })?;
        bail_if(S::attention_unit(params) == UnitKind::FfnChannel, || {
            Fault::config("`attention_unit` cannot be `ffn_channel`").help("allowed: kv_group, query_head")
        })?;
        S::check(params)?;
        let model = inputs.one("model").model;
        for port in ["stats", "gradients"] {
            if let (Some(a), Some(b)) = (&model, inputs.one(port).model) {
                bail_if(*a != b, || {
                    Fault::config(format!("`{port}` were taken from a model of other dimensions than `model`"))
                })?;
            }
        }
        Ok(Facts { model, ..Facts::default() })
    }

    /// Memory: a block, and of its widest site n the Gram matrix and its factor in f64; for an elimination the inverse and
    /// the weights too. Work: one factor and inverse per site, an elimination n²(n + 2·hidden).
    fn needs(params: &S::Params, inputs: &PortFacts) -> stage::Needs {
        let needs = S::needs(params);
        let Some(dims) = inputs.one("model").model.filter(|_| needs.gram) else { return stage::Needs::default() };
        let (sizes, hidden) = (Sizes(&dims), dims.hidden as u64);
        let (n, squares) = (sizes.widest(), dims.blocks.len() as u64 * sizes.squares());
        let (bytes, work) = if needs.curvature {
            (18 * n * n + 16 * n * hidden, squares * (n + 2 * hidden))
        } else {
            (10 * n * n, squares * n)
        };
        stage::Needs {
            heavy: true,
            memory_bytes: Some(sizes.block() + bytes),
            work: Some(work as f64),
            ..stage::Needs::default()
        }
    }

    fn run(params: &S::Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let model = inputs.one("model")?;
        for port in ["stats", "gradients"] {
            let warning = MeasuredOn::warning(inputs.optional(port), port, model)?;
            warning.into_iter().for_each(|w| cx.warn(w));
        }
        let checkpoint = Checkpoint::open(&model.paths)?;
        let dims = &checkpoint.config().dims;
        let mut rng = Rng::new(cx.seed, S::NAME);
        cx.progress.begin(dims.blocks.len() as u64, "blocks");
        let (mut blocks, mut shares) = (Vec::new(), Vec::new());
        for (l, widths) in dims.blocks.iter().enumerate() {
            cx.check_cancelled()?;
            let block = checkpoint.block(l)?;
            let mut one = || -> Result<()> {
                let view = view_of::<S>(params, inputs, l, widths, &block, dims.hidden)?;
                blocks.push(S::score(params, &view, &mut rng).and_then(finite)?);
                shares.extend(S::outlier_share(params, &view)?);
                Ok(())
            };
            one().map_err(|f| f.at(format!("block {l}")))?;
            cx.progress.advance(1);
        }
        let info = ScoresInfo {
            method: S::NAME.to_owned(),
            scale: S::SCALE,
            attention_unit: S::attention_unit(params),
            dims: dims.clone(),
            outlier_share: (shares.len() == blocks.len()).then_some(shares),
        };
        Scores { info, blocks }.write(&cx.work)
    }
}

/// Loads what the method needs of one block.
fn view_of<'a, S: Scorer>(
    params: &S::Params,
    inputs: &Inputs,
    l: usize,
    dims: &'a BlockDims,
    block: &'a Block,
    hidden: usize,
) -> Result<BlockView<'a>> {
    let (needs, mut view) = (S::needs(params), BlockView::of(dims, block));
    if needs.stats {
        view.massive_dimensions = read_massive_dimensions(inputs.one("stats")?, l)?;
    }
    for (site, kind) in [(Site::AttnOut, S::attention_unit(params)), (Site::MlpDown, UnitKind::FfnChannel)] {
        let (i, n) = (site as usize, dims.width(site));
        if needs.stats || needs.gram {
            let stats = inputs.one("stats")?;
            let channels = read_site(stats, l, site)?;
            view.stats[i] = channels.all();
            bail_if(view.stats[i].mean.len() != n, || {
                let found = view.stats[i].mean.len();
                Fault::data(format!("statistics of {found} channels for a site of {n}")).at(site)
            })?;
            if needs.gram {
                view.grams[i] = Some(read_gram_all(stats, l, site, &channels)?);
            }
        }
        if needs.gradients {
            let (sum, squares) = read_gradients(inputs.one("gradients")?, l, kind)?;
            bail_if(sum.len() != kind.count(dims), || {
                Fault::data(format!("gradients of {} units for {}", sum.len(), kind.count(dims))).at(site)
            })?;
            view.gradients[i] = Gradients { sum, squares };
        }
        if needs.curvature {
            view.curvature[i] = Some(read_curvature(inputs.one("gradients")?, l, site, hidden)?);
        }
    }
    Ok(view)
}

fn finite(scores: BlockScores) -> Result<BlockScores> {
    let parts = [&scores.attention, &scores.ffn];
    let all = parts.iter().flat_map(|u| u.score.iter().chain(&u.rank)).all(|s| s.is_finite());
    bail_if(!all, || Fault::numerical("a score is not finite").help("check the model's weights and the statistics"))?;
    Ok(scores)
}
