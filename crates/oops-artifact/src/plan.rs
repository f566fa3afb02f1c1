//! Plans as artifacts: `plan.json` (see [`Plan`]) and what it was made for. To publish one, see [`crate::PlanFile`].

use oops_core::{ModelDims, Plan, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Artifact, SUMMARY, Sink};

const PLAN_FILE: &str = "plan.json";

/// How a plan came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanInfo {
    /// Name of the selecting stage.
    pub method: String,
    /// Fraction of the decoder's linear weights that was to go.
    pub remove_fraction: f64,
    /// Fraction that goes; never more than was asked for.
    pub removed_fraction: f64,
    /// Linear weights that go.
    pub removed_params: u64,
    /// Dimensions before the cut.
    pub before: ModelDims,
    /// Dimensions after the cut.
    pub after: ModelDims,
    /// Anything else that the method has to say (solver status, duals).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// Writes a plan.
pub fn write_plan(work: &dyn Sink, plan: &Plan, info: &PlanInfo) -> Result<()> {
    work.file(PLAN_FILE, &mut |path| crate::json::write(path, plan))?;
    work.file(SUMMARY, &mut |path| crate::json::write(path, info))
}

/// Reads a plan and checks it against the model that it will cut.
pub fn read_plan(artifact: &Artifact, dims: &ModelDims) -> Result<Plan> {
    let path = artifact.path(PLAN_FILE)?;
    let plan: Plan = crate::json::read(path)?;
    plan.check(dims).map_err(|f| f.at(path.display()))?;
    Ok(plan)
}
