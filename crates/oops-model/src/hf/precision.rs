//! Weights between f32 and the bytes of safetensors: f32, f16 and bf16, little-endian.

use half::{bf16, f16, slice::HalfFloatSliceExt as _};
use oops_core::{Fault, Result};
use rayon::prelude::*;
use safetensors::Dtype;

use crate::DType;

/// Values per parallel piece.
const CHUNK: usize = 1 << 16;
/// Values that the CPU's conversion instructions are given at once: asking whether it has them costs more than one.
const LANES: usize = 64;

/// Whether weights of this type can be read.
pub(super) fn is_readable(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Bytes that one value takes, of the types that are readable.
pub(super) fn width(dtype: Dtype) -> usize {
    if dtype == Dtype::F32 { 4 } else { 2 }
}

/// Widens the values of `bytes` into `out`; a type that is not readable leaves it as it is.
pub(super) fn decode(bytes: &[u8], dtype: Dtype, out: &mut [f32]) {
    match dtype {
        Dtype::F32 => out.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, b)| *out = f32::from_le_bytes(*b)),
        Dtype::F16 => {
            for (out, bytes) in out.chunks_mut(LANES).zip(bytes.as_chunks().0.chunks(LANES)) {
                let mut halves = [f16::ZERO; LANES];
                halves.iter_mut().zip(bytes).for_each(|(half, b)| *half = f16::from_le_bytes(*b));
                halves[..out.len()].convert_to_f32_slice(out);
            }
        }
        Dtype::BF16 => {
            let one = |b: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16);
            out.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, b)| *out = one(*b));
        }
        _ => {}
    }
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
    let stored = match dtype {
        Dtype::F16 => narrow(values, |values, out: &mut [[u8; 2]]| {
            values.chunks(LANES).zip(out.chunks_mut(LANES)).all(|(values, out)| {
                let mut halves = [f16::ZERO; LANES];
                halves[..values.len()].convert_from_f32_slice(values);
                out.iter_mut().zip(halves).for_each(|(out, half)| *out = half.to_le_bytes());
                halves.iter().all(|half| half.is_finite())
            })
        }),
        Dtype::BF16 => narrow(values, |values, out: &mut [[u8; 2]]| {
            let one = |(v, out): (&f32, &mut [u8; 2])| {
                let half = bf16::from_f32(*v);
                *out = half.to_le_bytes();
                half.is_finite()
            };
            values.iter().zip(out).all(one)
        }),
        _ => narrow(values, |values, out: &mut [[u8; 4]]| {
            values.iter().zip(out).for_each(|(v, out)| *out = v.to_le_bytes());
            values.iter().all(|v| v.is_finite())
        }),
    };
    stored.ok_or_else(|| {
        Fault::data(format!("a weight is not finite in {dtype:?}"))
            .help("f32 and bf16 hold values up to 3.4e38, f16 65,504")
    })
}

/// Bytes of all values; `None` if a piece has one that is not finite.
fn narrow<const N: usize>(values: &[f32], piece: impl Fn(&[f32], &mut [[u8; N]]) -> bool + Sync) -> Option<Vec<u8>> {
    let mut out = vec![0; values.len() * N];
    let pieces = out.par_chunks_mut(CHUNK * N).zip(values.par_chunks(CHUNK));
    pieces.map(|(out, values)| piece(values, out.as_chunks_mut::<N>().0)).all(|finite| finite).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
        let mut out = vec![0.0; bytes.len() / width(dtype)];
        super::decode(bytes, dtype, &mut out);
        out
    }

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
    fn lengths_that_are_no_multiple_of_anything_survive() {
        let x: Vec<f32> = (0..CHUNK + LANES + 3).map(|i| (i % 2048) as f32 - 1024.0).collect();
        for dtype in [Dtype::F32, Dtype::F16] {
            assert_eq!(decode(&encode(&x, dtype).unwrap(), dtype), x);
        }
        let coarse: Vec<f32> = x.iter().map(|v| bf16::from_f32(*v).to_f32()).collect();
        assert_eq!(decode(&encode(&x, Dtype::BF16).unwrap(), Dtype::BF16), coarse);
        let mut broken = x;
        *broken.last_mut().unwrap() = f32::INFINITY;
        assert!([Dtype::F32, Dtype::F16, Dtype::BF16].iter().all(|dtype| encode(&broken, *dtype).is_err()));
    }

    #[test]
    fn overflow_and_nan_are_refused() {
        assert!(encode(&[70_000.0], Dtype::F16).is_err());
        assert!(encode(&[f32::NAN], Dtype::F32).is_err());
        assert!(writable(&DType::Quantized("Q4_1".into())).is_err());
    }
}
