//! The nouns of structured pruning, shared by every crate: what a model measures ([`ModelDims`]), where it is cut
//! ([`Site`]), what is cut ([`Unit`]), what stays ([`Plan`]), how bytes are named ([`Digest`]), where passes
//! compute ([`Device`]), what reads tokens ([`Vocabulary`]) and how things fail
//! ([`Fault`]). No I/O, no tensors, no stages.

mod device;
mod digest;
mod dims;
mod fault;
pub mod finite;
mod plan;
mod rng;
mod unit;
mod vocabulary;

pub use device::Device;
pub use digest::Digest;
pub use dims::{BlockDims, ModelDims, Site};
pub use fault::{Class, Fault, Result, bail_if, nearest};
pub use plan::{BlockPlan, Plan};
pub use rng::Rng;
pub use unit::{Unit, UnitKind};
pub use vocabulary::Vocabulary;
