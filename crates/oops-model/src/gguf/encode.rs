//! f32 to stored blocks, after the block layouts of the ggml specification: the inverse of [`super::dequant`] for the
//! formats that we write. Rounding is to the nearest level; scales are half-precision numbers.

use half::{bf16, f16};
use oops_core::{Fault, Result, bail_if};
use rayon::prelude::*;

use super::format::{Format, SMALL};

/// Values that one task encodes.
const TASK: usize = 1 << 14;

/// Encodes values as whole blocks of a format that we write.
pub(super) fn encode(format: Format, values: &[f32]) -> Result<Vec<u8>> {
    let one: fn(&[f32], &mut [u8]) = match format {
        Format::F32 => |x, out| out.copy_from_slice(&x[0].to_le_bytes()),
        Format::F16 => |x, out| out.copy_from_slice(&f16::from_f32(x[0]).to_le_bytes()),
        Format::BF16 => |x, out| out.copy_from_slice(&bf16::from_f32(x[0]).to_le_bytes()),
        Format::Q8_0 => q8_0,
        Format::Q4_0 => q4_0,
        other => return Err(Fault::internal(format!("weights are not written as {}", other.name()))),
    };
    check(format, values)?;
    let (block, size) = (format.block(), format.bytes());
    bail_if(!values.len().is_multiple_of(block), || {
        Fault::internal(format!("{} values are not whole blocks of {block}", values.len()))
    })?;
    let mut out = vec![0; values.len() / block * size];
    let per_task = TASK / block;
    out.par_chunks_mut(per_task * size).zip(values.par_chunks(per_task * block)).for_each(|(out, values)| {
        out.chunks_exact_mut(size).zip(values.chunks_exact(block)).for_each(|(out, x)| one(x, out));
    });
    Ok(out)
}

/// Fails if a value, or the scale of its block, becomes infinite.
fn check(format: Format, values: &[f32]) -> Result<()> {
    let largest = match format {
        Format::F32 => f32::MAX,
        Format::BF16 => bf16::MAX.to_f32(),
        Format::F16 => f16::MAX.to_f32(),
        Format::Q8_0 => 127.0 * f16::MAX.to_f32(),
        _ => 8.0 * f16::MAX.to_f32(),
    };
    match values.par_iter().position_first(|v| v.is_nan() || v.abs() > largest) {
        None => Ok(()),
        Some(at) => Err(Fault::data(format!("{} at position {at} cannot be written as {}", values[at], format.name()))
            .help(format!("the largest magnitude is {largest:e}; choose another format"))),
    }
}

/// `d = max|x|/127`, `q = round(x/d)`.
fn q8_0(x: &[f32], out: &mut [u8]) {
    let d = x.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { d.recip() };
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    out[2..].iter_mut().zip(x).for_each(|(q, v)| *q = (v * inverse).round() as i8 as u8);
}

/// `d = x*/(−8)` with x* the value of largest magnitude, `q = x/d + 8` to the nearest of 0 … 15.
fn q4_0(x: &[f32], out: &mut [u8]) {
    let extreme = x.iter().fold(0.0_f32, |m, v| if v.abs() > m.abs() { *v } else { m });
    let d = extreme / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { d.recip() };
    let level = |v: f32| (v.mul_add(inverse, 8.5) as u8).min(15);
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    let (low, high) = x.split_at(SMALL / 2);
    out[2..].iter_mut().zip(low.iter().zip(high)).for_each(|(q, (l, h))| *q = level(*l) | level(*h) << 4);
}

#[cfg(test)]
mod tests {
    use super::{super::dequant::dequantize_bytes as dequantize, *};

    fn wave(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * i) as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect()
    }

    #[test]
    fn what_is_written_is_read_back_within_half_a_level() {
        let x = wave(32 * 40);
        for (format, levels) in [(Format::Q8_0, 127.0), (Format::Q4_0, 8.0)] {
            let back = dequantize(format, &encode(format, &x).unwrap()).unwrap();
            for (block, back) in x.chunks(32).zip(back.chunks(32)) {
                let largest = block.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                // Half a level, and what the half-precision scale is off by; the far end of Q4_0 is one level short.
                let allowed = largest / levels * if format == Format::Q4_0 { 1.01 } else { 0.57 };
                assert!(block.iter().zip(back).all(|(a, b)| (a - b).abs() <= allowed), "{format:?}");
            }
        }
        assert_eq!(dequantize(Format::F32, &encode(Format::F32, &x).unwrap()).unwrap(), x);
        let half = dequantize(Format::F16, &encode(Format::F16, &x).unwrap()).unwrap();
        assert!(x.iter().zip(&half).all(|(a, b)| f16::from_f32(*a).to_f32() == *b));
    }

    /// An independent implementation gives the same bytes.
    #[test]
    fn candles_quantiser_agrees() {
        use candle_core::{
            Device, Tensor,
            quantized::{GgmlDType, QTensor},
        };
        let x = wave(32 * 64);
        for (ours, theirs) in [(Format::Q8_0, GgmlDType::Q8_0), (Format::Q4_0, GgmlDType::Q4_0)] {
            let tensor = Tensor::from_slice(&x, (64, 32), &Device::Cpu).unwrap();
            let want = QTensor::quantize(&tensor, theirs).unwrap().data().unwrap().into_owned();
            let got = encode(ours, &x).unwrap();
            let other = got.iter().zip(&want).filter(|(a, b)| a != b).count();
            // A value exactly between two levels may go either way.
            assert!(got.len() == want.len() && other <= got.len() / 200, "{ours:?}: {other} of {} bytes", got.len());
        }
    }

    #[test]
    fn zeros_stay_zero_and_what_does_not_fit_is_refused() {
        for format in [Format::Q8_0, Format::Q4_0] {
            assert_eq!(dequantize(format, &encode(format, &[0.0; 32]).unwrap()).unwrap(), [0.0; 32]);
        }
        let fault = encode(Format::F16, &[1.0, 7e4]).unwrap_err();
        assert!(fault.what().contains("70000 at position 1") && fault.what().contains("F16"), "{fault}");
        assert!(encode(Format::F32, &[f32::NAN]).is_err() && encode(Format::Q6K, &[0.0; 256]).is_err());
    }
}
