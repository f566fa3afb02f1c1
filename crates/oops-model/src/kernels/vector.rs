//! Vector idioms that LLVM turns into SIMD inside `simd!`: an exponential without branches, and reductions
//! over 16 fixed lanes, so that the order of additions does not depend on the vector width of the CPU.

const LANES: usize = 16;

/// Below this, [`exp`] gives 0: e^x would be close to the smallest normal number.
const EXP_MIN: f32 = -87.0;
/// Above this, [`exp`] stays at e^88 ≈ 1.65e38, so that it never overflows.
const EXP_MAX: f32 = 88.0;

/// e^x, within 2 ulp for x in [−87, 88]; 0 below, e^88 above, NaN for NaN.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r by a degree-6 polynomial (coefficients of Cephes `expf`); 2^n is added to
/// the exponent bits.
#[inline(always)]
#[expect(clippy::eq_op, reason = "what is clamped minus itself is 0, or NaN")]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding 1.5·2^23 leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(EXP_MIN, EXP_MAX);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = 1.987_569_1e-4_f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1] {
        p = p.mul_add(r, c);
    }
    let e = (p * r).mul_add(r, r) + 1.0;
    let scaled = f32::from_bits(e.to_bits().wrapping_add(shifted.to_bits() << 23));
    // The exponent was added to bits: of NaN they could have become a number.
    if x >= EXP_MIN { scaled } else { clamped - clamped }
}

/// Folds `x` into 16 lanes with `f`, then the lanes and the tail with `join`.
#[inline(always)]
fn reduce<A: Copy>(x: &[f32], zero: A, f: impl Fn(A, f32) -> A, join: impl Fn(A, A) -> A) -> A {
    let mut lanes = [zero; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, *v);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(tail) {
        *lane = f(*lane, *v);
    }
    lanes.into_iter().reduce(join).unwrap_or(zero)
}

/// Largest value; −∞ for an empty slice.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    reduce(x, f32::NEG_INFINITY, larger, larger)
}

/// Σ x.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    reduce(x, 0.0, |a, v| a + v, |a, b| a + b)
}

/// Σ x².
#[inline(always)]
pub(super) fn sum_of_squares(x: &[f32]) -> f32 {
    reduce(x, 0.0, |a, v| v.mul_add(v, a), |a, b| a + b)
}

/// Σ x·y over 16 lanes.
#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        lanes.iter_mut().zip(x).zip(y).for_each(|((l, x), y)| *l = x.mul_add(*y, *l));
    }
    lanes.iter().sum()
}

/// Σ e^(x − shift), accumulated in f64.
#[inline(always)]
pub(super) fn sum_exp(x: &[f32], shift: f32) -> f64 {
    reduce(x, 0.0, |a, v| a + f64::from(exp(v - shift)), |a, b| a + b)
}

/// Σ e^((x − shift)·factor), accumulated in f64.
#[inline(always)]
pub(super) fn sum_exp_scaled(x: &[f32], shift: f32, factor: f32) -> f64 {
    reduce(x, 0.0, |a, v| a + f64::from(exp((v - shift) * factor)), |a, b| a + b)
}

/// x ← e^(x − shift); gives the sum.
#[inline(always)]
pub(super) fn exp_in_place(x: &mut [f32], shift: f32) -> f32 {
    for v in x.iter_mut() {
        *v = exp(*v - shift);
    }
    reduce(x, 0.0, |a, v| a + v, |a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::noise;

    #[test]
    fn exp_is_within_two_ulp_and_keeps_its_edges() {
        let worst = simd!(|| {
            (0..2_000_000).map(|i| -87.0 + 175.0 * i as f32 / 2_000_000.0).fold(0.0_f64, |worst, x| {
                let exact = f64::from(x).exp();
                let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
                worst.max((f64::from(exp(x)) - exact).abs() / ulp)
            })
        });
        assert!(worst <= 2.0, "{worst} ulp");
        assert_eq!([exp(0.0), exp(-88.0), exp(f32::NEG_INFINITY)], [1.0, 0.0, 0.0]);
        assert!(exp(1e9).is_finite());
        // Every NaN is one, whatever its payload says.
        for payload in [0x7f80_0001, 0x7f80_00ff, 0x7fc0_0000, 0x7fff_ffff, 0xff80_0001, 0xffc0_1234] {
            assert!(exp(f32::from_bits(payload)).is_nan(), "{payload:x}");
        }
    }

    #[test]
    fn reductions_match_plain_loops() {
        let x = noise(67, 1);
        let squares: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
        assert!((f64::from(sum_of_squares(&x)) - squares).abs() < 1e-5);
        assert!((f64::from(dot(&x, &x)) - squares).abs() < 1e-5);
        assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let exact: f64 = x.iter().map(|v| f64::from(v - 0.5).exp()).sum();
        assert!((sum_exp(&x, 0.5) - exact).abs() < 1e-5);
        let mut y = x.clone();
        assert!((f64::from(exp_in_place(&mut y, 0.5)) - exact).abs() < 1e-4);
        assert_eq!(y[3], exp(x[3] - 0.5));
    }
}
