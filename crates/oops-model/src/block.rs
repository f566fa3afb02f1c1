//! The weights of one decoder block.

use candle_core::Tensor;
use oops_core::{BlockDims, Fault, Result, Site, bail_if};

/// A linear layer: y = x·Wᵀ + b.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W, `[out, in]`, f32.
    pub weight: Tensor,
    /// b, `[out]`, f32.
    pub bias: Option<Tensor>,
}

/// One decoder block: y = x + o(attention(norm x)), then y + down(silu(gate(norm y)) ⊙ up(norm y)).
#[derive(Clone, Debug)]
pub struct Block {
    /// Widths.
    pub dims: BlockDims,
    /// Weight of the RMSNorm before attention, `[hidden]`.
    pub input_norm: Tensor,
    /// Query projection, `[query_heads·head_dim, hidden]`; each head in half-split RoPE order.
    pub q: Linear,
    /// Key projection, `[kv_heads·head_dim, hidden]`; each head in half-split RoPE order.
    pub k: Linear,
    /// Value projection, `[kv_heads·head_dim, hidden]`.
    pub v: Linear,
    /// Output projection, `[hidden, query_heads·head_dim]`; its input is the site `attn.out`.
    pub o: Linear,
    /// RMSNorm weight of every query head, `[head_dim]`, where the family has one.
    pub q_norm: Option<Tensor>,
    /// RMSNorm weight of every key head, `[head_dim]`, where the family has one.
    pub k_norm: Option<Tensor>,
    /// Weight of the RMSNorm before the FFN, `[hidden]`.
    pub ffn_norm: Tensor,
    /// Gate projection, `[ffn, hidden]`.
    pub gate: Linear,
    /// Up projection, `[ffn, hidden]`.
    pub up: Linear,
    /// Down projection, `[hidden, ffn]`; its input is the site `mlp.down`.
    pub down: Linear,
}

/// What a tensor of a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weight of a linear layer, `[out, in]`.
    Weight,
    /// Bias of a linear layer, `[out]`.
    Bias,
    /// Weight of a norm.
    Norm,
}

/// Tensors of a block by their names inside `model.layers.{l}.`, in one fixed order.
pub(crate) const NORMS: [&str; 4] =
    ["input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"];
/// Linear layers of a block by their names inside `model.layers.{l}.`, in one fixed order.
pub(crate) const LINEARS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// `[out, in]` of each of [`LINEARS`].
pub(crate) fn linear_shapes(dims: &BlockDims, hidden: usize) -> [[usize; 2]; 7] {
    let (wide, narrow, ffn) = (dims.width(Site::AttnOut), dims.kv_heads * dims.head_dim, dims.ffn);
    [[wide, hidden], [narrow, hidden], [narrow, hidden], [hidden, wide], [ffn, hidden], [ffn, hidden], [hidden, ffn]]
}

impl Block {
    /// The projection that reads a site: o_proj or down_proj.
    pub fn projection(&self, site: Site) -> &Linear {
        match site {
            Site::AttnOut => &self.o,
            Site::MlpDown => &self.down,
        }
    }

    /// The same, to be changed.
    pub fn projection_mut(&mut self, site: Site) -> &mut Linear {
        match site {
            Site::AttnOut => &mut self.o,
            Site::MlpDown => &mut self.down,
        }
    }

    /// The linear layers in the order of [`LINEARS`].
    pub(crate) fn linears(&self) -> [&Linear; 7] {
        [&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down]
    }

    /// The norms in the order of [`NORMS`].
    pub(crate) fn norms(&self) -> [Option<&Tensor>; 4] {
        [Some(&self.input_norm), Some(&self.ffn_norm), self.q_norm.as_ref(), self.k_norm.as_ref()]
    }

    /// All tensors.
    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        let linears = self.linears().into_iter().flat_map(|l| [Some(&l.weight), l.bias.as_ref()]);
        linears.chain(self.norms()).flatten().collect()
    }

    /// The block with every tensor replaced by `f` of the half that it belongs to (named by its site), its role and itself.
    ///
    /// The order of the calls is fixed: linear layers, then norms, each in the order of the fields.
    pub fn map(&self, f: &mut dyn FnMut(Site, Role, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let mut linear = |site: Site, layer: &Linear| -> Result<Linear> {
            let weight = f(site, Role::Weight, &layer.weight)?;
            Ok(Linear { weight, bias: layer.bias.as_ref().map(|b| f(site, Role::Bias, b)).transpose()? })
        };
        let (attention, ffn) = (Site::AttnOut, Site::MlpDown);
        let (q, k, v) = (linear(attention, &self.q)?, linear(attention, &self.k)?, linear(attention, &self.v)?);
        let o = linear(attention, &self.o)?;
        let (gate, up, down) = (linear(ffn, &self.gate)?, linear(ffn, &self.up)?, linear(ffn, &self.down)?);
        let mut norm = |site: Site, t: &Tensor| f(site, Role::Norm, t);
        let (input_norm, ffn_norm) = (norm(attention, &self.input_norm)?, norm(ffn, &self.ffn_norm)?);
        let q_norm = self.q_norm.as_ref().map(|t| norm(attention, t)).transpose()?;
        let k_norm = self.k_norm.as_ref().map(|t| norm(attention, t)).transpose()?;
        Ok(Self { dims: self.dims, input_norm, q, k, v, o, q_norm, k_norm, ffn_norm, gate, up, down })
    }

    /// All tensors with their Hugging Face names.
    pub(crate) fn named(&self, l: usize) -> Vec<(String, &Tensor)> {
        let name = |part: &str, kind: &str| format!("model.layers.{l}.{part}.{kind}");
        let weights = LINEARS.iter().zip(self.linears()).map(|(n, l)| (name(n, "weight"), Some(&l.weight)));
        let biases = LINEARS.iter().zip(self.linears()).map(|(n, l)| (name(n, "bias"), l.bias.as_ref()));
        let norms = NORMS.iter().zip(self.norms()).map(|(n, t)| (name(n, "weight"), t));
        weights.chain(biases).chain(norms).filter_map(|(n, t)| Some((n, t?))).collect()
    }

    /// Checks that the tensors have the shapes that `dims` says.
    pub(crate) fn check(&self, hidden: usize) -> Result<()> {
        let wrong = |part: &str, t: &Tensor, shape: &[usize]| {
            let what = format!("`{part}` has shape {:?} where {shape:?} is needed", t.dims());
            bail_if(t.dims() != shape, || Fault::internal(what))
        };
        for ((part, layer), shape) in LINEARS.iter().zip(self.linears()).zip(linear_shapes(&self.dims, hidden)) {
            wrong(part, &layer.weight, &shape)?;
            layer.bias.iter().try_for_each(|bias| wrong(part, bias, &shape[..1]))?;
        }
        let widths = [hidden, hidden, self.dims.head_dim, self.dims.head_dim];
        for ((part, norm), width) in NORMS.iter().zip(self.norms()).zip(widths) {
            norm.into_iter().try_for_each(|t| wrong(part, t, &[width]))?;
        }
        Ok(())
    }
}
