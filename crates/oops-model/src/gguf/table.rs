//! Nibbles that stand for the entries of a fixed table, denser where weights are (ggml's IQ4_NL and IQ4_XS).
//!
//! IQ4_NL: `x = d·t[q]` in blocks of 32. IQ4_XS: `x = d·(s−32)·t[q]` in blocks of 256, a scale of six bits per 32 values.
//! The nibbles of byte j of 16 are values j (low) and j+16 (high).

use super::{dequant::half_at, format::SMALL};

/// What the nibbles stand for.
const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn fill(d: f32, nibbles: &[u8], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(SMALL / 2);
    for (j, &byte) in nibbles.iter().enumerate() {
        low[j] = d * f32::from(TABLE[usize::from(byte & 15)]);
        high[j] = d * f32::from(TABLE[usize::from(byte >> 4)]);
    }
}

/// Decodes a block: d, 16 bytes of nibbles.
pub(super) fn iq4_nl(b: &[u8], out: &mut [f32]) {
    fill(half_at(b, 0), &b[2..], out);
}

/// Decodes a block: d, the upper pairs of bits of eight scales (u16), their lower nibbles (two per byte), 128 bytes of
/// nibbles.
pub(super) fn iq4_xs(b: &[u8], out: &mut [f32]) {
    let (d, upper) = (half_at(b, 0), u16::from_le_bytes([b[2], b[3]]));
    for (g, (out, nibbles)) in out.chunks_exact_mut(SMALL).zip(b[8..].chunks_exact(SMALL / 2)).enumerate() {
        let low = b[4 + g / 2] >> (4 * (g % 2)) & 15;
        let high = (upper >> (2 * g) & 3) as u8;
        fill(d * (f32::from(low | high << 4) - 32.0), nibbles, out);
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    /// Byte j holds j in its low nibble and 15 − j in its high one.
    fn nibbles() -> impl Iterator<Item = u8> {
        (0..16_u8).map(|j| j | (15 - j) << 4)
    }

    fn entries() -> Vec<f32> {
        TABLE.iter().chain(TABLE.iter().rev()).map(|&t| f32::from(t)).collect()
    }

    #[test]
    fn iq4_nl_by_hand() {
        let b: Vec<u8> = f16::from_f32(0.5).to_le_bytes().into_iter().chain(nibbles()).collect();
        let mut out = [0.0; 32];
        iq4_nl(&b, &mut out);
        assert_eq!(out.to_vec(), entries().iter().map(|t| 0.5 * t).collect::<Vec<_>>());
    }

    #[test]
    fn iq4_xs_by_hand() {
        // Scale of group g is 7·g + 5 before 32 is taken away.
        let s = |g: usize| 7 * g as u16 + 5;
        let upper = (0..8).fold(0, |u, g| u | (s(g) >> 4) << (2 * g));
        let lower = (0..4).map(|k| (s(2 * k) & 15 | (s(2 * k + 1) & 15) << 4) as u8);
        let head = f16::from_f32(0.25).to_le_bytes().into_iter().chain(upper.to_le_bytes()).chain(lower);
        let b: Vec<u8> = head.chain((0..8).flat_map(|_| nibbles())).collect();
        let mut out = [0.0; 256];
        iq4_xs(&b, &mut out);
        for (g, out) in out.chunks(32).enumerate() {
            let scale = 0.25 * (f32::from(s(g)) - 32.0);
            assert_eq!(out.to_vec(), entries().iter().map(|t| scale * t).collect::<Vec<_>>(), "group {g}");
        }
    }
}
