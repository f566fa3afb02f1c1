//! Precision of what lies between two blocks.

use candle_core::{DType, Device, Tensor};
use oops_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lift::Lift;

/// Precision of what lies between two blocks, in memory and on disk. Blocks compute in f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamDtype {
    /// As it is computed.
    #[default]
    F32,
    /// Rounded to bfloat16 (8 significant bits, f32's range) behind every block: half the size.
    Bf16,
}

impl StreamDtype {
    fn of_tensors(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Whether nothing is rounded. Parameters leave this out, so that keys are those of versions that had no choice.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }

    /// Bytes of what takes `f32_bytes` in f32.
    pub fn of(self, f32_bytes: u64) -> u64 {
        f32_bytes * self.of_tensors().size_in_bytes() as u64 / DType::F32.size_in_bytes() as u64
    }

    /// The tensor as it is kept.
    pub fn narrowed(self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_dtype(self.of_tensors()).lift()
    }

    /// The tensor as blocks take it.
    pub fn widened(tensor: &Tensor) -> Result<Tensor> {
        tensor.to_dtype(DType::F32).lift()
    }

    /// No rows of `width` values, in host memory.
    pub fn empty(self, width: usize) -> Result<Tensor> {
        Tensor::zeros((0, width), self.of_tensors(), &Device::Cpu).lift()
    }
}
