//! `GroupQueryAttention` of ONNX Runtime's contributed operators, with a cache that grows from call to call.

use candle_core::{D, DType, Error, Result, Tensor};

use super::{
    super::proto::NodeProto,
    operators::{given, integer, joined, number, product, softmax},
};

/// What softmax does not see.
const MASKED: f32 = f32::NEG_INFINITY;

/// Outputs: mixed values `[1, tokens, heads·width]`, keys and values of all tokens so far `[1, KV heads, tokens, width]`.
pub(super) fn grouped(node: &NodeProto, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
    let needed = |i: usize| given(node, inputs, i);
    let whole = |name: &str| integer(node, name).ok_or_else(|| Error::msg(format!("no attribute `{name}`")));
    let (heads, kv_heads) = (whole("num_heads")? as usize, whole("kv_num_heads")? as usize);
    let (past_k, past_v) = (needed(3)?, needed(4)?);
    let past = past_k.dim(2)?;
    let turns = (whole("do_rotary")? == 1).then(|| Ok::<_, Error>((needed(7)?, needed(8)?))).transpose()?;
    let turned = |x: &Tensor| match turns {
        Some((cos, sin)) => rotated(x, cos, sin, past),
        None => Ok(x.clone()),
    };
    let q = turned(&split(needed(0)?, heads)?)?;
    let k = joined(&[past_k, &turned(&split(needed(1)?, kv_heads)?)?], 2)?;
    let v = joined(&[past_v, &split(needed(2)?, kv_heads)?], 2)?;
    let (group, tokens, keys, width) = (heads / kv_heads.max(1), q.dim(2)?, k.dim(2)?, q.dim(3)?);
    // One product per KV head: its query heads' rows stand below each other.
    let wide = |x: &Tensor| x.to_dtype(DType::F32);
    let rows = wide(&q)?.reshape((kv_heads, group * tokens, width))?;
    let scores = (product(&rows, &wide(&k)?.squeeze(0)?.t()?)? * number(node, "scale")?)?;
    let window = integer(node, "local_window_size").map(|w| w as usize);
    let scores = scores.reshape((heads, tokens, keys))?.broadcast_add(&mask(past, tokens, keys, window)?)?;
    let probabilities = softmax(&scores)?.reshape((kv_heads, group * tokens, keys))?;
    let mixed = product(&probabilities, &wide(&v)?.squeeze(0)?)?.reshape((heads, tokens, width))?;
    let mixed = mixed.transpose(0, 1)?.contiguous()?.reshape((1, tokens, heads * width))?;
    Ok(vec![mixed.to_dtype(q.dtype())?, k, v])
}

/// `[1, tokens, heads·width]` to `[1, heads, tokens, width]`.
fn split(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (_, tokens, wide) = x.dims3()?;
    x.reshape((1, tokens, heads, wide / heads.max(1)))?.transpose(1, 2)?.contiguous()
}

/// Channel i turns with channel i + width/2, by the rows of the tables from `past` on.
fn rotated(x: &Tensor, cos: &Tensor, sin: &Tensor, past: usize) -> Result<Tensor> {
    let (tokens, half) = (x.dim(2)?, x.dim(3)? / 2);
    let (cos, sin) = (cos.narrow(0, past, tokens)?, sin.narrow(0, past, tokens)?);
    let (low, high) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
    let first = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
    let second = (low.broadcast_mul(&sin)? + high.broadcast_mul(&cos)?)?;
    Tensor::cat(&[first, second], D::Minus1)
}

/// 0 where a new token sees a key: not after it, and fewer than `window` before.
fn mask(past: usize, tokens: usize, keys: usize, window: Option<usize>) -> Result<Tensor> {
    let sees = |i: usize, j: usize| j <= i && window.is_none_or(|w| j + w > i);
    let row = |i: usize| (0..keys).map(move |j| if sees(past + i, j) { 0.0 } else { MASKED });
    Tensor::from_vec((0..tokens).flat_map(row).collect::<Vec<f32>>(), (tokens, keys), &candle_core::Device::Cpu)
}
