//! Random matrices and thread pools for this crate's tests.

/// `count` standard normal numbers from a fixed generator (SplitMix64 and Box–Muller).
pub(crate) fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut uniform = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut draw = || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..count).map(|_| draw() as f32).collect()
}

/// H = XᵀX / T in packed form for correlated channels, one of which is 10⁶ times as strong as the median.
pub(crate) fn massive_spectrum(seed: u64, rows: usize, n: usize) -> Vec<f32> {
    let mut x = normal(seed, rows * n);
    for row in x.chunks_mut(n) {
        (1..n).for_each(|j| row[j] += 0.7 * row[j - 1]);
        row[n / 3] *= 1e3;
    }
    let mut gram = crate::Gram::new(n);
    gram.add(&x).unwrap();
    gram.scale(1.0 / rows as f32);
    gram.to_packed()
}

/// Runs `f` on a pool of its own.
pub(crate) fn with_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}
