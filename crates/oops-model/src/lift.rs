//! Errors of the tensor library as faults.

use oops_core::{Fault, Result};

/// Turns a tensor error into a [`Fault`].
pub(crate) trait Lift<T> {
    /// Shapes and types are checked before tensors meet, so what still fails is a bug of ours or a device that failed.
    fn lift(self) -> Result<T>;
}

impl<T> Lift<T> for candle_core::Result<T> {
    fn lift(self) -> Result<T> {
        self.map_err(|e| match e {
            candle_core::Error::Cuda(_) | candle_core::Error::Metal(_) => Fault::device(e.to_string()),
            _ => Fault::internal(format!("tensor: {e}")),
        })
    }
}
