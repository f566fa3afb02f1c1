//! Choosing the next token from logits: the likeliest, or a draw at a temperature from the smallest set of tokens that
//! holds `top_p` of the probability (Holtzman et al. 2020, arXiv 1904.09751).

use oops_core::{Fault, Result, Rng, bail_if};

/// How tokens are chosen. The same seed and logits give the same tokens.
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    rng: Rng,
}

impl Sampler {
    /// At temperature 0 the likeliest token, whatever the rest.
    pub fn new(temperature: f64, top_p: f64, seed: u64) -> Result<Self> {
        bail_if(!(temperature.is_finite() && temperature >= 0.0), || {
            Fault::config(format!("temperature {temperature} is not a number from 0 up"))
                .help("0 always takes the likeliest")
        })?;
        bail_if(!(top_p > 0.0 && top_p <= 1.0), || {
            Fault::config(format!("top-p {top_p} is not above 0 and at most 1")).help("1 draws from all tokens")
        })?;
        Ok(Self { temperature, top_p, rng: Rng::new(seed, "generate") })
    }

    /// The next token.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32> {
        bail_if(logits.is_empty() || logits.iter().any(|v| !v.is_finite()), || {
            Fault::numerical("the model's logits are not finite")
                .help("`oops verify` finds damaged weights; a model pruned too hard can overflow too")
        })?;
        let likeliest = likeliest(logits);
        if self.temperature == 0.0 {
            return Ok(likeliest);
        }
        let largest = f64::from(logits[likeliest as usize]);
        let weight = |v: &f32| ((f64::from(*v) - largest) / self.temperature).exp();
        let weights: Vec<(u32, f64)> = (0..).zip(logits.iter().map(weight)).collect();
        Ok(self.draw(nucleus(weights, self.top_p)))
    }

    fn draw(&mut self, weights: Vec<(u32, f64)>) -> u32 {
        let mut left = self.rng.uniform() * weights.iter().map(|w| w.1).sum::<f64>();
        let hit = weights.iter().position(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        // Rounding can leave a rest behind the last: it is the last one's.
        weights[hit.unwrap_or(weights.len() - 1)].0
    }
}

/// The position of the largest logit, the first of equals.
pub fn likeliest(logits: &[f32]) -> u32 {
    let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (1..logits.len()).fold(0, better) as u32
}

/// The heaviest tokens, heaviest first, that together have at least `top_p` of all weight.
fn nucleus(mut weights: Vec<(u32, f64)>, top_p: f64) -> Vec<(u32, f64)> {
    if top_p >= 1.0 {
        return weights;
    }
    let total: f64 = weights.iter().map(|w| w.1).sum();
    // All tokens below this floor together have less than 1 − top_p, so the others hold the set: most need no sorting.
    let floor = (1.0 - top_p) * total / weights.len() as f64;
    weights.retain(|w| w.1 >= floor);
    weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut sum = 0.0;
    let enough = weights.iter().position(|w| {
        sum += w.1;
        sum >= top_p * total
    });
    weights.truncate(enough.map_or(weights.len(), |last| last + 1));
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities 0.1, 0.4, 0.2, 0.3.
    fn logits() -> Vec<f32> {
        [0.1_f32, 0.4, 0.2, 0.3].map(f32::ln).to_vec()
    }

    fn shares(temperature: f64, top_p: f64) -> [f64; 4] {
        let mut sampler = Sampler::new(temperature, top_p, 1).unwrap();
        let mut counts = [0.0; 4];
        (0..20_000).for_each(|_| counts[sampler.next(&logits()).unwrap() as usize] += 1.0 / 20_000.0);
        counts
    }

    fn near(a: [f64; 4], b: [f64; 4]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.02)
    }

    #[test]
    fn zero_takes_the_likeliest_and_the_first_of_equals() {
        assert_eq!(Sampler::new(0.0, 0.5, 9).unwrap().next(&logits()).unwrap(), 1);
        assert_eq!(likeliest(&[1.0, 3.0, 3.0]), 1);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        assert!(near(shares(1.0, 1.0), [0.1, 0.4, 0.2, 0.3]), "{:?}", shares(1.0, 1.0));
        // Squared at half the temperature: 1 : 16 : 4 : 9.
        assert!(near(shares(0.5, 1.0), [1.0 / 30.0, 16.0 / 30.0, 4.0 / 30.0, 9.0 / 30.0]));
    }

    #[test]
    fn the_nucleus_is_the_smallest_set_that_is_heavy_enough() {
        assert!(near(shares(1.0, 0.65), [0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]), "{:?}", shares(1.0, 0.65));
        assert!(near(shares(1.0, 0.71), [0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]));
        assert!(near(shares(1.0, 1e-9), [0.0, 1.0, 0.0, 0.0]));
    }

    #[test]
    fn wrong_settings_and_broken_logits_are_faults() {
        assert_eq!(Sampler::new(-1.0, 1.0, 0).err().unwrap().class().exit_code(), 2);
        assert!(Sampler::new(f64::NAN, 1.0, 0).is_err());
        assert!(Sampler::new(1.0, 0.0, 0).is_err() && Sampler::new(1.0, 1.1, 0).is_err());
        assert_eq!(Sampler::new(1.0, 1.0, 0).unwrap().next(&[0.0, f32::NAN]).unwrap_err().class().exit_code(), 4);
    }
}
