//! Benchmarks, each beside the limit of the machine in the same run.
//!
//! A benchmark is repeated; every repetition measures its limit again, since neighbours and clocks change. What is
//! reported is the median of each figure with its smallest and largest value ([`Report`]).

mod decode;
mod growth;
mod kernels;
mod like;
mod plot;
mod random_model;
mod report;
mod stages;
mod storage;

pub use decode::Decoding;
pub use growth::{Growth, growth};
pub use kernels::{GramSize, SolveSize, gemm, gram, select, solve};
pub use like::Like;
pub use plot::plot_growth;
pub use random_model::{ModelSpec, write_model};
pub use report::{Figures, Report, repeat};
pub use stages::{StageBench, Subject, bench_stages};
pub use storage::{publish, read};
