//! Typed artifacts: what a stage's output is ([`Kind`]), which files it has ([`Tree`]) and how each kind is written
//! and read. Parquet for tables and matrices, JSON for records. Knows nothing of who made the bytes or where they live.

mod kind;
mod tree;

pub use kind::Kind;
pub use tree::{Artifact, Entry, Tree};
