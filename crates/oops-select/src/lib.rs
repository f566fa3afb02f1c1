//! Selection: scores and a budget to a plan. A method is one file in `methods/`; bundles (what can go in one step,
//! legally) and the stage around a method exist once.

mod budgets;
mod bundle;
mod methods;
mod miss;
#[cfg(test)]
mod monotone_tests;
mod prior;
mod stage;
mod targets;

pub use methods::stages;
