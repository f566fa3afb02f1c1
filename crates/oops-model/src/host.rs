//! Between tensors and plain slices, for crates that compute on the CPU outside the tensor library.

use candle_core::{DType, Device, Storage, Tensor};
use oops_core::{Fault, Result};

fn fault(e: candle_core::Error) -> Fault {
    Fault::internal(format!("tensor: {e}"))
}

/// Calls `f` with the values of an f32 tensor in row-major order; copies only if the tensor is strided or not in host
/// memory.
pub fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(cpu), Some((start, end))) = (&*storage, layout.contiguous_offsets()) {
        return Ok(f(&cpu.as_slice::<f32>().map_err(fault)?[start..end]));
    }
    drop(storage);
    Ok(f(&values(tensor)?))
}

/// The values of a tensor as f32, in row-major order.
pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    let flat = tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all());
    flat.and_then(|t| t.to_vec1()).map_err(fault)
}

/// The values of the transpose of a matrix, in row-major order.
pub fn transposed(tensor: &Tensor) -> Result<Vec<f32>> {
    values(&tensor.t().map_err(fault)?)
}

/// A `rows` × `cols` tensor in host memory.
pub fn matrix(values: Vec<f32>, rows: usize, cols: usize) -> Result<Tensor> {
    Tensor::from_vec(values, (rows, cols), &Device::Cpu).map_err(fault)
}

/// A vector tensor in host memory.
pub fn vector(values: Vec<f32>) -> Result<Tensor> {
    let n = values.len();
    Tensor::from_vec(values, n, &Device::Cpu).map_err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_the_view_not_the_storage() {
        let t = matrix((0..6).map(|v| v as f32).collect(), 2, 3).unwrap();
        assert_eq!(with_values(&t, <[f32]>::to_vec).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(with_values(&t.narrow(0, 1, 1).unwrap(), <[f32]>::to_vec).unwrap(), [3.0, 4.0, 5.0]);
        assert_eq!(with_values(&t.t().unwrap(), <[f32]>::to_vec).unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(transposed(&t).unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }
}
