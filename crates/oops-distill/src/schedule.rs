//! Learning rate over the steps of one block.

use oops_core::finite::smaller;

/// Linear warm-up over the first `warmup` steps to `peak`, then half a cosine down to 0 at step `steps`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) peak: f64,
    pub(crate) warmup: usize,
    pub(crate) steps: usize,
}

impl Schedule {
    /// The rate of step `step`, counted from 0.
    pub(crate) fn rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let progress = (step - self.warmup) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
        self.peak * 0.5 * (1.0 + (std::f64::consts::PI * smaller(progress, 1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_zero() {
        let s = Schedule { peak: 2e-3, warmup: 10, steps: 110 };
        assert!((s.rate(0) - 2e-4).abs() < 1e-12 && (s.rate(9) - 2e-3).abs() < 1e-12);
        assert!((s.rate(10) - 2e-3).abs() < 1e-12 && (s.rate(60) - 1e-3).abs() < 1e-12);
        assert!(s.rate(109) < 1e-6 && s.rate(110).abs() < 1e-12);
        assert!((Schedule { peak: 1.0, warmup: 0, steps: 1 }.rate(0) - 1.0).abs() < 1e-12);
    }
}
