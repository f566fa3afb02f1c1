//! The kind of this machine's CPU, as far as results depend on it.

/// The widest vectors that this CPU multiplies. Kernels are chosen by them, and between two kinds the last bits of sums
/// differ.
pub fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512bf16") {
            return "AVX512-BF16";
        }
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return "AVX2";
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        return "NEON";
    }
    std::env::consts::ARCH
}
