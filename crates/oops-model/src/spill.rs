//! Tensors in a raw file, for checkpoints of what lies between two blocks: little-endian f32 or bf16, one after the other,
//! without a header, since whoever reads them knows their shapes and types.

use std::{
    fs::File,
    io::{BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Shape, Tensor};
use half::{
    bf16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt as _},
};
use oops_core::{Fault, Result, bail_if};

use crate::{lift::Lift, with_values};

/// Writes the values of f32 or bf16 tensors.
pub fn save_tensors<'a>(path: &Path, tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<()> {
    let mut file = TensorWriter::create(path)?;
    tensors.into_iter().try_for_each(|t| file.write(t))?;
    file.finish()
}

/// Writes tensors one at a time, as [`save_tensors`] writes them together.
pub struct TensorWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl TensorWriter {
    /// A new file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|e| Fault::writing(path, &e))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_owned() })
    }

    /// Appends the values of an f32 or bf16 tensor.
    pub fn write(&mut self, tensor: &Tensor) -> Result<()> {
        let Self { file, path } = self;
        let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(|e| Fault::writing(path, &e));
        if tensor.dtype() == DType::BF16 {
            let values = tensor.flatten_all().and_then(|t| t.to_vec1::<bf16>()).lift()?;
            return write(bytemuck::cast_slice(values.reinterpret_cast()));
        }
        with_values(tensor, |v| write(bytemuck::cast_slice(v)))?
    }

    /// Hands everything to the system.
    pub fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|e| Fault::writing(&self.path, &e))
    }
}

/// Reads tensors one at a time from a file that [`save_tensors`] or [`TensorWriter`] wrote.
pub struct TensorReader {
    file: File,
    path: PathBuf,
}

impl TensorReader {
    /// An existing file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Fault::reading(path, &e))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The next tensor, of this shape and type: f32 or bf16.
    pub fn read(&mut self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let shape = shape.into();
        let count = shape.elem_count();
        let Self { file, path } = self;
        let mut read = |bytes: &mut [u8]| file.read_exact(bytes).map_err(|e| Fault::reading(path, &e));
        if dtype == DType::BF16 {
            let mut values = vec![0_u16; count];
            read(bytemuck::cast_slice_mut(&mut values))?;
            let values: &[bf16] = HalfBitsSliceExt::reinterpret_cast(values.as_slice());
            return Tensor::from_slice(values, shape, &Device::Cpu).lift();
        }
        let mut values = vec![0.0_f32; count];
        read(bytemuck::cast_slice_mut(&mut values))?;
        Tensor::from_vec(values, shape, &Device::Cpu).lift()
    }

    /// Fails if the file holds more than was read.
    pub fn finish(mut self) -> Result<()> {
        at_end(&mut self.file, &self.path)
    }
}

/// Writes slices as [`save_tensors`] writes tensors.
pub fn save_slices<'a>(path: &Path, slices: impl IntoIterator<Item = &'a [f32]>) -> Result<()> {
    let fault = |e: std::io::Error| Fault::writing(path, &e);
    let mut file = File::create(path).map_err(fault)?;
    slices.into_iter().try_for_each(|v| file.write_all(bytemuck::cast_slice(v)).map_err(fault))
}

/// Fills slices from a file that [`save_slices`] wrote from slices of the same lengths.
pub fn load_slices<'a>(path: &Path, slices: impl IntoIterator<Item = &'a mut [f32]>) -> Result<()> {
    let fault = |e: std::io::Error| Fault::reading(path, &e);
    let mut file = File::open(path).map_err(fault)?;
    slices.into_iter().try_for_each(|v| file.read_exact(bytemuck::cast_slice_mut(v)).map_err(fault))?;
    at_end(&mut file, path)
}

/// Replaces the values of tensors by those of a file that [`save_tensors`] wrote for tensors of the same shapes and types.
pub fn load_tensors<'a>(path: &Path, tensors: impl IntoIterator<Item = &'a mut Tensor>) -> Result<()> {
    let mut file = TensorReader::open(path)?;
    for tensor in tensors {
        *tensor = file.read(tensor.shape(), tensor.dtype())?;
    }
    file.finish()
}

fn at_end(file: &mut File, path: &Path) -> Result<()> {
    let rest = file.read(&mut [0; 1]).map_err(|e| Fault::reading(path, &e))?;
    bail_if(rest != 0, || Fault::data("checkpoint is longer than what it holds").at(path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{matrix, values};

    #[test]
    fn tensors_survive_a_file_and_other_shapes_are_refused() {
        let path = std::env::temp_dir().join(format!("oops-spill-{}.bin", std::process::id()));
        let of = |v: Vec<f32>, rows| matrix(v, rows, 2).unwrap();
        save_tensors(&path, &[of(vec![1.0, 2.0, 3.0, 4.0], 2), of(vec![5.0, -8.5], 1)]).unwrap();
        let mut back = [of(vec![0.0; 4], 2), of(vec![0.0; 2], 1)];
        load_tensors(&path, &mut back).unwrap();
        assert_eq!(values(&back[0]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(values(&back[1]).unwrap(), [5.0, -8.5]);
        assert!(load_tensors(&path, &mut back[..1]).is_err());
        assert!(load_tensors(&path, &mut [of(vec![0.0; 8], 4)]).is_err());
        let mut flat = [vec![0.0; 5], vec![0.0; 1]];
        load_slices(&path, flat.iter_mut().map(Vec::as_mut_slice)).unwrap();
        assert_eq!(flat, [vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![-8.5]]);
        assert!(load_slices(&path, [flat[0].as_mut_slice()]).is_err());
        save_slices(&path, flat.iter().map(Vec::as_slice)).unwrap();
        load_tensors(&path, &mut back).unwrap();
        let mut half = [back[1].to_dtype(DType::BF16).unwrap(), back[0].to_dtype(DType::BF16).unwrap()];
        save_tensors(&path, &half).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * 6);
        half[1] = half[1].zeros_like().unwrap();
        load_tensors(&path, &mut half).unwrap();
        assert_eq!(half[1].dtype(), DType::BF16);
        assert_eq!(values(&half[1].to_dtype(DType::F32).unwrap()).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        std::fs::remove_file(path).unwrap();
    }
}
