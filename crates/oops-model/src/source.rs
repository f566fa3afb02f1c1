//! Where weights come from: the one view that Hugging Face folders and GGUF files share.

use oops_core::Result;

/// Named tensors of a checkpoint, read on demand.
///
/// Names are Hugging Face's (`model.layers.0.self_attn.q_proj.weight`), matrices row-major `[out, in]`, query and
/// key rows in half-split RoPE order.
pub(crate) trait TensorSource: Send + Sync {
    /// The tensor's shape, `None` when the checkpoint has no such tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The tensor's values.
    fn load_f32(&self, name: &str) -> Result<Vec<f32>>;

    /// The file that holds a tensor, for messages; `None` when there is only one file.
    fn file(&self, _name: &str) -> Option<&str> {
        None
    }

    /// Bytes that all tensors take where they are stored.
    fn stored_bytes(&self) -> u64;
}
