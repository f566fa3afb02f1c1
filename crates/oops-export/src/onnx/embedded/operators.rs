//! The operators that we write, as the ONNX specification (opset 21) and ONNX Runtime's list of contributed operators
//! define them, for one sequence at a time. Attributes that we never write have their defaults.

use candle_core::{D, DType, Device, Error, Result, Tensor};

use super::{
    super::proto::{INT32, NodeProto},
    attention, dtype,
};

/// The outputs of a node, in order.
pub(super) fn compute(node: &NodeProto, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
    let input = |i: usize| given(node, inputs, i);
    let (x, axis) = (input(0)?, integer(node, "axis"));
    let one = match node.op_type.as_str() {
        "Add" => x.broadcast_add(input(1)?),
        "Sub" => x.broadcast_sub(input(1)?),
        "Mul" | "And" => x.broadcast_mul(input(1)?),
        "Div" => x.broadcast_div(input(1)?),
        "Max" => x.broadcast_maximum(input(1)?),
        "Greater" => x.broadcast_gt(input(1)?),
        "LessOrEqual" => x.broadcast_le(input(1)?),
        "Neg" => x.neg(),
        "Sqrt" => x.sqrt(),
        "Sigmoid" => (x.neg()?.exp()? + 1.0)?.recip(),
        "Softmax" => softmax(x),
        "MatMul" => product(x, input(1)?),
        "Gemm" if integer(node, "transB") == Some(1) => product(x, &input(1)?.t()?),
        "Cast" => cast(x, integer(node, "to").unwrap_or(0)),
        "Where" => chosen(x, input(1)?, input(2)?),
        "Concat" => joined(&inputs.iter().flatten().collect::<Vec<_>>(), axis.unwrap_or(0)),
        "Gather" => gathered(x, input(1)?),
        "CumSum" => counted(x),
        "Range" => Tensor::arange(scalar(x)?, scalar(input(1)?)?, &Device::Cpu),
        "Reshape" => reshaped(x, &list(input(1)?)?),
        "Unsqueeze" => unsqueezed(x, &list(input(1)?)?),
        "Transpose" => x.permute(permutation(node)?)?.contiguous(),
        "Shape" => Tensor::new(x.dims().iter().map(|d| *d as i64).collect::<Vec<_>>(), &Device::Cpu),
        "Slice" => sliced(x, &list(input(1)?)?, &list(input(2)?)?, &list(input(3)?)?),
        "ReduceMean" => x.mean_keepdim(D::Minus1),
        "ReduceSum" => total(x),
        "SimplifiedLayerNormalization" => norm(x, input(1)?, number(node, "epsilon")?),
        "SkipSimplifiedLayerNormalization" => {
            let sum = (x + input(1)?)?;
            let normed = norm(&sum, input(2)?, number(node, "epsilon")?)?;
            // Mean and inverse deviation, which nobody reads, stand between.
            return Ok(vec![normed.clone(), normed.clone(), normed, sum]);
        }
        "GroupQueryAttention" => return attention::grouped(node, inputs),
        other => Err(Error::msg(format!("`{other}` is not an operator that is written"))),
    };
    Ok(vec![one?])
}

/// An input that must be there.
pub(super) fn given<'a>(node: &NodeProto, inputs: &'a [Option<Tensor>], i: usize) -> Result<&'a Tensor> {
    let given = inputs.get(i).and_then(Option::as_ref);
    given.ok_or_else(|| Error::msg(format!("input {i} of a {} is not there", node.op_type)))
}

/// An attribute that is a whole number.
pub(super) fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name == name)?.i
}

/// An attribute that is a number.
pub(super) fn number(node: &NodeProto, name: &str) -> Result<f64> {
    let found = node.attribute.iter().find(|a| a.name == name).and_then(|a| a.f);
    found.map(f64::from).ok_or_else(|| Error::msg(format!("no attribute `{name}`")))
}

fn list(x: &Tensor) -> Result<Vec<i64>> {
    x.flatten_all()?.to_vec1()
}

fn scalar(x: &Tensor) -> Result<i64> {
    list(x)?.first().copied().ok_or_else(|| Error::msg("an empty scalar"))
}

fn permutation(node: &NodeProto) -> Result<Vec<usize>> {
    let found = node.attribute.iter().find(|a| a.name == "perm").ok_or_else(|| Error::msg("no attribute `perm`"))?;
    Ok(found.ints.iter().map(|i| *i as usize).collect())
}

/// Softmax over the last dimension.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// x·y; with a matrix y all rows of x at once.
pub(super) fn product(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (mut shape, width, wide) = (x.dims().to_vec(), x.dim(D::Minus1)?, y.dim(D::Minus1)?);
    let rows = shape[shape.len() - 2];
    shape.pop();
    if y.rank() == 2 {
        shape.push(wide);
        return x.reshape(((), width))?.matmul(y)?.reshape(shape);
    }
    let batch = &shape[..shape.len() - 1];
    let y = y.broadcast_as([batch, &[width, wide]].concat())?.contiguous()?;
    let all = x.reshape(((), rows, width))?.matmul(&y.reshape(((), width, wide))?)?;
    all.reshape([batch, &[rows, wide]].concat())
}

fn cast(x: &Tensor, to: i64) -> Result<Tensor> {
    match (to as i32, dtype(to as i32)) {
        (INT32, _) => x.to_dtype(DType::I64),
        (_, Some(DType::U8)) => x.ne(&x.zeros_like()?),
        (_, Some(kind)) => x.to_dtype(kind),
        (other, None) => Err(Error::msg(format!("a cast to type {other}"))),
    }
}

/// `yes` where `condition`, else `no`; all are broadcast.
fn chosen(condition: &Tensor, yes: &Tensor, no: &Tensor) -> Result<Tensor> {
    let shape = condition.shape().broadcast_shape_binary_op(yes.shape(), "where")?;
    let shape = shape.broadcast_shape_binary_op(no.shape(), "where")?;
    condition.broadcast_as(&shape)?.where_cond(&yes.broadcast_as(&shape)?, &no.broadcast_as(&shape)?)
}

/// Tensors one behind the other; those without elements add nothing.
pub(super) fn joined(all: &[&Tensor], axis: i64) -> Result<Tensor> {
    let rank = all.first().map_or(0, |x| x.rank()) as i64;
    let full: Vec<&Tensor> = all.iter().copied().filter(|x| x.elem_count() > 0).collect();
    Tensor::cat(&full, (if axis < 0 { axis + rank } else { axis }) as usize)
}

/// Rows of x (axis 0); the indices' dimensions take the place of the first.
fn gathered(x: &Tensor, indices: &Tensor) -> Result<Tensor> {
    let shape = [indices.dims(), &x.dims()[1..]].concat();
    x.index_select(&indices.flatten_all()?, 0)?.reshape(shape)
}

/// Running sums of each row.
fn counted(x: &Tensor) -> Result<Tensor> {
    let mut sum = 0;
    let mut add = |v: &i64| {
        sum += v;
        sum
    };
    // One sequence: one row.
    Tensor::from_vec(list(x)?.iter().map(&mut add).collect::<Vec<i64>>(), x.shape(), x.device())
}

/// 0 keeps a dimension, −1 takes what is left.
fn reshaped(x: &Tensor, shape: &[i64]) -> Result<Tensor> {
    let mut dims: Vec<usize> = shape
        .iter()
        .enumerate()
        .map(|(i, d)| if *d == 0 { x.dim(i) } else { Ok(*d as usize) })
        .collect::<Result<_>>()?;
    if let Some(free) = shape.iter().position(|d| *d == -1) {
        dims[free] = 1;
        dims[free] = x.elem_count() / dims.iter().product::<usize>().max(1);
    }
    x.contiguous()?.reshape(dims)
}

/// Dimensions of one at `axes` of the result, which are in ascending order.
fn unsqueezed(x: &Tensor, axes: &[i64]) -> Result<Tensor> {
    axes.iter().try_fold(x.clone(), |x, axis| x.unsqueeze(*axis as usize))
}

fn sliced(x: &Tensor, starts: &[i64], ends: &[i64], axes: &[i64]) -> Result<Tensor> {
    let parts = starts.iter().zip(ends).zip(axes);
    let part = |x: Tensor, ((start, end), axis): ((&i64, &i64), &i64)| {
        let axis = *axis as usize;
        let end = (*end as usize).min(x.dim(axis)?);
        x.narrow(axis, *start as usize, end.saturating_sub(*start as usize))
    };
    parts.map(Ok).try_fold(x.clone(), |x, p: Result<_>| part(x, p?))?.contiguous()
}

/// Sums of whole numbers over the last dimension, which goes.
fn total(x: &Tensor) -> Result<Tensor> {
    let rows = list(x)?.chunks(x.dim(D::Minus1)?.max(1)).map(|row| row.iter().sum()).collect::<Vec<i64>>();
    Tensor::from_vec(rows, &x.dims()[..x.rank() - 1], x.device())
}

/// RMSNorm of the last dimension, in f32 inside.
fn norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let root = (wide.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    wide.broadcast_div(&root)?.to_dtype(x.dtype())?.broadcast_mul(weight)
}
