//! What a run over the whole student reports.

use serde::{Deserialize, Serialize};

/// What training came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// `trained`; `kept` if nothing beat the start; `exact` if the start has no divergence; `diverged` if loss or
    /// gradient stopped being finite (the best weights before that are kept).
    pub(crate) status: String,
    /// Mean divergence per held-out token of the weights that came in, in nats.
    pub(crate) divergence_before: f64,
    /// The same of the weights that go out; never above `divergence_before`.
    pub(crate) divergence_after: f64,
    /// Peak of the learning rate.
    pub(crate) learning_rate: f64,
    /// Steps done, of `steps_planned`; fewer after an early stop.
    pub(crate) steps: usize,
    pub(crate) steps_planned: usize,
    /// Step after which the kept weights were reached; 0 for the start.
    pub(crate) best_step: usize,
    pub(crate) curve: Vec<Point>,
}

/// One evaluation during training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Point {
    pub(crate) step: usize,
    /// Mean loss of the steps since the last point.
    pub(crate) loss: f64,
    /// Mean divergence per held-out token, in nats.
    pub(crate) heldout_divergence: f64,
}

/// Seconds spent in the parts of a run.
#[derive(Default, Serialize)]
pub(crate) struct Clock {
    pub(crate) teacher: f64,
    pub(crate) train: f64,
    pub(crate) judge: f64,
    pub(crate) checkpoint: f64,
}
