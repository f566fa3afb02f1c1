//! A checkpoint on disk, opened without reading its weights.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use oops_core::{Fault, Result};

use crate::{Block, ModelConfig, Tokenizer, source::TensorSource};

/// A memory-mapped checkpoint; one block is resident at a time.
pub struct Checkpoint {
    config: ModelConfig,
    tensors: Box<dyn TensorSource>,
}

impl Checkpoint {
    /// The files that make up the checkpoint at `path`, as (name in the artifact, path).
    pub fn files(path: &Path) -> Result<Vec<(String, PathBuf)>> {
        Err(Fault::internal("interface only").at(path.display()))
    }

    /// Opens a checkpoint from its files: name in the artifact → path on disk.
    pub fn open(_files: &BTreeMap<String, PathBuf>) -> Result<Self> {
        Err(Fault::internal("interface only"))
    }

    /// Opens the checkpoint at `path`.
    pub fn open_path(path: &Path) -> Result<Self> {
        Self::open(&Self::files(path)?.into_iter().collect())
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Block `l`, f32 on the CPU.
    pub fn block(&self, l: usize) -> Result<Block> {
        Err(Fault::internal("interface only").at(l))
    }

    /// The embedding, `[vocab, hidden]`.
    pub fn embedding(&self) -> Result<Tensor> {
        Err(Fault::internal("interface only"))
    }

    /// The weight of the last RMSNorm, `[hidden]`.
    pub fn final_norm(&self) -> Result<Tensor> {
        Err(Fault::internal("interface only"))
    }

    /// The head, `[vocab, hidden]`; the embedding when tied.
    pub fn head(&self) -> Result<Tensor> {
        Err(Fault::internal("interface only"))
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Err(Fault::internal("interface only"))
    }

    /// Bytes that the weights take where they are stored.
    pub fn stored_bytes(&self) -> u64 {
        self.tensors.stored_bytes()
    }
}
