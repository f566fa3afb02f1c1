//! A tensor's values as a slice, borrowed where they lie.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Storage, StorageRef, Tensor};
use oops_core::Result;

use crate::host;

/// Row-major f32 values of a tensor.
pub(super) enum Flat<'a> {
    Borrowed(StorageRef<'a>, Range<usize>),
    Owned(Vec<f32>),
}

/// The values of `tensor`; copied only if it is strided, not f32 or not in host memory.
pub(super) fn flat(tensor: &Tensor) -> Result<Flat<'_>> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) = (&*storage, layout.contiguous_offsets()) {
        return Ok(Flat::Borrowed(storage, start..end));
    }
    drop(storage);
    host::values(tensor).map(Flat::Owned)
}

impl Deref for Flat<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Owned(values) => values,
            Self::Borrowed(storage, range) => match &**storage {
                Storage::Cpu(CpuStorage::F32(values)) => &values[range.clone()],
                // `flat` borrows f32 host storage only, and the lock is held since.
                _ => &[],
            },
        }
    }
}
