//! The engine with tiny stages: no model, no numerics, milliseconds.

mod caching;
mod damage;
mod fakes;
mod processes;
mod selection;
mod sweeps;
