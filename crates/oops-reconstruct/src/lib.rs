//! Reconstruction: a plan and statistics to smaller, corrected weights. A method is one file in `methods/`; the loop
//! over blocks, the guard on held-out tokens, resuming and writing exist once.

mod guard;
mod methods;
mod output;
mod problem;
mod stage;

pub use methods::stages;
