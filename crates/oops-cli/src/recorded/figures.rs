//! Figures of the models of a run, from its metrics.

use oops_artifact::{Kind, Metrics};
use oops_core::Result;
use serde_json::{Map, Value};

use super::Shelf;

/// The figure that a measuring stage is for, if it gives it.
const MAIN: &str = "perplexity";

/// One figure of one model.
pub(crate) struct Figure {
    /// The instance that measured it.
    pub(crate) instance: String,
    /// The instance that made the model.
    pub(crate) model: String,
    /// Whether the model was made from others, and not brought in.
    pub(crate) made: bool,
    /// What was measured.
    pub(crate) what: String,
    pub(crate) value: Value,
    /// Everything that figures must share to compare.
    pub(crate) protocol: Map<String, Value>,
}

impl Figure {
    /// Whether it is the figure that a measuring stage is for.
    pub(crate) fn is_main(&self) -> bool {
        self.what == MAIN
    }

    /// Its name among those of a run: the measured stage is left out where only one model was made (`alone`), the figure
    /// where it is the one that the stage is for.
    pub(crate) fn name(&self, alone: bool) -> String {
        let model = (!(alone && self.made)).then_some(self.model.as_str());
        let what = (!self.is_main()).then_some(self.what.as_str());
        [Some(self.instance.as_str()), model, what].into_iter().flatten().collect::<Vec<_>>().join(".")
    }
}

/// All figures of a run.
pub(crate) fn figures(shelf: &Shelf) -> Result<Vec<Figure>> {
    let mut out = Vec::new();
    for entry in shelf.entries.iter().filter(|e| e.artifact.kind == Kind::Metrics) {
        let metrics = Metrics::read(&entry.artifact)?;
        for (i, row) in metrics.models.iter().enumerate() {
            let digest = metrics.model(i)?;
            let made = shelf.by_digest(&digest).is_none_or(|e| !e.made.inputs.is_empty());
            let mut numbers: Vec<_> = row.iter().filter(|(what, v)| *what != "model_digest" && v.is_number()).collect();
            numbers.sort_by_key(|(what, _)| *what != MAIN);
            for (what, value) in numbers {
                out.push(Figure {
                    instance: entry.name.clone(),
                    model: shelf.label(&digest),
                    made,
                    what: what.clone(),
                    value: value.clone(),
                    protocol: shelf.texts.named(&metrics.protocol),
                });
            }
        }
    }
    Ok(out)
}
