//! `source.plan`: a published plan, to cut another checkpoint of the same shape the same way.

use std::path::Path;

use oops_artifact::{Kind, PlanFile, write_plan};
use oops_core::{Fault, Result, bail_if};
use oops_model::Checkpoint;
use oops_stage::{Cx, Facts, Inputs, Port, PortFacts, Source, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of [`SourcePlan`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// A plan file as `oops export-plan` writes it; relative to the pipeline file; `~/`, `$NAME` and
    /// `${NAME}` are put in.
    path: String,
}

/// A plan from a file. For the model that it was made for it is, to the byte, the artifact that was exported.
pub struct SourcePlan;

impl Stage for SourcePlan {
    type Params = Params;
    const NAME: &'static str = "source.plan";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "a plan from a file that `oops export-plan` wrote, checked against the model";
    const INPUTS: &'static [Port] = &[Port::one("model", Kind::Model)];
    const OUTPUT: Kind = Kind::Plan;
    const UNKEYED: &'static [&'static str] = &["path"];

    fn sources(params: &Params, base: &Path) -> Result<Vec<Source>> {
        let path = Source::resolve(base, &params.path)?;
        bail_if(!path.is_file(), || {
            Fault::data("no such plan file").at(path.display()).help("paths are relative to the pipeline file")
        })?;
        // The name is part of the key, and the file's own says nothing.
        Ok(vec![Source { name: "plan.json".to_owned(), path }])
    }

    fn check(_: &Params, inputs: &PortFacts, sources: &[Source]) -> Result<Facts> {
        let source = sources.first().ok_or_else(|| Fault::internal("no plan file"))?;
        let file = PlanFile::read(&source.path)?;
        let model = inputs.one("model").model;
        if let Some(dims) = &model {
            file.fits(dims).map_err(|f| f.at(source.path.display()))?;
        }
        Ok(Facts { model, ..Facts::default() })
    }

    fn run(_: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let source = inputs.sources.first().ok_or_else(|| Fault::internal("no plan file"))?;
        let file = PlanFile::read(&source.path)?;
        let checkpoint = Checkpoint::open(&inputs.one("model")?.paths)?;
        let dims = &checkpoint.config().dims;
        file.fits(dims).map_err(|f| f.at(source.path.display()))?;
        write_plan(&cx.work, &file.plan(), &file.info(dims))
    }
}
