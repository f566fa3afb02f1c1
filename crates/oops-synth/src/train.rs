//! The training loop: fresh stories every step, warm-up, then a cosine down to zero.

use std::time::Instant;

use oops_core::{Fault, Result, bail_if};
use oops_model::Tokenizer;

use crate::{
    adam::AdamW,
    corpus::Rows,
    network::{CONTEXT, Network, fault},
};

/// Rows per step.
const ROWS: usize = 8;
/// Learning rate at its highest.
const PEAK_RATE: f64 = 3e-3;
/// Steps of linear warm-up, at most a tenth of all.
const WARM_UP: usize = 100;
/// Steps between lines of the log.
const REPORT: usize = 50;
/// Steps between calls of `keep`.
const KEEP: usize = 250;

/// Figures of a finished training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trained {
    /// Steps.
    pub(crate) steps: usize,
    /// Tokens seen.
    pub(crate) tokens: usize,
    /// Wall time in seconds.
    pub(crate) seconds: f64,
    /// Mean loss of the last steps, in nats.
    pub(crate) last_loss: f64,
}

/// Trains `network` for `steps` steps on the stories of `seed`; `keep` is called now and then, so that an
/// interrupted training leaves a usable model.
pub(crate) fn train(
    network: &Network,
    tokenizer: &Tokenizer,
    seed: u64,
    steps: usize,
    log: &mut dyn FnMut(&str),
    keep: &mut dyn FnMut(&Network) -> Result<()>,
) -> Result<Trained> {
    let (start, mut rows, mut adam) = (Instant::now(), Rows::new(tokenizer, seed), AdamW::new(&network.vars));
    let (mut sum, mut count, mut last_loss) = (0.0, 0, f64::NAN);
    for step in 0..steps {
        let batch = (0..ROWS).map(|_| rows.next(CONTEXT)).collect::<Result<Vec<_>>>()?;
        let loss = network.loss(&batch)?;
        let grads = loss.backward().map_err(fault)?;
        let norm = adam.step(&grads, rate(step, steps))?;
        let loss = f64::from(loss.to_scalar::<f32>().map_err(fault)?);
        bail_if(!loss.is_finite(), || Fault::numerical(format!("the loss is {loss} at step {step}")))?;
        (sum, count) = (sum + loss, count + 1);
        if (step + 1) % REPORT == 0 || step + 1 == steps {
            last_loss = sum / f64::from(count);
            let seconds = start.elapsed().as_secs_f64();
            log(&format!("step {}: loss {last_loss:.4}, gradient {norm:.2}, {seconds:.0} s", step + 1));
            (sum, count) = (0.0, 0);
        }
        if (step + 1) % KEEP == 0 {
            keep(network)?;
        }
    }
    Ok(Trained { steps, tokens: steps * ROWS * CONTEXT, seconds: start.elapsed().as_secs_f64(), last_loss })
}

/// Learning rate of a step.
fn rate(step: usize, steps: usize) -> f64 {
    let warm = WARM_UP.min(steps / 10);
    if step < warm {
        return PEAK_RATE * (step + 1) as f64 / warm as f64;
    }
    let progress = (step - warm) as f64 / (steps - warm).max(1) as f64;
    PEAK_RATE * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_zero() {
        assert!((rate(99, 2000) - PEAK_RATE).abs() < 1e-12 && rate(0, 2000) < PEAK_RATE / 50.0);
        assert!(rate(1050, 2000) - PEAK_RATE / 2.0 < 1e-6 && rate(1999, 2000) < 1e-8);
        assert!(rate(0, 1).is_finite());
    }
}
