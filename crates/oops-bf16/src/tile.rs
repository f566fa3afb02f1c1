//! The innermost product: a tile of sums in registers.

use crate::panels::{HEIGHT, Pair, WIDTH, unpacked};

/// The sums of a tile.
pub(crate) type Tile = [[f32; WIDTH]; HEIGHT];

/// How tiles are computed on this CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// AVX512-BF16; made by [`Form::best`] alone.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Eight numbers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the compiler makes of it.
    Plain,
}

impl Form {
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512bf16") && std::arch::is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Plain
    }

    /// a·bᵀ over all pairs.
    #[inline]
    pub(crate) fn product(self, a: &[[Pair; HEIGHT]], b: &[[Pair; WIDTH]]) -> Tile {
        #[expect(unsafe_code, reason = "the compiler cannot see that the CPU has these instructions")]
        match self {
            // SAFETY: `best` has asked the CPU.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::product(a, b) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { product_avx2(a, b) },
            Self::Plain => product_inlined(a, b),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn product_avx2(a: &[[Pair; HEIGHT]], b: &[[Pair; WIDTH]]) -> Tile {
    product_inlined(a, b)
}

/// Two rows at a time, so that their sums fit into the registers of any CPU.
#[inline(always)]
fn product_inlined(a: &[[Pair; HEIGHT]], b: &[[Pair; WIDTH]]) -> Tile {
    let mut tile = [[0.0; WIDTH]; HEIGHT];
    for (i, rows) in tile.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let mut local = *rows;
        for (a, b) in a.iter().zip(b) {
            let a = [unpacked(a[2 * i]), unpacked(a[2 * i + 1])];
            for (lane, b) in b.iter().enumerate() {
                let b = unpacked(*b);
                (0..2).for_each(|r| local[r][lane] = local[r][lane] + a[r][0] * b[0] + a[r][1] * b[1]);
            }
        }
        *rows = local;
    }
    tile
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use super::{HEIGHT, Pair, Tile, WIDTH};

    /// Numbers in a vector of sums, and pairs in one of weights.
    const LANES: usize = 16;
    const VECTORS: usize = WIDTH / LANES;

    /// All sums stay in registers: of each pair of columns, two loads of weights, and per row a broadcast and two products.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn product(a: &[[Pair; HEIGHT]], b: &[[Pair; WIDTH]]) -> Tile {
        let mut acc = [[_mm512_setzero_ps(); VECTORS]; HEIGHT];
        for (a, b) in a.iter().zip(b) {
            let b = b.as_chunks::<LANES>().0;
            let weights: [__m512bh; VECTORS] = std::array::from_fn(|v| load(&b[v]));
            for i in 0..HEIGHT {
                let row = bf16(_mm512_set1_epi32(a[i].cast_signed()));
                (0..VECTORS).for_each(|v| acc[i][v] = _mm512_dpbf16_ps(acc[i][v], row, weights[v]));
            }
        }
        let mut tile = [[0.0; WIDTH]; HEIGHT];
        for (row, acc) in tile.iter_mut().zip(acc) {
            row.as_chunks_mut::<LANES>().0.iter_mut().zip(acc).for_each(|(to, acc)| store(to, acc));
        }
        tile
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(to: &mut [f32; LANES], sums: __m512) {
        #[expect(unsafe_code, reason = "stores take pointers")]
        // SAFETY: the array has as many numbers as the vector.
        unsafe {
            _mm512_storeu_ps(to.as_mut_ptr(), sums);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(from: &[Pair; LANES]) -> __m512bh {
        #[expect(unsafe_code, reason = "loads take pointers")]
        // SAFETY: the array has as many bits as the vector.
        bf16(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn bf16(bits: __m512i) -> __m512bh {
        #[expect(unsafe_code, reason = "there is no instruction for it, since nothing happens")]
        // SAFETY: both are 512 bits, and any are valid.
        unsafe {
            std::mem::transmute(bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers up to 128 are bf16, and sums of their products are exact in f32.
    fn whole(n: usize, seed: usize) -> Vec<Pair> {
        let number = |i: usize| (((i * 7919 + seed * 104_729) % 257) as f32 - 128.0).to_bits() >> 16;
        (0..n).map(|i| number(2 * i) | number(2 * i + 1) << 16).collect()
    }

    #[test]
    fn all_forms_give_the_exact_products() {
        for pairs in [0, 1, 5, 300] {
            let (a, b) = (whole(pairs * HEIGHT, 1), whole(pairs * WIDTH, 2));
            let (a, b) = (a.as_chunks::<HEIGHT>().0, b.as_chunks::<WIDTH>().0);
            let exact = |i: usize, j: usize| {
                let pair = |(a, b): (&[Pair; HEIGHT], &[Pair; WIDTH])| {
                    let ([a, c], [b, d]) = (unpacked(a[i]), unpacked(b[j]));
                    a * b + c * d
                };
                a.iter().zip(b).map(pair).sum::<f32>()
            };
            for form in [Form::Plain, Form::best()] {
                for (i, row) in form.product(a, b).iter().enumerate() {
                    for (j, sum) in row.iter().enumerate() {
                        assert_eq!(*sum, exact(i, j), "{form:?}: {i} {j} of {pairs} pairs");
                    }
                }
            }
        }
    }
}
