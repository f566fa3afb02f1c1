//! Scoring: statistics and weights to one number per unit, higher = keep. A method is one file in `methods/`; the loop
//! over blocks, reading and writing exist once, in `stage`.

mod methods;
mod outliers;
mod stage;
mod units;
mod view;

pub use methods::stages;
pub use stage::{Needs, Scorer, Shared};
pub use view::{BlockView, Gradients};
