//! Eight numbers at a time, said and not hoped for. Loops over slices become vector instructions if the compiler can prove enough
//! about them; sums of products that stream a weight did so or not with every change around them, and differ by a factor of ten.

/// Numbers that are multiplied together.
const WIDTH: usize = 8;

/// Arithmetic on eight numbers. All implementations give the same bits.
pub(super) trait Lanes: Copy {
    /// x ⊙ y + sum, rounded once.
    fn mul_add(self, x: &[f32; WIDTH], y: &[f32; WIDTH], sum: [f32; WIDTH]) -> [f32; WIDTH];
}

/// For CPUs of which nothing is known.
#[derive(Clone, Copy)]
struct Plain;

impl Lanes for Plain {
    #[inline(always)]
    fn mul_add(self, x: &[f32; WIDTH], y: &[f32; WIDTH], mut sum: [f32; WIDTH]) -> [f32; WIDTH] {
        (0..WIDTH).for_each(|l| sum[l] = x[l].mul_add(y[l], sum[l]));
        sum
    }
}

/// AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
impl Lanes for pulp::x86::V3 {
    #[inline(always)]
    fn mul_add(self, x: &[f32; WIDTH], y: &[f32; WIDTH], sum: [f32; WIDTH]) -> [f32; WIDTH] {
        let wide = |v: [f32; WIDTH]| -> pulp::f32x8 { pulp::cast(v) };
        pulp::cast(self.mul_add_f32x8(wide(*x), wide(*y), wide(sum)))
    }
}

/// Work on lanes. A trait and not a closure, since only its method can be told to be inlined, without which every instruction
/// is a call.
pub(super) trait OnLanes {
    /// Does the work; `#[inline(always)]`.
    fn run<L: Lanes>(self, lanes: L);
}

/// Does `work` on the widest lanes that this CPU has.
#[inline]
pub(super) fn on_lanes(work: impl OnLanes) {
    #[cfg(target_arch = "x86_64")]
    if let Some(lanes) = pulp::x86::V3::try_new() {
        return lanes.vectorize(Bound { work, lanes });
    }
    work.run(Plain);
}

struct Bound<W, L> {
    work: W,
    lanes: L,
}

impl<W: OnLanes, L: Lanes> pulp::NullaryFnOnce for Bound<W, L> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.work.run(self.lanes);
    }
}

/// Σ x·y over four times eight lanes: for a `y` that is read once, as fast as memory gives it.
#[inline(always)]
pub(super) fn dot<L: Lanes>(lanes: L, x: &[f32], y: &[f32]) -> f32 {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<{ 4 * WIDTH }>(), y.as_chunks::<{ 4 * WIDTH }>());
    let mut sums = [[0.0; WIDTH]; 4];
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x.as_chunks::<WIDTH>().0, y.as_chunks::<WIDTH>().0);
        (0..4).for_each(|i| sums[i] = lanes.mul_add(&x[i], &y[i], sums[i]));
    }
    let ((x, x_rest), (y, y_rest)) = (x_rest.as_chunks::<WIDTH>(), y_rest.as_chunks::<WIDTH>());
    x.iter().zip(y).for_each(|(x, y)| sums[0] = lanes.mul_add(x, y, sums[0]));
    x_rest.iter().zip(y_rest).enumerate().for_each(|(l, (x, y))| sums[1][l] = x.mul_add(*y, sums[1][l]));
    let mut all = [0.0; WIDTH];
    (0..WIDTH).for_each(|l| all[l] = (sums[0][l] + sums[1][l]) + (sums[2][l] + sums[3][l]));
    ((all[0] + all[4]) + (all[2] + all[6])) + ((all[1] + all[5]) + (all[3] + all[7]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::noise;

    /// Dots of the beginnings of two slices.
    struct Dots<'a>(&'a [f32], &'a [f32], &'a mut Vec<f32>);

    impl OnLanes for Dots<'_> {
        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            self.2.extend((0..=self.0.len()).map(|n| dot(lanes, &self.0[..n], &self.1[..n])));
        }
    }

    #[test]
    fn dots_of_any_length_are_right_and_the_same_on_any_cpu() {
        let (x, y) = (noise(67, 1), noise(67, 2));
        let (mut wide, mut plain) = (Vec::new(), Vec::new());
        on_lanes(Dots(&x, &y, &mut wide));
        Dots(&x, &y, &mut plain).run(Plain);
        assert_eq!(wide, plain);
        for (n, sum) in wide.into_iter().enumerate() {
            let exact: f64 = x[..n].iter().zip(&y).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(sum) - exact).abs() < 1e-5, "{n}: {sum} {exact}");
        }
    }
}
