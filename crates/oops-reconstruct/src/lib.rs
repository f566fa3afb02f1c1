//! Reconstruction: a plan and statistics to smaller, corrected weights. A method is one file in `methods/`; the loops
//! over blocks, the guard on held-out tokens, resuming and writing exist once.

mod batch;
mod damping;
mod forward;
mod gather;
mod guard;
mod joint;
mod method;
mod methods;
mod options;
mod output;
mod problem;
mod stage;
mod walk;

#[cfg(test)]
mod testkit;

pub use methods::stages;
