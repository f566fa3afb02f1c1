//! A plan to publish: one JSON file with what stays, the model that it is for, and how it came about. Everything that a
//! reader needs to apply it to another checkpoint of the same shape, or to doubt it.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use oops_core::{BlockDims, BlockPlan, Digest, Fault, ModelDims, Plan, Result, bail_if};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Artifact, PlanInfo, SUMMARY, json};

/// What says that a file is one of these.
const FORMAT: &str = "oops.plan";
/// The version of the format that this code writes and reads.
const VERSION: u64 = 1;

/// A stage that a plan was made by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Name of the instance.
    pub instance: String,
    /// Name of the stage.
    pub stage: String,
    /// Its algorithm version.
    pub version: u64,
    /// Its parameters, defaults included; paths are left out.
    pub params: Value,
    /// Digests of the files that it read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Digest>,
    /// Its seed, if it draws numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    format: String,
    version: u64,
    /// Version of the program that wrote the file.
    pub program: String,
    /// Digest of the checkpoint that the plan was made for.
    pub model_digest: Option<Digest>,
    /// Dimensions of that checkpoint.
    pub model: ModelDims,
    /// Name of the selecting stage.
    pub method: String,
    /// Fraction of the decoder's linear weights that was to go.
    pub remove_fraction: f64,
    /// Fraction that goes.
    pub removed_fraction: f64,
    /// Linear weights that go.
    pub removed_params: u64,
    /// Widths after the cut, block by block.
    pub widths: Vec<BlockDims>,
    /// What stays, block by block: indices into the dense block, ascending.
    pub blocks: Vec<BlockPlan>,
    /// The stages that the plan was made by, inputs first.
    pub made_by: Vec<Step>,
    /// Anything else that the method has to say (solver status, duals).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl PlanFile {
    /// The plan of an artifact, made for `model` by the stages `made_by`, by version `program` of this program.
    pub fn of(artifact: &Artifact, model: Option<Digest>, made_by: Vec<Step>, program: &str) -> Result<Self> {
        let info: PlanInfo = json::read(artifact.path(SUMMARY)?)?;
        let plan = crate::read_plan(artifact, &info.before)?;
        Ok(Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: program.to_owned(),
            model_digest: model,
            model: info.before,
            method: info.method,
            remove_fraction: info.remove_fraction,
            removed_fraction: info.removed_fraction,
            removed_params: info.removed_params,
            widths: info.after.blocks,
            blocks: plan.blocks,
            made_by,
            details: info.details,
        })
    }

    /// Reads a file and checks it against the dimensions that it names itself.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| Fault::reading(path, &e))?;
        Self::parse(&text).map_err(|f| f.at(path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| Fault::data(format!("not a whole JSON file: {e}")).help(HELP))?;
        bail_if(value["format"] != FORMAT, || {
            Fault::data(format!("not a portable plan: it does not say `\"format\": \"{FORMAT}\"`")).help(HELP)
        })?;
        bail_if(value["version"] != VERSION, || {
            Fault::data(format!("version {} of the plan format is not known", value["version"]))
                .help(format!("this program reads version {VERSION}; another one wrote the file"))
        })?;
        let file: Self =
            serde_json::from_value(value).map_err(|e| Fault::data(format!("not a plan: {e}")).help(HELP))?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<()> {
        let even = |b: &BlockDims| b.kv_heads > 0 && b.query_heads.is_multiple_of(b.kv_heads) && b.head_dim > 0;
        let odd = self.model.blocks.iter().position(|b| !even(b));
        bail_if(odd.is_some(), || {
            Fault::data("query heads must be a multiple of KV heads, and none may be 0")
                .at(format!("model, block {}", odd.unwrap_or_default()))
        })?;
        let plan = self.plan();
        plan.check(&self.model).map_err(|f| f.help(EDITED))?;
        let after = plan.apply(&self.model).blocks;
        let differs = (0..after.len()).find(|&l| self.widths.get(l) != Some(&after[l]));
        bail_if(differs.is_some() || self.widths.len() != after.len(), || {
            Fault::data("`widths` does not say how many units `blocks` keeps")
                .at(format!("block {}", differs.unwrap_or(after.len())))
                .help(EDITED)
        })?;
        let removed = plan.removed_params(&self.model);
        bail_if(self.removed_params != removed, || {
            Fault::data(format!("`removed_params` is {}, but the plan removes {removed}", self.removed_params))
                .help(EDITED)
        })
    }

    /// What stays.
    pub fn plan(&self) -> Plan {
        Plan::new(self.blocks.clone())
    }

    /// How a plan artifact for a model of dimensions `dims` describes itself.
    pub fn info(&self, dims: &ModelDims) -> PlanInfo {
        PlanInfo {
            method: self.method.clone(),
            remove_fraction: self.remove_fraction,
            removed_fraction: self.removed_fraction,
            removed_params: self.removed_params,
            before: dims.clone(),
            after: self.plan().apply(dims),
            details: self.details.clone(),
        }
    }

    /// Fails unless a model of dimensions `dims` can be cut by this plan, and says all that differs. The vocabulary may
    /// be another one.
    pub fn fits(&self, dims: &ModelDims) -> Result<()> {
        let differences = differences(&self.model, dims);
        bail_if(!differences.is_empty(), || {
            Fault::data(format!("the plan is for another shape of model: {}", differences.join("; ")))
                .help("a plan cuts checkpoints whose blocks are as wide as those it was made for")
        })
    }

    /// The text of the file: one line per key, and per block or stage.
    pub fn text(&self) -> Result<String> {
        let fault = |e: serde_json::Error| Fault::internal(format!("JSON: {e}"));
        let value = serde_json::to_value(self).map_err(fault)?;
        let map = value.as_object().ok_or_else(|| Fault::internal("a plan file is no object"))?;
        let mut out = String::from("{");
        for (i, (key, value)) in map.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(out, "{comma}\n  \"{key}\": ");
            match value.as_array().filter(|list| list.iter().any(Value::is_object)) {
                Some(list) => {
                    let lines: Vec<String> = list.iter().map(|v| format!("    {v}")).collect();
                    let _ = write!(out, "[\n{}\n  ]", lines.join(",\n"));
                }
                None => out.push_str(&value.to_string()),
            }
        }
        out.push_str("\n}\n");
        Ok(out)
    }
}

const EDITED: &str = "the file was edited: export it again";
const HELP: &str = "a portable plan is written by `oops export-plan PIPELINE.yaml STAGE`";

/// What differs between the shapes of two models, in words; long lists are cut.
fn differences(plan: &ModelDims, model: &ModelDims) -> Vec<String> {
    let mut out = Vec::new();
    let mut compare = |place: &str, what: &str, plan: usize, model: usize| {
        if plan != model {
            out.push(format!("{place}{what} {plan}, the model has {model}"));
        }
    };
    compare("", "hidden width", plan.hidden, model.hidden);
    compare("", "FFN matrices", 2 + usize::from(plan.gated), 2 + usize::from(model.gated));
    compare("", "blocks", plan.blocks.len(), model.blocks.len());
    for (l, (p, m)) in plan.blocks.iter().zip(&model.blocks).enumerate() {
        let place = format!("block {l}: ");
        compare(&place, "query heads", p.query_heads, m.query_heads);
        compare(&place, "KV heads", p.kv_heads, m.kv_heads);
        compare(&place, "channels per head", p.head_dim, m.head_dim);
        compare(&place, "FFN channels", p.ffn, m.ffn);
    }
    let more = out.len().saturating_sub(SHOWN);
    out.truncate(SHOWN);
    out.extend((more > 0).then(|| format!("and {more} more")));
    out
}

/// Differences that are spelled out.
const SHOWN: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> PlanFile {
        let block = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 2, ffn: 6 };
        let model = ModelDims { hidden: 8, vocab: 16, tied: true, gated: true, blocks: vec![block; 2] };
        let kept = BlockPlan::of_groups(&block, vec![1], vec![0, 3, 5]);
        let plan = Plan::new(vec![kept.clone(), BlockPlan::full(&block)]);
        PlanFile {
            format: FORMAT.to_owned(),
            version: VERSION,
            program: "0".to_owned(),
            model_digest: Some(Digest::of(b"model")),
            remove_fraction: 0.3,
            removed_fraction: 0.25,
            removed_params: plan.removed_params(&model),
            widths: plan.apply(&model).blocks,
            method: "select.uniform".to_owned(),
            blocks: plan.blocks,
            made_by: Vec::new(),
            details: Value::Null,
            model,
        }
    }

    fn refused(text: &str) -> String {
        PlanFile::parse(text).unwrap_err().to_string().replace('\n', " ")
    }

    #[test]
    fn what_is_written_is_read() {
        let text = file().text().unwrap();
        assert!(text.contains("\n    {\"ffn\":[0,3,5],\"kv_heads\":[1],\"query_heads\":[2,3]},\n"), "{text}");
        assert_eq!(PlanFile::parse(&text).unwrap(), file());
    }

    #[test]
    fn each_way_of_being_wrong_has_its_message() {
        let text = file().text().unwrap();
        let edited = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            refused(&text.replacen(from, to, 1))
        };
        assert!(refused(&text[..text.len() / 2]).contains("not a whole JSON file"));
        assert!(refused("{\"version\":1,\"blocks\":[]}").contains("not a portable plan"));
        assert!(edited("\"version\": 1", "\"version\": 2").contains("version 2 of the plan format is not known"));
        assert!(edited("[0,3,5]", "[0,5,3]").contains("`ffn` must hold ascending indices below 6, but 3 follows 5"));
        let outside = edited("[0,3,5]", "[0,3,6]");
        assert!(outside.contains("below 6, but holds 6") && outside.contains("plan of block 0"), "{outside}");
        assert!(edited("[0,3,5]", "[0,3]").contains("`widths` does not say"));
        assert!(edited("[0,3,5]", "[0,3,-1]").contains("not a plan: invalid value"));
        assert!(edited("\"method\"", "\"methods\"").contains("unknown field `methods`"));
        assert!(edited("\"removed_params\": ", "\"removed_params\": 1").contains("but the plan removes"));
        assert!(edited("\"kv_heads\":2", "\"kv_heads\":0").contains("none may be 0"));
    }

    #[test]
    fn another_shape_is_described() {
        let mut model = file().model;
        model.vocab = 99;
        file().fits(&model).unwrap();
        model.hidden = 9;
        model.blocks[1].ffn = 7;
        let said = file().fits(&model).unwrap_err();
        let what = "hidden width 8, the model has 9; block 1: FFN channels 6, the model has 7";
        assert!(said.what().ends_with(what), "{said}");
        model.blocks = vec![BlockDims { query_heads: 1, kv_heads: 1, head_dim: 1, ffn: 1 }; 3];
        let said = file().fits(&model).unwrap_err();
        assert!(said.what().contains("blocks 2, the model has 3") && said.what().ends_with("and 4 more"), "{said}");
    }
}
