//! Rotary scaling from GGUF: `rope.scaling.*` keys, and the per-frequency divisors in `rope_freqs.weight` that
//! converters write for Llama 3.1 and later, turned back into the four numbers that made them.

use std::f64::consts::TAU;

use oops_core::{Fault, Result, bail_if};

use super::{metadata::Metadata, names::ROPE_FACTORS};
use crate::{Rope, RopeScaling};

/// The constants of every published Llama 3.x; only the factor differs (8 or 32). Divisors alone cannot tell them from
/// the same three numbers scaled together, so they are tried and the result is compared.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
const ORIGINAL: usize = 8192;
/// Relative; divisors are stored in f32.
const TOLERANCE: f64 = 1e-4;

/// Reads the encoding of architecture `arch`; `factors` are the values of `rope_freqs.weight`, if there.
pub(super) fn read(m: &Metadata, arch: &str, head_dim: usize, factors: Option<&[f32]>) -> Result<Rope> {
    let key = |name: &str| format!("{arch}.rope.{name}");
    let theta = m.float(&key("freq_base"))?.unwrap_or(10_000.0);
    bail_if(theta <= 0.0, || Fault::data(format!("base {theta} is not positive")).at(key("freq_base")))?;
    let turned = m.unsigned(&key("dimension_count"))?.unwrap_or(head_dim);
    bail_if(turned != head_dim, || {
        let what = format!("rotary embedding of {turned} of {head_dim} channels per head is not supported");
        Fault::data(what).at(format!("metadata `{}`", key("dimension_count")))
    })?;
    let original = m.unsigned(&key("scaling.original_context_length"))?.unwrap_or(ORIGINAL);
    let listed = listed(m, &key)?;
    let scaling = match factors {
        None => listed,
        Some(f) if listed == RopeScaling::None => llama3(f, theta, head_dim, original)?,
        Some(_) => return Err(Fault::data("rotary scaling is given both as metadata and as a tensor").at(ROPE_FACTORS)),
    };
    Ok(Rope { theta, scaling })
}

fn listed(m: &Metadata, key: &dyn Fn(&str) -> String) -> Result<RopeScaling> {
    let factor = match m.float(&key("scaling.factor"))? {
        None => m.float(&key("scale_linear"))?,
        some => some,
    };
    match (m.text(&key("scaling.type"))?, factor) {
        (None, None) | (Some("none"), _) => Ok(RopeScaling::None),
        (_, Some(factor)) if factor <= 0.0 => Err(Fault::data(format!("rotary scaling by {factor} is not positive"))),
        (None | Some("linear"), Some(factor)) => Ok(RopeScaling::Linear { factor }),
        (Some("linear"), None) => Err(Metadata::missing(&key("scaling.factor"))),
        (Some(other), _) => Err(Fault::data(format!("rotary scaling of type `{other}` is not supported"))
            .at(format!("metadata `{}`", key("scaling.type")))
            .help("supported are none, linear, and Llama 3 scaling as the tensor `rope_freqs.weight`")),
    }
}

/// Divisor of frequency θ^(−2i/d): 1 for wavelengths below original/high, `factor` above original/low, blended between.
fn divisor(i: usize, theta: f64, d: usize, factor: f64, original: f64) -> f64 {
    let wavelength = TAU * theta.powf((2 * i) as f64 / d as f64);
    let kept = ((original / wavelength - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
    1.0 / ((1.0 - kept) / factor + kept)
}

fn llama3(stored: &[f32], theta: f64, d: usize, original: usize) -> Result<RopeScaling> {
    let factor = stored.iter().fold(1.0_f64, |m, &x| m.max(x.into()));
    let close = |(i, &x): (usize, &f32)| {
        let want = divisor(i, theta, d, factor, original as f64);
        (f64::from(x) - want).abs() <= TOLERANCE * want
    };
    bail_if(stored.len() != d / 2 || !stored.iter().enumerate().all(close), || {
        Fault::data("the divisors of the rotary frequencies are not Llama 3 scaling")
            .at(format!("tensor `{ROPE_FACTORS}`"))
            .help(format!(
                "one divisor for each of {} frequencies is read, made by low 1, high 4, original {original}",
                d / 2
            ))
    })?;
    Ok(RopeScaling::Llama3 { factor, low_freq_factor: LOW, high_freq_factor: HIGH, original_max_position: original })
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
    fn llama_3_divisors_become_its_four_numbers() {
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
        assert!(scaling(theta(), Some(&f)).unwrap_err().what().contains("not Llama 3 scaling"));
        assert!(scaling(theta(), Some(&f[..63])).is_err());
    }

    #[test]
    fn listed_scaling_is_read_and_the_rest_refused() {
        let typed = |t: &str| theta().text("llama.rope.scaling.type", t);
        let linear = typed("linear").float("llama.rope.scaling.factor", 4.0);
        assert_eq!(scaling(linear, None).unwrap(), RopeScaling::Linear { factor: 4.0 });
        assert_eq!(scaling(typed("none"), None).unwrap(), RopeScaling::None);
        assert!(scaling(typed("yarn"), None).unwrap_err().to_string().contains("`yarn` is not supported"));
        assert!(scaling(typed("linear"), None).is_err());
        let partial = theta().unsigned("llama.rope.dimension_count", 32);
        assert!(scaling(partial, None).unwrap_err().what().contains("32 of 128 channels"));
    }
}
