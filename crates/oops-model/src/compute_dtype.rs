//! Precision of the linear layers' products.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Precision of the operands of linear layers. Sums, and everything between the layers, are f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bfloat16 (8 significant bits, f32's range): up to twice as fast on CPUs with AVX512-BF16, no faster on others.
    Bf16,
}

impl ComputeDtype {
    /// Whether nothing is rounded. Parameters leave this out, so that keys are those of versions that had no choice.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}
