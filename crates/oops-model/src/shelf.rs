//! Tensors that every block reads and replaces, in memory or in a file.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Shape, Tensor};
use oops_core::{Fault, Result, bail_if};

use crate::{TensorReader, TensorWriter, lift::Lift, with_values};

/// A list of f32 tensors whose values change and whose shapes stay: residual streams, one tensor per batch. In a file,
/// one tensor is in memory at a time. The file is no checkpoint, and goes with the shelf.
pub struct Shelf {
    shapes: Vec<Shape>,
    place: Place,
}

enum Place {
    Memory(Vec<Tensor>),
    /// `ends[i]` is the number of bytes up to and with tensor i.
    File {
        file: File,
        path: PathBuf,
        ends: Vec<u64>,
    },
}

impl Shelf {
    /// An empty shelf: in a new file, or in memory without one.
    pub fn new(path: Option<PathBuf>) -> Result<Self> {
        let open = |path: PathBuf| {
            let folder = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(folder).map_err(|e| Fault::writing(folder, &e))?;
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
            Ok(Place::File { file: file.map_err(|e| Fault::writing(&path, &e))?, path, ends: Vec::new() })
        };
        Ok(Self { shapes: Vec::new(), place: path.map_or_else(|| Ok(Place::Memory(Vec::new())), open)? })
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// Rows of tensor `i`.
    pub fn rows(&self, i: usize) -> usize {
        self.shapes[i].dims().first().copied().unwrap_or(1)
    }

    /// Adds a tensor.
    pub fn push(&mut self, tensor: Tensor) -> Result<()> {
        self.shapes.push(tensor.shape().clone());
        match &mut self.place {
            Place::Memory(tensors) => tensors.push(tensor.clone()),
            Place::File { ends, .. } => {
                let bytes = size_of::<f32>() * tensor.elem_count();
                ends.push(ends.last().copied().unwrap_or(0) + bytes as u64);
            }
        }
        self.set(self.len() - 1, tensor)
    }

    /// Tensor `i`.
    pub fn get(&self, i: usize) -> Result<Tensor> {
        match &self.place {
            Place::Memory(tensors) => Ok(tensors[i].clone()),
            Place::File { file, path, ends } => {
                let mut values = vec![0.0_f32; self.shapes[i].elem_count()];
                let (mut file, bytes) = (file, bytemuck::cast_slice_mut(&mut values));
                let found = file.seek(SeekFrom::Start(ends[i] - bytes.len() as u64));
                found.and_then(|_| file.read_exact(bytes)).map_err(|e| Fault::reading(path, &e))?;
                Tensor::from_vec(values, self.shapes[i].clone(), &Device::Cpu).lift()
            }
        }
    }

    /// Replaces tensor `i` by one of the same shape.
    pub fn set(&mut self, i: usize, tensor: Tensor) -> Result<()> {
        bail_if(*tensor.shape() != self.shapes[i], || Fault::internal("a tensor on a shelf changed its shape"))?;
        match &mut self.place {
            Place::Memory(tensors) => tensors[i] = tensor,
            Place::File { file, path, ends } => with_values(&tensor, |values| {
                let bytes: &[u8] = bytemuck::cast_slice(values);
                let found = file.seek(SeekFrom::Start(ends[i] - bytes.len() as u64));
                found.and_then(|_| file.write_all(bytes)).map_err(|e| Fault::writing(path, &e))
            })??,
        }
        Ok(())
    }

    fn load(&mut self, from: &mut TensorReader) -> Result<()> {
        (0..self.len()).try_for_each(|i| self.set(i, from.read(self.shapes[i].clone(), DType::F32)?))
    }
}

/// Writes all tensors of the shelves into a file, a checkpoint if the caller makes it one.
pub fn save_shelves<'a>(path: &Path, shelves: impl IntoIterator<Item = &'a Shelf>) -> Result<()> {
    let mut file = TensorWriter::create(path)?;
    for shelf in shelves {
        (0..shelf.len()).try_for_each(|i| file.write(&shelf.get(i)?))?;
    }
    file.finish()
}

/// Replaces all tensors by those of a file that [`save_shelves`] wrote from shelves of the same shapes.
pub fn load_shelves<'a>(path: &Path, shelves: impl IntoIterator<Item = &'a mut Shelf>) -> Result<()> {
    let mut file = TensorReader::open(path)?;
    shelves.into_iter().try_for_each(|shelf| shelf.load(&mut file))?;
    file.finish()
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if let Place::File { path, .. } = &self.place {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{matrix, values};

    #[test]
    fn a_shelf_gives_what_was_put_there_wherever_it_lies() {
        let folder = std::env::temp_dir().join(format!("oops-shelf-{}", std::process::id()));
        let of = |v: Vec<f32>| matrix(v, 2, 1).unwrap();
        for path in [None, Some(folder.join("state/x"))] {
            let mut shelf = Shelf::new(path.clone()).unwrap();
            shelf.push(of(vec![1.0, 2.0])).unwrap();
            shelf.push(matrix(vec![3.0; 6], 3, 2).unwrap()).unwrap();
            shelf.push(of(vec![4.0, 5.0])).unwrap();
            shelf.set(0, of(vec![-1.0, 7.0])).unwrap();
            assert!(shelf.set(0, matrix(vec![0.0; 3], 3, 1).unwrap()).is_err());
            let check = |shelf: &Shelf| {
                assert_eq!(values(&shelf.get(0).unwrap()).unwrap(), [-1.0, 7.0]);
                assert_eq!(values(&shelf.get(1).unwrap()).unwrap(), [3.0; 6]);
                assert_eq!(values(&shelf.get(2).unwrap()).unwrap(), [4.0, 5.0]);
            };
            check(&shelf);
            assert_eq!((shelf.len(), shelf.rows(1)), (3, 3));
            let file = std::env::temp_dir().join(format!("oops-shelf-{}.bin", std::process::id()));
            save_shelves(&file, [&shelf]).unwrap();
            (0..3).for_each(|i| shelf.set(i, shelf.get(i).unwrap().zeros_like().unwrap()).unwrap());
            load_shelves(&file, [&mut shelf]).unwrap();
            check(&shelf);
            drop(shelf);
            assert!(path.is_none_or(|p| !p.exists()));
            std::fs::remove_file(file).unwrap();
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
