//! `select.refine`
//!
//! *What it does.* Local search on a plan: drop the units that the module's repair misses least, take back the removed
//! ones that it misses most, keep the swap only if the error after a ridge repair falls. Counts per block stay.
//! *Formula.* Drop cost ½ tr(V_gᵀ(((H_SS + λmI)⁻¹)_gg)⁻¹V_g), gain ½ tr(R_gᵀ(M_gg)⁻¹R_g): see `oops_linalg::exchange`.
//! *Needs.* Gram matrices. With `scores`, protected units never go. *Guard.* Swaps are chosen on the fit tokens; a module
//! whose error on the held-out tokens did not fall keeps the plan that came in.
//! *When it misleads.* It looks at one module's output and no further: units that matter to the loss but not to the
//! module's energy may go.
//! *Beside the authors' code* (OSSCAR, `OSSCAR_local_search`). The same drop costs, gains and repair after a swap. It
//! measures XᵀX of every block on the blocks pruned before it, we take that of the dense model; its λ is 1e-2, ours a parameter; it
//! scores heads and channels in rounds and has no held-out tokens, so it accepts whatever fits the calibration better.
//! *Reference.* The local search of OSSCAR (Meng et al., arXiv 2403.12983).

use oops_artifact::{
    Artifact, Kind, MeasuredOn, PlanInfo, SUMMARY, Scores, Split, json, read_gram, read_plan, read_site, write_plan,
};
use oops_core::{BlockDims, BlockPlan, Fault, Plan, Result, Site, UnitKind, bail_if};
use oops_linalg::{ExchangeOptions, Linear, Symmetric, exchange, reconstruction_error, ridge};
use oops_model::{Block, Checkpoint, transposed};
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the refinement.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    /// λ of the repair that judges a swap, relative to the mean of diag H_SS.
    damping: f64,
    /// Largest swap, as a fraction of the units that go in a block; halved until the error falls.
    swap_fraction: f64,
    /// Most accepted swaps per module.
    rounds: usize,
    /// Exchange FFN channels.
    ffn: bool,
    /// Exchange KV groups (in blocks whose plan keeps or removes whole groups).
    attention: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self { damping: 1e-3, swap_fraction: 0.1, rounds: 8, ffn: true, attention: true }
    }
}

/// What happened to one module.
#[derive(Serialize)]
struct Refined {
    block: usize,
    site: Site,
    /// Relative errors of the repaired module before and after, on the tokens that the swaps were chosen on.
    error_fit: [f64; 2],
    /// The same on held-out tokens; `None` if no token may judge, and then nothing changes places.
    error_heldout: Option<[f64; 2]>,
    /// Accepted swaps; 0 if the guard threw them away.
    swaps: usize,
    /// Units that changed places.
    exchanged: usize,
}

pub(crate) struct Refine;

impl Stage for Refine {
    type Params = Params;
    const NAME: &'static str = "select.refine";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "exchanges kept and removed units of a plan while the repaired error falls";
    const INPUTS: &'static [Port] = &[
        Port::one("model", Kind::Model),
        Port::one("plan", Kind::Plan),
        Port::one("stats", Kind::Stats),
        Port::optional("scores", Kind::Scores),
    ];
    const OUTPUT: Kind = Kind::Plan;

    fn check(p: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        bail_if(!(p.swap_fraction > 0.0 && p.swap_fraction <= 1.0), || {
            Fault::config(format!("`swap_fraction` is {}, but must be in 0 < … ≤ 1", p.swap_fraction))
        })?;
        bail_if(!(p.damping.is_finite() && p.damping >= 0.0), || Fault::config("`damping` must be 0 or more"))?;
        bail_if(inputs.one("stats").gram == Some(false), || {
            Fault::config("`select.refine` needs Gram matrices, but `stats` has none")
                .help("set `gram: true` on the calibrate.activations stage")
        })?;
        // Units change places inside a block: its widths stay.
        let plan = inputs.one("plan");
        Ok(Facts { model: plan.model.or(inputs.one("model").model), same_widths: plan.same_widths, ..Facts::default() })
    }

    fn run(p: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let model = inputs.one("model")?;
        let warning = MeasuredOn::warning(inputs.optional("stats"), "stats", model)?;
        warning.into_iter().for_each(|w| cx.warn(w));
        let checkpoint = Checkpoint::open(&model.paths)?;
        let dims = &checkpoint.config().dims;
        let (source, stats) = (inputs.one("plan")?, inputs.one("stats")?);
        let mut plan = read_plan(source, dims)?;
        let scores = inputs.optional("scores").map(Scores::read).transpose()?;
        cx.progress.begin(dims.blocks.len() as u64, "blocks");
        let mut reports = Vec::new();
        for (l, widths) in dims.blocks.iter().enumerate() {
            cx.check_cancelled()?;
            let block = checkpoint.block(l)?;
            let of = Module { l, widths, block: &block, stats };
            for (site, wanted) in [(Site::AttnOut, p.attention), (Site::MlpDown, p.ffn)] {
                let fixed = scores.as_ref().map(|s| match site {
                    Site::AttnOut => s.blocks[l].attention.protected.clone(),
                    Site::MlpDown => s.blocks[l].ffn.protected.clone(),
                });
                if wanted {
                    let report = of.refine(p, site, fixed, &mut plan.blocks[l]);
                    reports.extend(report.map_err(|f| f.at(site).at(format!("block {l}")))?);
                }
            }
            cx.progress.advance(1);
        }
        let unjudged = reports.iter().filter(|r: &&Refined| r.error_heldout.is_none()).count();
        if unjudged > 0 {
            cx.warn(format!(
                "{unjudged} of {} modules keep the plan that came in: nothing can judge an exchange, since too few held-out \
                 tokens are in no fitted sequence; use more calibration text",
                reports.len()
            ));
        }
        plan.check(dims)?;
        publish(source, &plan, &reports, cx)
    }
}

/// Writes the plan under the budget of the one that it came from.
fn publish(source: &Artifact, plan: &Plan, reports: &[Refined], cx: &Cx<'_>) -> Result<()> {
    let before: PlanInfo = json::read(source.path(SUMMARY)?)?;
    let removed = plan.removed_params(&before.before);
    bail_if(removed != before.removed_params, || {
        Fault::internal(format!("an exchange changed the cost to {removed}"))
    })?;
    let details = serde_json::json!({ "from": before.method, "modules": reports });
    write_plan(&cx.work, plan, &PlanInfo { method: Refine::NAME.to_owned(), details, ..before })
}

/// One block and what is known of it.
struct Module<'a> {
    l: usize,
    widths: &'a BlockDims,
    block: &'a Block,
    stats: &'a Artifact,
}

impl Module<'_> {
    /// Refines what stays of one site; nothing to do where all stays or where groups lose single heads.
    fn refine(
        &self,
        p: &Params,
        site: Site,
        fixed: Option<Vec<bool>>,
        plan: &mut BlockPlan,
    ) -> Result<Option<Refined>> {
        let kind = if site == Site::AttnOut { UnitKind::KvGroup } else { UnitKind::FfnChannel };
        let (units, n) = (kind.count(self.widths), self.widths.width(site));
        let groups: Vec<Vec<usize>> = (0..units).map(|u| kind.channels(self.widths, u).collect()).collect();
        let channels = |kept: &[usize]| kept.iter().flat_map(|&u| groups[u].iter().copied()).collect::<Vec<_>>();
        let listed = if site == Site::AttnOut { &plan.kv_heads } else { &plan.ffn };
        let kept: Vec<usize> = listed.iter().map(|&u| u as usize).collect();
        let whole = plan.channels(site, self.widths.head_dim).len() == channels(&kept).len();
        if kept.len() == units || kept.is_empty() || !whole {
            return Ok(None);
        }
        let weight = transposed(&self.block.projection(site).weight)?;
        let fit = read_gram(self.stats, self.l, site, Split::Fit, n)?;
        let linear = Linear::new(Symmetric::packed(n, &fit)?, &weight, weight.len() / n.max(1))?;
        let step = (p.swap_fraction * (units - kept.len()) as f64).ceil() as usize;
        // Scores of other units than these say nothing about protection here.
        let fixed = fixed.filter(|f| f.len() == units).unwrap_or_else(|| vec![false; units]);
        let found =
            exchange(&linear, &groups, &kept, &fixed, ExchangeOptions { lambda: p.damping, step, rounds: p.rounds })?;
        let choices = [channels(&kept), channels(&found.kept)];
        let (error_fit, error_heldout) = self.judge(site, &linear, &choices, p.damping)?;
        let helps = error_heldout.is_some_and(|[before, after]| after < before);
        let exchanged = found.kept.iter().filter(|u| kept.binary_search(u).is_err()).count();
        let (swaps, exchanged) = if helps { (found.errors.len() - 1, exchanged) } else { (0, 0) };
        if helps {
            install(plan, self.widths, site, &found.kept);
        }
        Ok(Some(Refined { block: self.l, site, error_fit, error_heldout, swaps, exchanged }))
    }

    /// Relative errors of two choices of channels, both repaired on the fit tokens: there, and on the held-out tokens.
    fn judge(&self, site: Site, fit: &Linear<'_>, choices: &[Vec<usize>; 2], lambda: f64) -> Result<Judged> {
        let repair = |kept: &Vec<usize>| ridge(fit, kept, lambda).map(|r| r.weight);
        let repairs = [repair(&choices[0])?, repair(&choices[1])?];
        let errors = |on: &Linear<'_>| -> Result<[f64; 2]> {
            let error = |i: usize| reconstruction_error(on, &choices[i], &repairs[i], None);
            Ok([error(0)?, error(1)?])
        };
        let on_fit = errors(fit)?;
        if read_site(self.stats, self.l, site)?.heldout.count == 0 {
            return Ok((on_fit, None));
        }
        let n = fit.channels();
        let gram = read_gram(self.stats, self.l, site, Split::Heldout, n)?;
        let weight = fit.rows(&(0..n).collect::<Vec<_>>());
        let heldout = Linear::new(Symmetric::packed(n, &gram)?, &weight, fit.outputs())?;
        Ok((on_fit, Some(errors(&heldout)?)))
    }
}

/// Errors before and after, on the fit tokens and on those held out.
type Judged = ([f64; 2], Option<[f64; 2]>);

/// Puts the kept units of a site into a plan.
fn install(plan: &mut BlockPlan, widths: &BlockDims, site: Site, kept: &[usize]) {
    let kept: Vec<u32> = kept.iter().map(|&u| u as u32).collect();
    match site {
        Site::AttnOut => *plan = BlockPlan::of_groups(widths, kept, std::mem::take(&mut plan.ffn)),
        Site::MlpDown => plan.ffn = kept,
    }
}
