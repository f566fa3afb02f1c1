//! Stored blocks to f32, after the block layouts of the ggml specification.
//!
//! One level of scales (32 values per block, little-endian half-precision `d`, `m`, nibbles `q`):
//! Q4_0 `d·(q−8)` · Q4_1 `d·q+m` · Q5_0 `d·(q−16)` · Q5_1 `d·q+m` (fifth bits in a u32) · Q8_0 `d·q` (signed bytes).
//! The nibbles of byte j are values j (low) and j+16 (high). Two levels are in [`super::kquant`] and [`super::lowbit`],
//! values from a table in [`super::table`].

use std::ops::Range;

use half::{bf16, f16};
use oops_core::{Fault, Result, bail_if};

use super::{
    format::{Format, SMALL},
    kquant, lowbit, table,
};
use crate::bytes::{self, FileBytes};

/// Decodes the tensor in `span`, which must be whole blocks.
pub(super) fn dequantize(file: &dyn FileBytes, span: Range<usize>, format: Format) -> Result<Vec<f32>> {
    let (block, size) = (format.block(), format.bytes());
    bail_if(!span.len().is_multiple_of(size), || {
        Fault::data(format!("{} bytes are not whole {} blocks of {size} bytes", span.len(), format.name()))
    })?;
    bytes::decode(file, span, (block, size), &|bytes, out| {
        for (out, bytes) in out.chunks_exact_mut(block).zip(bytes.chunks_exact(size)) {
            decode(format, bytes, out);
        }
    })
}

fn decode(format: Format, b: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => out[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        Format::F16 => out[0] = half_at(b, 0),
        Format::BF16 => out[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        Format::Q4_0 => affine(half_at(b, 0), -8.0, 0.0, 0, &b[2..], out),
        Format::Q4_1 => affine(half_at(b, 0), 0.0, half_at(b, 2), 0, &b[4..], out),
        Format::Q5_0 => affine(half_at(b, 0), -16.0, 0.0, high_bits(b, 2), &b[6..], out),
        Format::Q5_1 => affine(half_at(b, 0), 0.0, half_at(b, 2), high_bits(b, 4), &b[8..], out),
        Format::Q8_0 => {
            let d = half_at(b, 0);
            out.iter_mut().zip(&b[2..]).for_each(|(x, &q)| *x = f32::from(q as i8) * d);
        }
        Format::Q2K => lowbit::q2(b, out),
        Format::Q3K => lowbit::q3(b, out),
        Format::Q4K => kquant::q4(b, out),
        Format::Q5K => kquant::q5(b, out),
        Format::Q6K => kquant::q6(b, out),
        Format::Q8K => kquant::q8(b, out),
        Format::Iq4Nl => table::iq4_nl(b, out),
        Format::Iq4Xs => table::iq4_xs(b, out),
    }
}

/// The half-precision number at byte `at`.
pub(super) fn half_at(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

fn high_bits(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// `d·(q + shift) + m`; bit i of `fifth` is worth 16 in value i.
fn affine(d: f32, shift: f32, m: f32, fifth: u32, q: &[u8], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(SMALL / 2);
    for (j, &byte) in q.iter().enumerate() {
        let bit = |i: usize| (fifth >> i & 1) << 4;
        low[j] = ((u32::from(byte & 15) | bit(j)) as f32 + shift) * d + m;
        high[j] = ((u32::from(byte >> 4) | bit(j + SMALL / 2)) as f32 + shift) * d + m;
    }
}

/// Decodes a whole tensor that is in memory.
#[cfg(test)]
pub(super) fn dequantize_bytes(format: Format, bytes: &[u8]) -> Result<Vec<f32>> {
    dequantize(&bytes.to_vec(), 0..bytes.len(), format)
}

#[cfg(test)]
mod tests {
    use super::{dequantize_bytes as dequantize, *};

    /// Block header of half-precision numbers, then raw bytes.
    fn block(halves: &[f32], rest: impl IntoIterator<Item = u8>) -> Vec<u8> {
        halves.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).chain(rest).collect()
    }

    #[test]
    fn plain_numbers_are_little_endian() {
        assert_eq!(dequantize(Format::F32, &1.5_f32.to_le_bytes()).unwrap(), [1.5]);
        assert_eq!(dequantize(Format::F16, &f16::from_f32(-0.25).to_le_bytes()).unwrap(), [-0.25]);
        assert_eq!(dequantize(Format::BF16, &bf16::from_f32(3.0).to_le_bytes()).unwrap(), [3.0]);
        assert!(dequantize(Format::F32, &[0; 7]).is_err());
    }

    #[test]
    fn one_level_blocks_by_hand() {
        // Byte j holds j in its low nibble and 15 − j in its high one.
        let nibbles = || (0..16_u8).map(|j| j | (15 - j) << 4);
        let expect = |f: &dyn Fn(f32) -> f32| -> Vec<f32> {
            (0..16).map(|j| f(j as f32)).chain((0..16).map(|j| f(15.0 - j as f32))).collect()
        };
        let q4_0 = dequantize(Format::Q4_0, &block(&[0.5], nibbles())).unwrap();
        assert_eq!(q4_0, expect(&|q| 0.5 * (q - 8.0)));
        let q4_1 = dequantize(Format::Q4_1, &block(&[0.5, -2.0], nibbles())).unwrap();
        assert_eq!(q4_1, expect(&|q| 0.5 * q - 2.0));
        let q8_0 = dequantize(Format::Q8_0, &block(&[2.0], (0..32_i32).map(|i| (8 * i - 128) as i8 as u8))).unwrap();
        assert_eq!(q8_0, (0..32).map(|i| 2.0 * (i as f32 * 8.0 - 128.0)).collect::<Vec<_>>());
    }

    #[test]
    fn the_fifth_bit_of_value_i_is_bit_i() {
        let fifth = 1_u32 | 1 << 17;
        let rest = || fifth.to_le_bytes().into_iter().chain([0x21; 16]);
        let q5_0 = dequantize(Format::Q5_0, &block(&[1.0], rest())).unwrap();
        let q5_1 = dequantize(Format::Q5_1, &block(&[1.0, 0.5], rest())).unwrap();
        for i in 0..32 {
            let q = if i < 16 { 1.0 } else { 2.0 } + if i == 0 || i == 17 { 16.0 } else { 0.0 };
            assert_eq!((q5_0[i], q5_1[i]), (q - 16.0, q + 0.5), "value {i}");
        }
    }

    /// More than one task, and the same bits whatever the number of threads.
    #[test]
    fn threads_do_not_change_a_bit() {
        let bytes: Vec<u8> = (0..1000 * Format::Q4K.bytes()).map(|i| (i * i / 7) as u8 & 0x3f).collect();
        let with = |n: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| dequantize(Format::Q4K, &bytes).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>())
        };
        assert_eq!(with(1), with(2));
    }

    /// An independent implementation of the same layouts must give the same numbers on pseudo-random blocks.
    #[test]
    fn candles_own_decoder_agrees_on_every_format() {
        use candle_core::{
            Device,
            quantized::{GgmlDType, ggml_file::qtensor_from_ggml},
        };
        let pairs = [
            (Format::F16, GgmlDType::F16),
            (Format::BF16, GgmlDType::BF16),
            (Format::Q4_0, GgmlDType::Q4_0),
            (Format::Q4_1, GgmlDType::Q4_1),
            (Format::Q5_0, GgmlDType::Q5_0),
            (Format::Q5_1, GgmlDType::Q5_1),
            (Format::Q8_0, GgmlDType::Q8_0),
            (Format::Q2K, GgmlDType::Q2K),
            (Format::Q3K, GgmlDType::Q3K),
            (Format::Q4K, GgmlDType::Q4K),
            (Format::Q5K, GgmlDType::Q5K),
            (Format::Q6K, GgmlDType::Q6K),
        ];
        for (ours, theirs) in pairs {
            let blocks = 64;
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let mut bytes: Vec<u8> = (0..blocks * ours.bytes())
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    // Exponent bits below the half-precision infinity, so that scales stay finite.
                    (state >> 56) as u8 & 0x3f
                })
                .collect();
            bytes.iter_mut().step_by(3).for_each(|b| *b |= 0x80);
            let n = blocks * ours.block();
            let got = dequantize(ours, &bytes).unwrap();
            let want = qtensor_from_ggml(theirs, &bytes, vec![n], &Device::Cpu).unwrap();
            let want: Vec<f32> = want.dequantize(&Device::Cpu).unwrap().to_vec1().unwrap();
            let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs() / b.abs().max(1e-3)).fold(0.0, f32::max);
            assert!(worst < 1e-6, "{}: {worst}", ours.name());
        }
    }
}
