//! One stage for all methods: what it checks, and the loop over blocks on the dense stream. [`crate::walk`] is the other.

use std::marker::PhantomData;

use oops_artifact::{Artifact, HeldoutCounts, Kind, MeasuredOn, SUMMARY, Sink, StatsInfo, json, read_plan};
use oops_core::{Fault, Plan, Result, Site, bail_if};
use oops_model::{Block, Checkpoint, DType, slice_block, write_block};
use oops_stage::{Cx, Facts, Form, Inputs, Needs, Port, PortFacts, Sizes, Source, Stage, Workdir, timed};
use serde::Serialize;

use crate::{
    guard::{Guard, Report},
    joint,
    method::{Reconstructor, Statistics},
    options::{Options, Search, Stream, Unjudged},
    output::{block_file, write_rest},
    problem::{Module, SiteTokens},
    walk::{BATCH_TOKENS, Walk},
};

/// What solvers hold beside, whatever the size.
const SOLVE_BASE: u64 = 64 << 20;

/// The stage of a method.
pub(crate) struct ReconstructStage<R>(PhantomData<R>);

impl<R: Reconstructor> Stage for ReconstructStage<R> {
    type Params = R::Params;
    const NAME: &'static str = R::NAME;
    const VERSION: u32 = R::VERSION;
    const ABOUT: &'static str = R::ABOUT;
    const INPUTS: &'static [Port] = &[
        Port::one("model", Kind::Model),
        Port::one("plan", Kind::Plan),
        Port::optional("stats", Kind::Stats),
        Port::optional("tokens", Kind::Tokens),
    ];
    const OUTPUT: Kind = Kind::Model;

    fn check(params: &R::Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        R::check(params)?;
        let options = R::options(params);
        options.check()?;
        check_inputs(R::NAME, R::STATISTICS, options.stream, inputs)?;
        let model = inputs.one("model").model;
        for port in ["plan", "stats"] {
            if let (Some(a), Some(b)) = (&model, inputs.one(port).model) {
                bail_if(*a != b, || {
                    Fault::config(format!("`{port}` was made for a model of other dimensions than `model`"))
                })?;
            }
        }
        let with_biases = |form: Form| Form { output_biases: form.output_biases || R::ADDS_BIASES, ..form };
        let (form, same_widths) = (inputs.one("model").form.map(with_biases), inputs.one("plan").same_widths);
        Ok(Facts { at_most: model, form, same_widths, ..Facts::default() })
    }

    /// Memory: a block dense and cut and the repair of one site ([`Reconstructor::solve_bytes`]), or the embedding that is
    /// written at the end; on the pruned stream also the residual stream and kept inputs. Disk: the weights (f32 at most),
    /// the stream twice, and what spills.
    fn needs(params: &R::Params, inputs: &PortFacts) -> Needs {
        let Some(dims) = inputs.one("model").model else { return Needs::HEAVY };
        let (options, sizes) = (R::options(params), Sizes(&dims));
        let walks = options.stream == Stream::Pruned;
        let (solves, n) = (walks || R::STATISTICS == Statistics::Gram, sizes.widest());
        let solve = if solves { SOLVE_BASE + R::solve_bytes(params, n, dims.hidden as u64) } else { 0 };
        let memory = (2 * sizes.block() + solve).max(sizes.embedding());
        let (disk, solving) = (sizes.checkpoint(4), (dims.blocks.len() as u64 * sizes.squares() * n) as f64);
        let needs = |memory, disk, work| Needs {
            heavy: solves,
            memory_bytes: Some(memory),
            disk_bytes: Some(disk),
            work: Some(work),
        };
        match (walks, inputs.one("tokens").tokens) {
            (false, _) => needs(memory, disk, solving),
            (true, None) => Needs::HEAVY,
            (true, Some(tokens)) => {
                let streams = if options.two_streams() { 2 } else { 1 } * sizes.stream(tokens.count());
                let kept = 4 * n * tokens.count();
                let work = solving + sizes.forward(tokens);
                let Some(joint) = options.joint else {
                    return needs(memory + streams + kept, disk + 3 * streams + kept, work);
                };
                let (targets, passes) = (sizes.stream(tokens.count()), (joint.steps * (joint.iterations + 1)) as f64);
                let rows = (BATCH_TOKENS as u64).min(tokens.count());
                let refining = SOLVE_BASE + 2 * sizes.block() + targets + joint::bytes(n, dims.hidden as u64, rows);
                let memory = streams + (memory + kept).max(refining);
                // A product costs ten of a forward pass's products, of which the FFN has three.
                needs(memory, disk + 3 * streams + kept + targets, work + 10.0 / 3.0 * passes * sizes.forward(tokens))
            }
        }
    }

    fn run(params: &R::Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let source = inputs.one("model")?;
        let warning = MeasuredOn::warning(inputs.optional("stats"), "stats", source)?;
        warning.into_iter().for_each(|w| cx.warn(w));
        let checkpoint = Checkpoint::open(&source.paths)?;
        let plan = read_plan(inputs.one("plan")?, &checkpoint.config().dims)?;
        let options = R::options(params);
        let dtype = options.dtype.resolve(&checkpoint.config().dtype);
        let guard = Guard {
            search: options.search.clone(),
            unjudged: options.unjudged,
            fit: Box::new(|module, tokens, dampings| R::repairs(params, module, tokens, dampings)),
        };
        let job = Job { checkpoint: &checkpoint, plan: &plan, dtype: &dtype, guard: &guard, cx };
        cx.progress.begin(plan.blocks.len() as u64, "blocks");
        let (seconds, tokens) = match options.stream {
            Stream::Dense => job.on_the_dense_stream(inputs.optional("stats"))?,
            Stream::Pruned => {
                let (seconds, counts) = Walk::run(&job, inputs.one("tokens")?, &options)?;
                (seconds, Some(judging(counts)))
            }
        };
        cx.measure("modules", seconds);
        write_rest(&cx.work, source, &checkpoint, &plan, &dtype)?;
        job.summarise(R::NAME, &options, tokens)
    }
}

/// Fails unless what a method fits on is connected.
fn check_inputs(name: &str, needs: Statistics, stream: Stream, inputs: &PortFacts) -> Result<()> {
    if stream == Stream::Pruned {
        return bail_if(!inputs.0.contains_key("tokens"), || {
            Fault::config(format!("`{name}` on the pruned stream needs calibration tokens"))
                .help("connect a source.text stage: `in: { …, tokens: <stage> }`, or leave `stream` at `dense`")
        });
    }
    let help = "connect a calibrate.activations stage with `gram: true`: `in: { …, stats: <stage> }`";
    bail_if(needs == Statistics::Gram && !inputs.0.contains_key("stats"), || {
        Fault::config(format!("`{name}` needs activation statistics")).help(help)
    })?;
    bail_if(needs == Statistics::Gram && inputs.one("stats").gram == Some(false), || {
        Fault::config(format!("`{name}` needs Gram matrices, but `stats` has none")).help(help)
    })
}

/// Tokens that are fitted, those that judge, and those held out that do not because fitted sequences hold them too.
fn judging(counts: HeldoutCounts) -> [usize; 3] {
    let judging = counts.judging();
    [counts.fitted + counts.heldout - judging, judging, counts.leaked]
}

/// What both loops over blocks work with.
pub(crate) struct Job<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) plan: &'a Plan,
    /// Precision of the written weights.
    pub(crate) dtype: &'a DType,
    pub(crate) guard: &'a Guard<'a>,
    pub(crate) cx: &'a Cx<'a>,
}

/// Seconds that one module took, by what they went into.
#[derive(Default, Serialize)]
pub(crate) struct Seconds {
    pub(crate) block: usize,
    pub(crate) site: String,
    /// Reading or making the statistics.
    pub(crate) statistics: f64,
    /// Solving and judging.
    pub(crate) repair: f64,
    /// Moving the stream behind the module.
    pub(crate) advance: f64,
}

impl Seconds {
    pub(crate) fn of(block: usize, site: Site) -> Self {
        Self { block, site: site.to_string(), ..Self::default() }
    }
}

fn report_file(l: usize) -> String {
    Workdir::state(&format!("report-{l:03}.json"))
}

impl Job<'_> {
    /// Kept channels of a site of block `l`.
    pub(crate) fn kept(&self, l: usize, site: Site) -> Vec<usize> {
        let head_dim = self.checkpoint.config().dims.blocks[l].head_dim;
        self.plan.blocks[l].channels(site, head_dim).iter().map(|&c| c as usize).collect()
    }

    /// The module behind a site of block `l`, whose dense weights are in `dense`; `None` if nothing of it goes.
    pub(crate) fn module(&self, l: usize, site: Site, dense: &Block) -> Result<Option<Module>> {
        let (kept, unit) = (self.kept(l, site), if site == Site::AttnOut { dense.dims.head_dim } else { 1 });
        let cut = kept.len() < dense.dims.width(site);
        cut.then(|| Module::new(dense.projection(site), kept, unit)).transpose()
    }

    /// Whether block `l` and its report are finished.
    pub(crate) fn is_done(&self, l: usize) -> bool {
        self.cx.work.is_done(&report_file(l)) && self.cx.work.is_done(&block_file(l))
    }

    /// Writes block `l`. The report goes first: a finished shard always has one.
    pub(crate) fn write(&self, l: usize, block: &Block, reports: &[Report]) -> Result<()> {
        self.cx.work.file(&report_file(l), &mut |path| json::write(path, &reports))?;
        self.cx.work.write(&block_file(l), |path| write_block(path, l, block, self.dtype))
    }

    /// Repairs every block with the statistics of the dense stream; without Gram matrices, cuts. Gives seconds and the
    /// numbers of [`judging`].
    fn on_the_dense_stream(&self, stats: Option<&Artifact>) -> Result<(Vec<Seconds>, Option<[usize; 3]>)> {
        let stats = stats.filter(|s| s.tree.0.keys().any(|n| n.starts_with("gram/")));
        let info: Option<StatsInfo> = stats.map(|s| json::read(s.path(SUMMARY)?)).transpose()?;
        let mut seconds = Vec::new();
        for l in 0..self.plan.blocks.len() {
            self.cx.check_cancelled()?;
            if !self.is_done(l) {
                self.one_block(l, stats, &mut seconds).map_err(|f| f.at(format!("block {l}")))?;
            }
            self.cx.progress.advance(1);
        }
        Ok((seconds, info.map(|i| [i.tokens[0], i.tokens[1], i.leaked])))
    }

    fn one_block(&self, l: usize, stats: Option<&Artifact>, seconds: &mut Vec<Seconds>) -> Result<()> {
        let dense = self.checkpoint.block(l)?;
        let (mut block, mut reports) = (slice_block(&dense, &self.plan.blocks[l])?, Vec::new());
        for site in Site::ALL {
            let Some(module) = self.module(l, site, &dense)? else { continue };
            let Some(stats) = stats else {
                reports.push(Report::cut(l, site, module.widths()));
                continue;
            };
            let mut time = Seconds::of(l, site);
            let tokens = timed(&mut time.statistics, || SiteTokens::read(stats, l, site, module.channels))?;
            let to = block.projection_mut(site);
            let repair = || self.guard.repair(l, site, &module, tokens, to).map_err(|f| f.at(site));
            reports.push(timed(&mut time.repair, repair)?);
            seconds.push(time);
        }
        self.write(l, &block, &reports)
    }

    fn summarise(&self, method: &str, options: &Options, tokens: Option<[usize; 3]>) -> Result<()> {
        let report = |l| json::read::<Vec<Report>>(&self.cx.work.path(&report_file(l)));
        let reports = (0..self.plan.blocks.len()).map(report).collect::<Result<Vec<_>>>()?.concat();
        self.warn_of_unjudged(options, &reports);
        let mut summary = serde_json::json!({
            "method": method,
            "stream": options.stream,
            "target": options.target,
            "dims": self.plan.apply(&self.checkpoint.config().dims),
            "modules": reports,
        });
        if let Some([fit, heldout, leaked]) = tokens {
            summary["tokens"] = serde_json::json!({ "fit": fit, "heldout": heldout, "leaked": leaked });
        }
        if let Some(joint) = options.joint {
            summary["joint_target"] = serde_json::json!(joint.target);
        }
        self.cx.work.file(SUMMARY, &mut |path| json::write(path, &summary))
    }

    /// Repairs were asked for, but the plain cut stays because no token may judge them.
    fn warn_of_unjudged(&self, options: &Options, reports: &[Report]) {
        let cut = reports.iter().filter(|r| !r.judged_on_heldout && r.error_cut.is_some()).count();
        if cut > 0 && options.search != Search::Cut && options.unjudged == Unjudged::Cut {
            // What is refined as a whole is chosen by held-out tokens, whatever the user says.
            let or = if options.joint.is_some() { "" } else { ", or set `unjudged: repair` to take them as they come" };
            self.cx.warn(format!(
                "{cut} of {} modules stay plain cuts: nothing can judge their repairs, since too few held-out tokens are in no \
                 fitted sequence; use more calibration text{or}",
                reports.len()
            ));
        }
    }
}
