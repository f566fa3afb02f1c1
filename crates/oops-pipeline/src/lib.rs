//! From a pipeline file to a checked graph of stages, with diagnostics that point into the text.

mod build;
mod check;
mod connect;
mod document;
mod explain;
mod graph;
mod order;
mod overrides;
mod problem;
mod raw;
pub mod schema;
mod setting;
mod spots;
mod sweep;
mod typed;
mod values;

pub use graph::{Graph, Node};
pub use problem::{Place, Problem, Problems};
pub use setting::Setting;
pub use sweep::{Cell, Judged, Sweep};
