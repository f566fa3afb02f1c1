//! The loop over blocks, once for all methods: slice, repair both modules under the guard, write, resume.

use std::marker::PhantomData;

use oops_artifact::{Artifact, Kind, SUMMARY, Sink, json, read_plan};
use oops_core::{BlockDims, BlockPlan, Fault, Result, Site, bail_if};
use oops_model::{Block, Checkpoint, slice_block, write_block};
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage, Workdir};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    guard::{Repair, Report, guarded},
    output::{SaveAs, block_file, write_rest},
    problem::{Module, SiteTokens, Tokens, install},
};

/// Statistics that a method cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// None; with Gram matrices connected, errors are reported.
    Nothing,
    /// Gram matrices and means.
    Gram,
}

/// A reconstruction method: one pure function of one module.
pub(crate) trait Reconstructor: Send + Sync + 'static {
    /// Parameters.
    type Params: Serialize + DeserializeOwned + JsonSchema;
    /// Stage name, `reconstruct.…`.
    const NAME: &'static str;
    /// Algorithm version.
    const VERSION: u32;
    /// One line for `oops stages`.
    const ABOUT: &'static str;
    /// What it needs.
    const NEEDS: Needs;

    /// Checks the parameters.
    fn check(_params: &Self::Params) -> Result<()> {
        Ok(())
    }

    /// Precision of the written weights.
    fn dtype(params: &Self::Params) -> SaveAs;

    /// Dampings to try, mildest first; `None` for a method without one; empty for the plain cut.
    fn ladder(params: &Self::Params) -> Vec<Option<f64>>;

    /// The repair of a module fitted on `tokens`.
    fn repair(module: &Module, tokens: &Tokens, damping: Option<f64>) -> Result<Repair>;
}

/// The stage of a method.
pub(crate) struct ReconstructStage<R>(PhantomData<R>);

impl<R: Reconstructor> Stage for ReconstructStage<R> {
    type Params = R::Params;
    const NAME: &'static str = R::NAME;
    const VERSION: u32 = R::VERSION;
    const ABOUT: &'static str = R::ABOUT;
    const INPUTS: &'static [Port] =
        &[Port::one("model", Kind::Model), Port::one("plan", Kind::Plan), Port::optional("stats", Kind::Stats)];
    const OUTPUT: Kind = Kind::Model;

    fn check(params: &R::Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        R::check(params)?;
        let help = "connect a calibrate.activations stage with `gram: true`: `in: { …, stats: <stage> }`";
        bail_if(R::NEEDS == Needs::Gram && !inputs.0.contains_key("stats"), || {
            Fault::config(format!("`{}` needs activation statistics", R::NAME)).help(help)
        })?;
        bail_if(R::NEEDS == Needs::Gram && inputs.one("stats").gram == Some(false), || {
            Fault::config(format!("`{}` needs Gram matrices, but `stats` has none", R::NAME)).help(help)
        })?;
        let model = inputs.one("model").model;
        for port in ["plan", "stats"] {
            if let (Some(a), Some(b)) = (&model, inputs.one(port).model) {
                bail_if(*a != b, || {
                    Fault::config(format!("`{port}` was made for a model of other dimensions than `model`"))
                })?;
            }
        }
        Ok(Facts::default())
    }

    fn run(params: &R::Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let source = inputs.one("model")?;
        let checkpoint = Checkpoint::open(&source.paths)?;
        let dims = &checkpoint.config().dims;
        let plan = read_plan(inputs.one("plan")?, dims)?;
        let dtype = R::dtype(params).resolve(&checkpoint.config().dtype);
        let stats = inputs.optional("stats").filter(|s| s.tree.0.keys().any(|n| n.starts_with("gram/")));
        cx.progress.begin(dims.blocks.len() as u64, "blocks");
        for (l, (widths, keep)) in dims.blocks.iter().zip(&plan.blocks).enumerate() {
            cx.check_cancelled()?;
            // The report goes first: a finished shard always has one.
            if !(cx.work.is_done(&report_file(l)) && cx.work.is_done(&block_file(l))) {
                let (block, reports) = one_block::<R>(params, &checkpoint.block(l)?, l, widths, keep, stats)
                    .map_err(|f| f.at(format!("block {l}")))?;
                cx.work.file(&report_file(l), &mut |path| json::write(path, &reports))?;
                cx.work.write(&block_file(l), |path| write_block(path, l, &block, &dtype))?;
            }
            cx.progress.advance(1);
        }
        write_rest(&cx.work, source, &checkpoint, &plan, &dtype)?;
        let reports: Vec<Vec<Report>> =
            (0..dims.blocks.len()).map(|l| json::read(&cx.work.path(&report_file(l)))).collect::<Result<_>>()?;
        let summary = serde_json::json!({
            "method": R::NAME, "dims": plan.apply(dims), "modules": reports.concat(),
        });
        cx.work.file(SUMMARY, &mut |path| json::write(path, &summary))
    }
}

fn report_file(l: usize) -> String {
    Workdir::state(&format!("report-{l:03}.json"))
}

fn one_block<R: Reconstructor>(
    params: &R::Params,
    dense: &Block,
    l: usize,
    widths: &BlockDims,
    keep: &BlockPlan,
    stats: Option<&Artifact>,
) -> Result<(Block, Vec<Report>)> {
    let mut block = slice_block(dense, keep)?;
    let mut reports = Vec::new();
    for site in Site::ALL {
        let kept: Vec<usize> = keep.channels(site, widths.head_dim).iter().map(|&c| c as usize).collect();
        if kept.len() == widths.width(site) {
            continue;
        }
        let (from, to) = match site {
            Site::AttnOut => (&dense.o, &mut block.o),
            Site::MlpDown => (&dense.down, &mut block.down),
        };
        let channels = [widths.width(site), kept.len()];
        let report = |status: String| Report {
            block: l,
            site: site.to_string(),
            channels,
            error_cut: None,
            error_repaired: None,
            judged_on_heldout: false,
            damping: None,
            condition: None,
            status,
        };
        let Some(stats) = stats else {
            reports.push(report("cut".to_owned()));
            continue;
        };
        let module = Module::new(from, kept)?;
        let tokens = SiteTokens::read(stats, l, site, channels[0])?;
        let (repair, judged) = guarded(&module, tokens, &R::ladder(params), &R::repair).map_err(|f| f.at(site))?;
        install(to, module.outputs, &repair.weight, repair.bias.as_deref())?;
        reports.push(Report {
            error_cut: Some(judged.error_cut),
            error_repaired: Some(judged.error_repaired),
            judged_on_heldout: judged.heldout,
            damping: judged.damping,
            condition: repair.condition,
            ..report(repair.status)
        });
    }
    Ok((block, reports))
}
