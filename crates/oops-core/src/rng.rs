//! Seeded random numbers whose values will never change with a dependency.

/// SplitMix64 (Steele, Lea, Flood 2014): one 64-bit state, equidistributed, and the same on every platform.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A stream for `seed` and a purpose, so that two users of one seed draw different numbers.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let digest = crate::Digest::of(format!("{seed}/{purpose}").as_bytes());
        let mut state = [0; 8];
        state.copy_from_slice(&digest.as_bytes()[..8]);
        Self(u64::from_le_bytes(state))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n; the bias of at most n/2⁶⁴ does not matter here.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_distinct_and_in_range() {
        let draw = |seed, purpose| {
            let mut r = Rng::new(seed, purpose);
            (0..100).map(|_| r.below(7)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert!((0..7).all(|v| draw(3, "c").contains(&v)));
        let mean = (0..1000).scan(Rng::new(0, "u"), |r, _| Some(r.uniform())).sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.05);
    }
}
