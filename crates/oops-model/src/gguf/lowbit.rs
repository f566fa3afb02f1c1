//! Blocks of 256 values in two and three bits, with a scale per 16 values (ggml's Q2_K and Q3_K).
//!
//! Q2_K: `x = d·s·q − dmin·n`, `s` and `n` the low and the high nibble of one byte. Q3_K: `x = d·(s−32)·(q−4)`, `s` in
//! six bits, sixteen of them packed into 12 bytes. Value i = 128·half + 32·quarter + l: the four quarters of a half are
//! the four pairs of bits of the same 32 bytes.

use super::dequant::half_at;

/// (index of the byte, shift) of the pair of bits of value `i`.
fn pair(i: usize) -> (usize, usize) {
    let (half, quarter, l) = (i / 128, i % 128 / 32, i % 32);
    (32 * half + l, 2 * quarter)
}

/// Decodes a block: 16 bytes of scales and minimums, 64 bytes of pairs of bits, d, dmin.
pub(super) fn q2(b: &[u8], out: &mut [f32]) {
    let (scales, pairs, d, dmin) = (&b[..16], &b[16..80], half_at(b, 80), half_at(b, 82));
    for (i, x) in out.iter_mut().enumerate() {
        let (byte, shift) = pair(i);
        let scale = scales[i / 16];
        let q = f32::from(pairs[byte] >> shift & 3);
        *x = d * f32::from(scale & 15) * q - dmin * f32::from(scale >> 4);
    }
}

/// Scale of 16 values in Q3_K: the low nibbles of scales 0 to 7 are the low nibbles of bytes 0 to 7, those of 8 to 15
/// the high ones; the upper two bits of scale j are pair j/4 of byte 8 + j%4.
fn scale(j: usize, s: &[u8]) -> f32 {
    let low = s[j % 8] >> (4 * (j / 8)) & 15;
    let high = s[8 + j % 4] >> (2 * (j / 4)) & 3;
    f32::from(low | high << 4) - 32.0
}

/// Decodes a block: 32 bytes of third bits (bit 4·half + quarter of byte l; a zero takes 4 away), 64 bytes of pairs of
/// bits, 12 bytes of scales, d.
pub(super) fn q3(b: &[u8], out: &mut [f32]) {
    let (thirds, pairs, scales, d) = (&b[..32], &b[32..96], &b[96..108], half_at(b, 108));
    for (i, x) in out.iter_mut().enumerate() {
        let (byte, shift) = pair(i);
        let third = thirds[i % 32] >> (i / 32) & 1;
        let q = f32::from(pairs[byte] >> shift & 3 | third << 2) - 4.0;
        *x = d * scale(i / 16, scales) * q;
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn halves(x: &[f32]) -> impl Iterator<Item = u8> {
        x.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn q2_k_by_hand() {
        // Group j has scale j and minimum 15 − j; the quarters hold 0, 1, 2, 3.
        let scales = (0..16_u8).map(|j| j | (15 - j) << 4);
        let b: Vec<u8> = scales.chain([0b1110_0100; 64]).chain(halves(&[0.5, 0.25])).collect();
        let mut out = [0.0; 256];
        q2(&b, &mut out);
        for (i, x) in out.into_iter().enumerate() {
            let (group, q) = ((i / 16) as f32, (i % 128 / 32) as f32);
            assert_eq!(x, 0.5 * group * q - 0.25 * (15.0 - group), "value {i}");
        }
    }

    #[test]
    fn q3_k_by_hand() {
        // Scale j is 3·j + 1 before 32 is taken away; third bits are set in odd columns; the quarters hold 0, 1, 2, 3.
        let s = |j: usize| 3 * j as u8 + 1;
        let mut packed = [0_u8; 12];
        for j in 0..16 {
            packed[j % 8] |= (s(j) & 15) << (4 * (j / 8));
            packed[8 + j % 4] |= (s(j) >> 4) << (2 * (j / 4));
        }
        let thirds = (0..32).map(|l| if l % 2 == 1 { 0xff } else { 0 });
        let b: Vec<u8> = thirds.chain([0b1110_0100; 64]).chain(packed).chain(halves(&[0.5])).collect();
        let mut out = [0.0; 256];
        q3(&b, &mut out);
        for (i, x) in out.into_iter().enumerate() {
            let q = (i % 128 / 32) as f32 - if i % 2 == 1 { 0.0 } else { 4.0 };
            assert_eq!(x, 0.5 * (f32::from(s(i / 16)) - 32.0) * q, "value {i}");
        }
    }
}
