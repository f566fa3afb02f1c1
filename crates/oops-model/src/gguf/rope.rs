//! Rotary scaling from GGUF: `rope.scaling.*` keys, and the per-frequency divisors in `rope_freqs.weight` that
//! converters write for Llama 3.1 and later. Divisors are kept as they are, but for those that the four numbers of every
//! published Llama 3.x make: these become the four numbers, which programs that read config.json know better.

use std::f64::consts::TAU;

use oops_core::{Fault, Result, bail_if};

use super::{metadata::Metadata, names::ROPE_FACTORS};
use crate::{Rope, RopeScaling};

/// The constants of every published Llama 3.x; only the factor differs (8 or 32). Divisors alone cannot tell them from
/// the same three numbers scaled together, so they are tried and the result is compared.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
const ORIGINAL: usize = 8192;
/// Relative; converters compute divisors in f32, where blending loses digits.
const TOLERANCE: f64 = 1e-5;

/// Reads the encoding of architecture `arch`; `factors` are the values of `rope_freqs.weight`, if there.
pub(super) fn read(m: &Metadata, arch: &str, head_dim: usize, factors: Option<&[f32]>) -> Result<Rope> {
    let key = |name: &str| format!("{arch}.rope.{name}");
    let theta = positive(m, &key("freq_base"))?.unwrap_or(10_000.0);
    let turned = m.unsigned(&key("dimension_count"))?.unwrap_or(head_dim);
    bail_if(turned != head_dim, || {
        let what = format!("rotary embedding of {turned} of {head_dim} channels per head is not supported");
        Fault::data(what).at(format!("metadata `{}`", key("dimension_count")))
    })?;
    let original = m.unsigned(&key("scaling.original_context_length"))?.unwrap_or(ORIGINAL);
    let attention_factor = positive(m, &key("scaling.attn_factor"))?.unwrap_or(1.0);
    let factor = linear_factor(m, &key)?;
    let unscaled = attention_factor.total_cmp(&1.0).is_eq();
    let scaling = match factors {
        None if unscaled => factor.map_or(RopeScaling::None, |factor| RopeScaling::Linear { factor }),
        _ => {
            let ones = vec![1.0; head_dim / 2];
            let stored = checked(factors.unwrap_or(&ones), head_dim)?;
            let divide = |d: &f32| (f64::from(*d) * factor.unwrap_or(1.0)) as f32;
            let divisors: Vec<f32> = stored.iter().map(divide).collect();
            let plain = unscaled && factor.is_none();
            let named = if plain { llama3(&divisors, theta, head_dim, original) } else { None };
            named.unwrap_or(RopeScaling::Divisors { divisors, attention_factor })
        }
    };
    Ok(Rope { theta, scaling })
}

fn positive(m: &Metadata, key: &str) -> Result<Option<f64>> {
    let value = m.float(key)?;
    bail_if(value.is_some_and(|x| x <= 0.0), || {
        Fault::data(format!("{} is not positive", value.unwrap_or(0.0))).at(format!("metadata `{key}`"))
    })?;
    Ok(value)
}

/// What all frequencies are divided by, if anything.
fn linear_factor(m: &Metadata, key: &dyn Fn(&str) -> String) -> Result<Option<f64>> {
    let factor = match m.float(&key("scaling.factor"))? {
        None => positive(m, &key("scale_linear"))?,
        Some(_) => positive(m, &key("scaling.factor"))?,
    };
    match (m.text(&key("scaling.type"))?, factor) {
        (Some("none"), _) => Ok(None),
        (Some("linear"), None) => Err(Metadata::missing(&key("scaling.factor"))),
        (None | Some("linear"), factor) => Ok(factor),
        (Some(other), _) => Err(Fault::data(format!("rotary scaling of type `{other}` is not supported"))
            .at(format!("metadata `{}`", key("scaling.type")))
            .help("supported are none, linear, and divisors of frequencies as the tensor `rope_freqs.weight`")),
    }
}

/// One positive divisor for each frequency.
fn checked(stored: &[f32], head_dim: usize) -> Result<&[f32]> {
    let sound = stored.len() == head_dim / 2 && stored.iter().all(|d| *d > 0.0 && d.is_finite());
    bail_if(!sound, || {
        Fault::data("the divisors of the rotary frequencies are not one positive number for each")
            .at(format!("tensor `{ROPE_FACTORS}`"))
            .help(format!("{} numbers are needed", head_dim / 2))
    })?;
    Ok(stored)
}

/// Divisor of frequency θ^(−2i/d): 1 for wavelengths below original/high, `factor` above original/low, blended between.
fn divisor(i: usize, theta: f64, d: usize, factor: f64, original: f64) -> f64 {
    let wavelength = TAU * theta.powf((2 * i) as f64 / d as f64);
    let kept = ((original / wavelength - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
    1.0 / ((1.0 - kept) / factor + kept)
}

/// The four numbers of Llama 3 scaling, if they make these divisors.
fn llama3(stored: &[f32], theta: f64, d: usize, original: usize) -> Option<RopeScaling> {
    let factor = stored.iter().fold(1.0_f64, |m, &x| m.max(x.into()));
    let close = |(i, &x): (usize, &f32)| {
        let want = divisor(i, theta, d, factor, original as f64);
        (f64::from(x) - want).abs() <= TOLERANCE * want
    };
    stored.iter().enumerate().all(close).then_some(RopeScaling::Llama3 {
        factor,
        low_freq_factor: LOW,
        high_freq_factor: HIGH,
        original_max_position: original,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{
        container::Container,
        testing::{Gguf, bytes_of},
    };

    fn scaling(g: Gguf, factors: Option<&[f32]>) -> Result<RopeScaling> {
        let c = Container::read(bytes_of(g.bytes()))?;
        Ok(read(&c.metadata, "llama", 128, factors)?.scaling)
    }

    fn theta() -> Gguf {
        Gguf::new().float("llama.rope.freq_base", 500_000.0)
    }

    #[test]
    fn llama_3_divisors_become_its_four_numbers_and_others_stay() {
        // Frequencies of Llama 3.1 8B (d = 128, θ = 500000): wavelengths of 2048 and 8192 tokens lie at i = 28.2 and
        // 34.9, so divisors 0 to 28 are 1 and those from 35 are 8.
        let mut f: Vec<f32> = (0..64).map(|i| divisor(i, 5e5, 128, 8.0, 8192.0) as f32).collect();
        assert!(f[28] <= 1.0 && f[29] > 1.0 && f[34] < 8.0 && f[35] >= 8.0);
        let want = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position: 8192,
        };
        assert_eq!(scaling(theta(), Some(&f)).unwrap(), want);
        f[31] *= 1.01;
        let kept = RopeScaling::Divisors { divisors: f.clone(), attention_factor: 1.0 };
        assert_eq!(scaling(theta(), Some(&f)).unwrap(), kept);
        assert!(scaling(theta(), Some(&f[..63])).unwrap_err().what().contains("one positive number for each"));
        f[0] = 0.0;
        assert!(scaling(theta(), Some(&f)).is_err());
    }

    #[test]
    fn listed_scaling_is_read_and_the_rest_refused() {
        let typed = |t: &str| theta().text("llama.rope.scaling.type", t);
        let linear = || typed("linear").float("llama.rope.scaling.factor", 4.0);
        assert_eq!(scaling(linear(), None).unwrap(), RopeScaling::Linear { factor: 4.0 });
        assert_eq!(scaling(typed("none"), None).unwrap(), RopeScaling::None);
        let divisors = |d: f32, attention_factor| RopeScaling::Divisors { divisors: vec![d; 64], attention_factor };
        assert_eq!(scaling(linear(), Some(&[2.0; 64])).unwrap(), divisors(8.0, 1.0));
        let scaled = |g: Gguf| g.float("llama.rope.scaling.attn_factor", 1.5);
        assert_eq!(scaling(scaled(theta()), None).unwrap(), divisors(1.0, 1.5));
        assert_eq!(scaling(scaled(linear()), None).unwrap(), divisors(4.0, 1.5));
        assert!(scaling(typed("yarn"), None).unwrap_err().to_string().contains("`yarn` is not supported"));
        assert!(scaling(typed("linear"), None).is_err());
        assert!(scaling(theta().float("llama.rope.scaling.attn_factor", 0.0), None).is_err());
        let partial = theta().unsigned("llama.rope.dimension_count", 32);
        assert!(scaling(partial, None).unwrap_err().what().contains("32 of 128 channels"));
    }
}
