//! Weights between f32 and the bytes of safetensors: f32, f16 and bf16, little-endian.

use half::{bf16, f16};
use oops_core::{Fault, Result, bail_if};
use rayon::prelude::*;
use safetensors::Dtype;

use crate::DType;

const CHUNK: usize = 1 << 16;

/// Whether weights of this type can be read.
pub(super) fn is_readable(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The values of `bytes`; types that are not readable give none.
pub(super) fn decode(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F32 => widen(bytes, f32::from_le_bytes),
        Dtype::F16 => widen(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => widen(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        _ => Vec::new(),
    }
}

fn widen<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / N];
    out.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * N)).for_each(|(out, bytes)| {
        for (out, b) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *out = one(*b);
        }
    });
    out
}

/// The safetensors type for `dtype`.
pub(super) fn writable(dtype: &DType) -> Result<Dtype> {
    match dtype {
        DType::F32 => Ok(Dtype::F32),
        DType::F16 => Ok(Dtype::F16),
        DType::BF16 => Ok(Dtype::BF16),
        DType::Quantized(name) => {
            Err(Fault::data(format!("weights cannot be written as {name}")).help("choose f32, f16 or bf16"))
        }
    }
}

/// `values` rounded to nearest, ties to even; a value that becomes infinite is a fault.
pub(super) fn encode(values: &[f32], dtype: Dtype) -> Result<Vec<u8>> {
    let finite = match dtype {
        Dtype::F16 => values.iter().all(|v| f16::from_f32(*v).is_finite()),
        Dtype::BF16 => values.iter().all(|v| bf16::from_f32(*v).is_finite()),
        _ => values.iter().all(|v| v.is_finite()),
    };
    bail_if(!finite, || {
        Fault::data(format!("a weight is not finite in {dtype:?}"))
            .help("f32 and bf16 hold values up to 3.4e38, f16 65,504")
    })?;
    Ok(match dtype {
        Dtype::F16 => narrow(values, |v| f16::from_f32(v).to_le_bytes()),
        Dtype::BF16 => narrow(values, |v| bf16::from_f32(v).to_le_bytes()),
        _ => narrow(values, f32::to_le_bytes),
    })
}

fn narrow<const N: usize>(values: &[f32], one: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| one(*v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_round_trips_and_halves_round_to_even() {
        let x = [1.0, -0.1, 3.3e38, 1.0 + 3.0 / 256.0];
        assert_eq!(decode(&encode(&x, Dtype::F32).unwrap(), Dtype::F32), x);
        let bf = decode(&encode(&[1.0 + 3.0 / 256.0, 1.0 + 1.0 / 256.0], Dtype::BF16).unwrap(), Dtype::BF16);
        assert_eq!(bf, [1.015_625, 1.0]);
        let f = decode(&encode(&[0.1, 65_504.0], Dtype::F16).unwrap(), Dtype::F16);
        assert_eq!(f, [0.099_975_586, 65_504.0]);
    }

    #[test]
    fn overflow_and_nan_are_refused() {
        assert!(encode(&[70_000.0], Dtype::F16).is_err());
        assert!(encode(&[f32::NAN], Dtype::F32).is_err());
        assert!(writable(&DType::Quantized("Q4_1".into())).is_err());
    }
}
