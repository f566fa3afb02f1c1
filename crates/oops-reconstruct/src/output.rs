//! The pruned checkpoint, one shard per block.

use oops_artifact::{Artifact, Sink};
use oops_core::{Plan, Result};
use oops_model::{Checkpoint, DType, ModelConfig};
use oops_stage::Workdir;

pub(crate) use oops_model::{SaveAs, block_file};

/// Writes everything but the blocks: embedding, norm and head, configuration, index, tokenizer.
pub(crate) fn write_rest(
    work: &Workdir,
    source: &Artifact,
    checkpoint: &Checkpoint,
    plan: &Plan,
    dtype: &DType,
) -> Result<()> {
    let dense = checkpoint.config();
    let config = ModelConfig { dims: plan.apply(&dense.dims), dtype: dtype.clone(), ..dense.clone() };
    oops_model::write_rest(
        checkpoint,
        &config,
        &mut |name, write| work.file(name, write),
        &|name| work.path(name),
        &mut |name| work.link_present(source, name),
    )
}
