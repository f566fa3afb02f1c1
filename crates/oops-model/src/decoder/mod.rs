//! The forward pass, block by block.
//!
//! Two forms of the same arithmetic: [`fast`] works on slices with our own kernels and serves frozen f32 weights in
//! host memory; [`plain`] uses tensor operations only, so it runs on any device and carries gradients. [`tape`],
//! [`backward`], [`head`] and [`divergence`] are the gradients of [`fast`], by hand. [`cached`] is [`fast`] for tokens
//! behind others whose keys and values are kept; [`loaded`] holds a whole model for it.

mod backward;
mod cached;
mod divergence;
mod fast;
mod flat;
mod head;
mod linearized;
mod loaded;
mod operand;
mod plain;
mod tape;

use candle_core::{DType, Device, Tensor};
use oops_core::{Fault, Result, Site, bail_if};

use crate::{Block, ComputeDtype, ModelConfig, kernels, kernels::RopeTable, lift::Lift};
pub use cached::KvCache;
pub use divergence::{Divergence, Head};
use flat::flat;
pub use linearized::{FfnStep, LinearizedFfn};
pub use loaded::LoadedModel;
pub use tape::Tape;

/// What a tap is called with: the site, and its activations `[N, width]`.
pub(crate) type Tap<'a> = dyn FnMut(Site, &Tensor) -> Result<()> + 'a;

/// What a backward tap is called with: the site, its activations and their gradient, both `[N, width]`, and the gradient
/// at the output of the site's projection, `[N, hidden]`.
pub type GradTap<'a> = dyn FnMut(Site, &[f32], &[f32], &[f32]) -> Result<()> + 'a;

/// What a forward pass needs besides weights: configuration and rotary tables.
pub struct Decoder {
    hidden: usize,
    norm_eps: f64,
    window: Option<usize>,
    rope: RopeTable,
    compute: ComputeDtype,
}

impl Decoder {
    /// Prepares sequences of up to `max_tokens` tokens.
    pub fn new(config: &ModelConfig, max_tokens: usize) -> Result<Self> {
        let head_dim = config.dims.blocks.first().map_or(0, |b| b.head_dim);
        bail_if(config.dims.blocks.iter().any(|b| b.head_dim != head_dim), || {
            Fault::data("all blocks must have the same number of channels per head")
        })?;
        config.rope.check_length(max_tokens)?;
        let rope = RopeTable::new(&config.rope.frequencies(head_dim), config.rope.attention_factor(), max_tokens);
        let window = config.sliding_window;
        let compute = ComputeDtype::default();
        Ok(Self { hidden: config.dims.hidden, norm_eps: config.norm_eps, window, rope, compute })
    }

    /// The same with linear layers that compute in another precision: those of blocks with frozen weights in host memory, and
    /// the gradients at their inputs. Heads, gradients of weights, decoding and other devices are f32.
    #[must_use]
    pub fn computing(self, compute: ComputeDtype) -> Self {
        Self { compute, ..self }
    }

    /// Rows of `embedding` `[vocab, hidden]` for `ids`: `[ids, hidden]`.
    pub fn embed(&self, embedding: &Tensor, ids: &[u32]) -> Result<Tensor> {
        let vocab = embedding.dim(0).lift()?;
        check_ids(ids, vocab)?;
        let ids = Tensor::new(ids, embedding.device()).lift()?;
        embedding.index_select(&ids, 0).lift()
    }

    /// One block over packed sequences.
    ///
    /// `x` is `[N, hidden]`: sequences of `lengths` tokens one after the other (Σ lengths = N); attention is causal
    /// within each, positions start at 0 in each. `tap` sees the input of o_proj `[N, query_heads·head_dim]`, then
    /// that of down_proj `[N, ffn]`.
    pub fn block(
        &self,
        block: &Block,
        x: &Tensor,
        lengths: &[usize],
        tap: &mut dyn FnMut(Site, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        self.check(block, x, lengths)?;
        if block.tensors().into_iter().chain([x]).all(is_frozen_host) {
            fast::block(self, block, x, lengths, tap)
        } else {
            plain::block(self, block, x, lengths, tap)
        }
    }

    /// Vector-Jacobian product of [`Decoder::block`]: the gradient at its input `x` from `grad`, that at its output.
    ///
    /// `x`, `lengths` and shapes are those of the forward pass, `grad` is `[N, hidden]`; weights are frozen f32 in host
    /// memory and get no gradient. `tap` sees activations and gradient of the input of down_proj `[N, ffn]`, then those
    /// of the input of o_proj `[N, query_heads·head_dim]`.
    pub fn block_grad(
        &self,
        block: &Block,
        x: &Tensor,
        lengths: &[usize],
        grad: &Tensor,
        tap: &mut GradTap<'_>,
    ) -> Result<Tensor> {
        self.check(block, x, lengths)?;
        check_grad(x, grad)?;
        let (grad, x) = (flat(grad)?, flat(x)?);
        let tape = tape::Tape::record(self, block, &x, lengths)?;
        let input = backward::block(self, block, &x, tape, &grad, tap, false)?.input;
        fast::matrix(input, lengths.iter().sum(), self.hidden)
    }

    /// [`Decoder::block`] that remembers what [`Decoder::block_backward`] needs. Weights are f32 in host memory.
    pub fn block_recorded(&self, block: &Block, x: &Tensor, lengths: &[usize]) -> Result<(Tensor, Tape)> {
        self.check(block, x, lengths)?;
        let tape = Tape::record(self, block, &flat(x)?, lengths)?;
        let y = fast::matrix(tape.output(self, block)?, lengths.iter().sum(), self.hidden)?;
        Ok((y, tape))
    }

    /// The backward pass of [`Decoder::block_recorded`]: the gradient at its input `x`, and a block that holds the
    /// gradient of each of `block`'s tensors where that tensor lies, from `grad` `[N, hidden]` at its output.
    ///
    /// All in f32; gradients are sums over the N rows, dW = dYᵀ·X for a projection Y = X·Wᵀ + b. `block`, `x` and
    /// `tape` must be those of one forward pass. Costs about twice the forward pass.
    pub fn block_backward(&self, block: &Block, x: &Tensor, tape: Tape, grad: &Tensor) -> Result<(Tensor, Block)> {
        self.check(block, x, &tape.lengths)?;
        check_grad(x, grad)?;
        let rows = tape.positions.len();
        let out = backward::block(self, block, &flat(x)?, tape, &flat(grad)?, &mut |_, _, _, _| Ok(()), true)?;
        let weights = out.weights.ok_or_else(|| Fault::internal("a backward pass without weights"))?;
        Ok((fast::matrix(out.input, rows, self.hidden)?, weights))
    }

    /// The branch of `block`'s FFN around its weights, on the stream `x` `[N, hidden]` behind its attention. In f32.
    pub fn linearize_ffn(&self, block: &Block, x: &Tensor) -> Result<LinearizedFfn> {
        self.check(block, x, &vec![1; x.dim(0).lift()?])?;
        LinearizedFfn::new(self, block, x)
    }

    /// Logits of hidden states `x` `[N, hidden]`: `[N, vocab]`.
    pub fn logits(&self, final_norm: &Tensor, head: &Tensor, x: &Tensor) -> Result<Tensor> {
        let (rows, vocab) = (x.dim(0).lift()?, head.dim(0).lift()?);
        bail_if(head.dim(1).lift()? != self.hidden || x.dims() != [rows, self.hidden], || {
            Fault::internal(format!("head {:?} on hidden states {:?}", head.dims(), x.dims()))
        })?;
        if ![final_norm, head, x].into_iter().all(is_frozen_host) {
            return plain::rms_norm(x, final_norm, self.norm_eps).and_then(|h| h.matmul(&head.t()?)).lift();
        }
        let mut h = vec![0.0; rows * self.hidden];
        kernels::rms_norm(&flat(x)?, &flat(final_norm)?, self.norm_eps, &mut h);
        let logits = kernels::linear(&h, rows, &flat(head)?, None, vocab);
        Tensor::from_vec(logits, (rows, vocab), &Device::Cpu).lift()
    }

    fn check(&self, block: &Block, x: &Tensor, lengths: &[usize]) -> Result<()> {
        let n: usize = lengths.iter().sum();
        bail_if(x.dims() != [n, self.hidden], || {
            Fault::internal(format!("hidden states {:?} for {n} tokens of width {}", x.dims(), self.hidden))
        })?;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        bail_if(longest > self.rope.positions(), || {
            Fault::internal(format!("a sequence of {longest} tokens, {} prepared", self.rope.positions()))
        })?;
        block.check(self.hidden)
    }
}

fn check_grad(x: &Tensor, grad: &Tensor) -> Result<()> {
    bail_if(grad.dims() != x.dims(), || {
        Fault::internal(format!("gradient {:?} of hidden states {:?}", grad.dims(), x.dims()))
    })
}

/// Whether the kernels may read a tensor: f32 in host memory, and no gradient is asked of it.
fn is_frozen_host(t: &Tensor) -> bool {
    t.device().is_cpu() && t.dtype() == DType::F32 && !t.track_op()
}

fn check_ids(ids: &[u32], vocab: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= vocab) {
        None => Ok(()),
        Some(id) => Err(Fault::data(format!("token {id} is outside the model's vocabulary of {vocab}"))
            .help("use the tokenizer that belongs to the model")),
    }
}

/// Cross-entropy of each row of `logits` `[N, vocab]` against `targets` `[N]`, in nats.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Vec<f64>> {
    let (rows, vocab) = logits.dims2().lift()?;
    bail_if(rows != targets.len(), || Fault::internal(format!("{rows} rows of logits, {} targets", targets.len())))?;
    check_ids(targets, vocab)?;
    Ok(kernels::row_losses(&flat(logits)?, vocab, targets))
}

#[cfg(test)]
mod cached_tests;
#[cfg(test)]
mod grad_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod weight_grad_tests;
