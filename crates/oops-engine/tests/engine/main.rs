//! The engine with tiny stages: no model, no numerics, milliseconds.

mod caching;
mod damage;
mod explain;
mod fakes;
mod laws;
mod parallel;
mod processes;
mod selection;
mod sweeps;
mod warnings;
