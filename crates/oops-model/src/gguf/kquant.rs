//! Blocks of 256 values with two levels of scales (ggml's K formats).
//!
//! Q4_K and Q5_K: `x = d·s·q − dmin·n`, half-precision `d`, `dmin`; a 6-bit scale `s` and minimum `n` per 32 values,
//! eight of each packed into 12 bytes. Q6_K: `x = d·s·(q−32)`, a signed 8-bit scale per 16 values, `d` at the end. Q8_K:
//! `x = d·q`, signed bytes and `d` in single precision.

use super::dequant::half_at;

/// Scale and minimum of group `j` of 0..8: the first four lie in the low six bits of bytes j and j+4; of the last
/// four, the low nibbles lie in bytes 8 to 11 and the high pairs of bits above the first four.
fn scale_and_minimum(j: usize, s: &[u8]) -> (f32, f32) {
    let (scale, minimum) = if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        ((s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

/// Groups 2i and 2i+1 are the low and the high nibbles of the same 32 bytes; bit g of `fifth[l]` is worth 16 in
/// value l of group g.
fn affine(b: &[u8], fifth: Option<&[u8]>, nibbles: &[u8], out: &mut [f32]) {
    let (d, dmin, scales) = (half_at(b, 0), half_at(b, 2), &b[4..16]);
    for (g, out) in out.chunks_exact_mut(32).enumerate() {
        let (s, n) = scale_and_minimum(g, scales);
        let (s, n) = (d * s, dmin * n);
        let shift = 4 * (g % 2);
        for (l, x) in out.iter_mut().enumerate() {
            let high = fifth.map_or(0, |h| (h[l] >> g & 1) << 4);
            *x = s * f32::from(nibbles[g / 2 * 32 + l] >> shift & 15 | high) - n;
        }
    }
}

/// Decodes a block: d, dmin, 12 bytes of scales, 128 bytes of nibbles.
pub(super) fn q4(b: &[u8], out: &mut [f32]) {
    affine(b, None, &b[16..], out);
}

/// Decodes a block: d, dmin, 12 bytes of scales, 32 bytes of fifth bits, 128 bytes of nibbles.
pub(super) fn q5(b: &[u8], out: &mut [f32]) {
    affine(b, Some(&b[16..48]), &b[48..], out);
}

/// Decodes a block: 128 bytes of low nibbles, 64 bytes of high pairs of bits, 16 scales, d.
pub(super) fn q6(b: &[u8], out: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half_at(b, 208));
    for (i, x) in out.iter_mut().enumerate() {
        // Value i = 128·half + 32·quarter + l: quarters 0 and 2 are the low and high nibbles of the same bytes.
        let (half, quarter, l) = (i / 128, i % 128 / 32, i % 32);
        let nibble = low[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 15;
        let pair = high[32 * half + l] >> (2 * quarter) & 3;
        let q = i32::from(nibble | pair << 4) - 32;
        *x = d * f32::from(scales[i / 16] as i8) * q as f32;
    }
}

/// Decodes a block: d (f32), 256 signed bytes, sums that only products need.
pub(super) fn q8(b: &[u8], out: &mut [f32]) {
    let d = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    out.iter_mut().zip(&b[4..]).for_each(|(x, &q)| *x = d * f32::from(q as i8));
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    /// Scales 1, 2, 3, 4, 21, 38, 55, 12 and minimums 10, 20, 30, 40, 5, 19, 33, 47, packed by the rule above.
    fn packed() -> [u8; 12] {
        let (s, n) = ([1_u8, 2, 3, 4, 21, 38, 55, 12], [10_u8, 20, 30, 40, 5, 19, 33, 47]);
        let mut out = [0; 12];
        for j in 0..4 {
            out[j] = s[j] | (s[j + 4] >> 4) << 6;
            out[j + 4] = n[j] | (n[j + 4] >> 4) << 6;
            out[j + 8] = (s[j + 4] & 15) | (n[j + 4] & 15) << 4;
        }
        out
    }

    fn head(d: f32, dmin: f32) -> Vec<u8> {
        [d, dmin].into_iter().flat_map(|x| f16::from_f32(x).to_le_bytes()).chain(packed()).collect()
    }

    #[test]
    fn six_bit_scales_unpack() {
        let all: Vec<(f32, f32)> = (0..8).map(|j| scale_and_minimum(j, &packed())).collect();
        let scales = [1.0, 2.0, 3.0, 4.0, 21.0, 38.0, 55.0, 12.0];
        let minimums = [10.0, 20.0, 30.0, 40.0, 5.0, 19.0, 33.0, 47.0];
        assert_eq!(all, scales.into_iter().zip(minimums).collect::<Vec<_>>());
    }

    #[test]
    fn q4_k_by_hand() {
        // All nibbles: low 3, high 5. Group 4 (low): 0.5·21·3 − 2·5; group 5 (high): 0.5·38·5 − 2·19.
        let mut b = head(0.5, 2.0);
        b.extend([0x53; 128]);
        let mut out = [0.0; 256];
        q4(&b, &mut out);
        assert_eq!((out[4 * 32], out[5 * 32 + 31]), (21.5, 57.0));
        assert_eq!((out[0], out[32]), (0.5 * 3.0 - 20.0, 5.0 - 40.0));
    }

    #[test]
    fn q5_k_adds_sixteen_where_the_groups_bit_is_set() {
        let mut b = head(1.0, 0.0);
        b.extend((0..32).map(|l| if l == 7 { 0b0010_0000 } else { 0 }));
        b.extend([0x53; 128]);
        let mut out = [0.0; 256];
        q5(&b, &mut out);
        assert_eq!((out[5 * 32 + 7], out[5 * 32 + 8]), (38.0 * 21.0, 38.0 * 5.0));
    }

    #[test]
    fn q6_k_by_hand() {
        // Low nibbles 1 (low) and 2 (high); pairs of bits 0, 1, 2, 3 for the four quarters; scale k is k − 8.
        let mut b = vec![0x21; 128];
        b.extend([0b1110_0100; 64]);
        b.extend((0..16).map(|k| (k as i8 - 8) as u8));
        b.extend(f16::from_f32(0.25).to_le_bytes());
        let mut out = [0.0; 256];
        q6(&b, &mut out);
        for (i, x) in out.into_iter().enumerate() {
            let quarter = i % 128 / 32;
            let q = [1.0, 17.0, 34.0, 50.0][quarter] - 32.0;
            let scale = (i / 16) as f32 - 8.0;
            assert!((x - 0.25 * scale * q).abs() < 1e-6, "value {i}: {x}");
        }
    }

    #[test]
    fn q8_k_by_hand() {
        let b: Vec<u8> = 0.5_f32.to_le_bytes().into_iter().chain(0..=255).chain([9; 32]).collect();
        let mut out = [0.0; 256];
        q8(&b, &mut out);
        assert_eq!((out[3], out[127], out[128], out[255]), (1.5, 63.5, -64.0, -0.5));
    }
}
