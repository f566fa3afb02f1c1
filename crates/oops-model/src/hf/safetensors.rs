//! Weights in safetensors files. Headers are read and checked when the files are opened, values when they are asked for.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
    path::{Path, PathBuf},
};

use oops_core::{Fault, Result, bail_if};
use safetensors::{Dtype, tensor::Metadata};

use super::precision;
use crate::{
    DType,
    bytes::{DiskFile, FileBytes, TASK, decode, read_span},
    source::TensorSource,
};

/// Largest header: the format's own limit.
const MAX_HEADER: u64 = 100_000_000;
/// How a file begins that Git LFS left in place of the real one.
const LFS: &[u8; 8] = b"version ";

/// The tensors of one or more files.
pub(crate) struct Shards {
    files: Vec<(String, DiskFile)>,
    tensors: BTreeMap<String, Stored>,
}

struct Stored {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Shards {
    /// Opens `files`, given as (name in messages, path). Tensors have the names that they have in the files.
    pub(crate) fn open(files: &[(String, PathBuf)]) -> Result<Self> {
        let mut shards = Self { files: Vec::new(), tensors: BTreeMap::new() };
        files.iter().try_for_each(|(name, path)| shards.add(name, path).map_err(|f| f.at(name)))?;
        Ok(shards)
    }

    fn add(&mut self, name: &str, path: &Path) -> Result<()> {
        let file = DiskFile::open(path)?;
        let (start, metadata) = header(&file)?;
        for (tensor, info) in metadata.tensors().into_iter().collect::<BTreeMap<_, _>>() {
            let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
            let stored = Stored { file: self.files.len(), dtype: info.dtype, shape: info.shape.clone(), bytes };
            match self.tensors.entry(tensor) {
                Entry::Vacant(e) => drop(e.insert(stored)),
                Entry::Occupied(e) => {
                    let other = &self.files.get(e.get().file).map_or(name, |f| &f.0);
                    return Err(Fault::data(format!("tensor `{}` is in `{other}` too", e.key())));
                }
            }
        }
        self.files.push((name.to_owned(), file));
        Ok(())
    }

    /// Names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Gives tensors other names; those that get none are forgotten.
    pub(crate) fn rename(&mut self, name: impl Fn(&str) -> Option<String>) {
        let tensors = std::mem::take(&mut self.tensors);
        self.tensors = tensors.into_iter().filter_map(|(old, stored)| Some((name(&old)?, stored))).collect();
    }

    /// Fails for the first tensor whose values cannot be read.
    pub(crate) fn check_types(&self) -> Result<()> {
        let strange = self.tensors.iter().find(|(_, t)| !precision::is_readable(t.dtype));
        strange.map_or(Ok(()), |(name, t)| {
            Err(Fault::data(format!("the weights are {:?}", t.dtype))
                .help("weights must be F32, F16 or BF16; integers and 8-bit floats are quantised weights")
                .at(format!("tensor `{name}`"))
                .at(&self.files[t.file].0))
        })
    }

    /// Whether two tensors hold the same values in the same precision.
    pub(crate) fn equal(&self, a: &str, b: &str) -> Result<bool> {
        let (Some(a), Some(b)) = (self.tensors.get(a), self.tensors.get(b)) else { return Ok(false) };
        if a.dtype != b.dtype || a.shape != b.shape {
            return Ok(false);
        }
        let part = |t: &Stored, at: usize| {
            let start = t.bytes.start + at;
            read_span(&self.files[t.file].1, start..t.bytes.end.min(start + 4 * TASK))
        };
        for at in (0..a.bytes.len()).step_by(4 * TASK) {
            if part(a, at)? != part(b, at)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The precision of most values.
    pub(crate) fn dtype(&self) -> DType {
        let mut values = BTreeMap::<_, usize>::new();
        for t in self.tensors.values() {
            *values.entry(t.dtype).or_default() += t.bytes.len() / precision::width(t.dtype);
        }
        match values.into_iter().max_by_key(|b| b.1).map(|b| b.0) {
            Some(Dtype::F16) => DType::F16,
            Some(Dtype::BF16) => DType::BF16,
            _ => DType::F32,
        }
    }
}

/// Where the values begin, and the checked header of a file that ends where the header says.
fn header(file: &DiskFile) -> Result<(usize, Metadata)> {
    let broken = |why: String| {
        Fault::data(format!("not a complete safetensors file: {why}")).help("download or copy the file again")
    };
    let len = file.len();
    let mut first = [0; 8];
    bail_if(len < first.len(), || broken(format!("it has {len} bytes")))?;
    file.read(0, &mut first)?;
    bail_if(first == *LFS, || {
        Fault::data("a Git LFS pointer is in the place of the weights").help("fetch them with `git lfs pull`")
    })?;
    let n = u64::from_le_bytes(first);
    bail_if(n > MAX_HEADER || n as usize > len - 8, || broken(format!("a header of {n} bytes in a file of {len}")))?;
    let start = 8 + n as usize;
    let parsed = serde_json::from_slice::<Metadata>(&read_span(file, 8..start)?);
    let metadata = parsed.map_err(|e| broken(format!("its header: {e}")))?;
    let end = start.saturating_add(metadata.data_len());
    bail_if(end != len, || broken(format!("its header speaks of {end} bytes, it has {len}")))?;
    Ok((start, metadata))
}

impl TensorSource for Shards {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.tensors.get(name)?.shape.clone())
    }

    fn load_f32(&self, name: &str) -> Result<Vec<f32>> {
        let stored = self.tensors.get(name).ok_or_else(|| Fault::data(format!("tensor `{name}` is missing")))?;
        let (dtype, (file, disk)) = (stored.dtype, &self.files[stored.file]);
        let piece = |bytes: &[u8], out: &mut [f32]| precision::decode(bytes, dtype, out);
        let place = |f: Fault| f.at(format!("tensor `{name}`")).at(file);
        decode(disk, stored.bytes.clone(), (1, precision::width(dtype)), &piece).map_err(place)
    }

    fn file(&self, name: &str) -> Option<&str> {
        self.files.get(self.tensors.get(name)?.file).map(|f| f.0.as_str())
    }

    fn stored_bytes(&self) -> u64 {
        self.tensors.values().map(|t| t.bytes.len() as u64).sum()
    }
}
