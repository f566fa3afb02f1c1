//! The model in training: its weights as variables, and its loss.

use candle_core::{Device, Tensor, Var};
use oops_core::{BlockDims, Fault, ModelDims, Result};
use oops_model::{Block, DType, Family, Linear, ModelConfig, Rope, RopeScaling, autograd};

use crate::{
    bpe::{BOS, EOS, VOCAB},
    rng::Rng,
};

/// Tokens that the model is trained to look back on.
pub(crate) const CONTEXT: usize = 256;
/// Blocks.
const BLOCKS: usize = 6;
/// Width of the residual stream.
const HIDDEN: usize = 192;
/// Widths of each block: four KV groups of two query heads, so that pruning has something to choose.
const BLOCK: BlockDims = BlockDims { query_heads: 8, kv_heads: 4, head_dim: 24, ffn: 512 };
/// Standard deviation of initial weights; those that write into the residual stream get it over √(2·blocks).
const SPREAD: f64 = 0.04;

/// The configuration of the embedded model.
pub(crate) fn config() -> ModelConfig {
    let dims = ModelDims { hidden: HIDDEN, vocab: VOCAB, tied: true, gated: true, blocks: vec![BLOCK; BLOCKS] };
    ModelConfig {
        family: Family::Llama,
        dims,
        norm_eps: 1e-5,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        max_position: 4 * CONTEXT,
        sliding_window: None,
        bos: Some(BOS.1),
        eos: vec![EOS.1],
        dtype: DType::BF16,
    }
}

/// A decoder whose weights are variables.
pub(crate) struct Network {
    /// Its configuration.
    pub(crate) config: ModelConfig,
    /// Embedding and head, `[vocab, hidden]`.
    pub(crate) embedding: Tensor,
    /// Weight of the last RMSNorm, `[hidden]`.
    pub(crate) final_norm: Tensor,
    /// The blocks.
    pub(crate) blocks: Vec<Block>,
    /// Every weight, in a fixed order; they share storage with the tensors above.
    pub(crate) vars: Vec<Var>,
}

/// Makes variables and remembers them.
struct Maker {
    rng: Rng,
    vars: Vec<Var>,
}

impl Maker {
    fn matrix(&mut self, rows: usize, cols: usize, spread: f64) -> Result<Tensor> {
        let values: Vec<f32> = (0..rows * cols).map(|_| (self.rng.normal() * spread) as f32).collect();
        self.var(Tensor::from_vec(values, (rows, cols), &Device::Cpu))
    }

    fn linear(&mut self, outputs: usize, inputs: usize, spread: f64) -> Result<Linear> {
        Ok(Linear { weight: self.matrix(outputs, inputs, spread)?, bias: None })
    }

    fn ones(&mut self, n: usize) -> Result<Tensor> {
        self.var(Tensor::ones(n, candle_core::DType::F32, &Device::Cpu))
    }

    fn var(&mut self, tensor: candle_core::Result<Tensor>) -> Result<Tensor> {
        let var = tensor.and_then(|t| Var::from_tensor(&t)).map_err(fault)?;
        let tensor = var.as_tensor().clone();
        self.vars.push(var);
        Ok(tensor)
    }

    fn block(&mut self) -> Result<Block> {
        let (wide, narrow) = (BLOCK.query_heads * BLOCK.head_dim, BLOCK.kv_heads * BLOCK.head_dim);
        let residual = SPREAD / (2.0 * BLOCKS as f64).sqrt();
        Ok(Block {
            dims: BLOCK,
            input_norm: self.ones(HIDDEN)?,
            q: self.linear(wide, HIDDEN, SPREAD)?,
            k: self.linear(narrow, HIDDEN, SPREAD)?,
            v: self.linear(narrow, HIDDEN, SPREAD)?,
            o: self.linear(HIDDEN, wide, residual)?,
            q_norm: None,
            k_norm: None,
            ffn_norm: self.ones(HIDDEN)?,
            gate: self.linear(BLOCK.ffn, HIDDEN, SPREAD)?,
            up: self.linear(BLOCK.ffn, HIDDEN, SPREAD)?,
            down: self.linear(HIDDEN, BLOCK.ffn, residual)?,
        })
    }
}

impl Network {
    /// Fresh weights from `seed`.
    pub(crate) fn new(seed: u64) -> Result<Self> {
        let mut make = Maker { rng: Rng::new(seed), vars: Vec::new() };
        let embedding = make.matrix(VOCAB, HIDDEN, SPREAD)?;
        let blocks = (0..BLOCKS).map(|_| make.block()).collect::<Result<_>>()?;
        let final_norm = make.ones(HIDDEN)?;
        Ok(Self { config: config(), embedding, final_norm, blocks, vars: make.vars })
    }

    /// Mean cross-entropy of predicting, in each of `rows` (of one length), every token from those before: a scalar.
    pub(crate) fn loss(&self, rows: &[Vec<u32>]) -> Result<Tensor> {
        let inputs: Vec<u32> = rows.iter().flat_map(|r| &r[..r.len() - 1]).copied().collect();
        let targets: Vec<u32> = rows.iter().flat_map(|r| &r[1..]).copied().collect();
        let tokens = inputs.len() / rows.len().max(1);
        let mut x = autograd::embed(&self.embedding, &inputs, tokens)?;
        for block in &self.blocks {
            x = autograd::block_forward(&self.config, block, &x)?;
        }
        autograd::loss(&autograd::logits(&self.config, &self.final_norm, &self.embedding, &x)?, &targets)
    }
}

/// A failure of the tensor library, which the shapes here rule out.
pub(crate) fn fault(e: candle_core::Error) -> Fault {
    Fault::internal(format!("training: {e}"))
}
