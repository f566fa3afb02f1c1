//! Widths through a graph: the last dimension of every value, as far as it is fixed, and whether neighbours agree.

use std::collections::BTreeMap;

use oops_core::{Result, bail_if};

use super::{
    inspect::unsound,
    proto::{AttributeProto, GraphProto, INT64, NodeProto, TensorProto, ValueInfoProto},
};

/// Follows widths from inputs and weights to the outputs; a fault where two do not fit.
pub(super) fn check(graph: &GraphProto) -> Result<()> {
    let tensors: BTreeMap<&str, &TensorProto> = graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut flow = Flow { tensors, widths: graph.input.iter().map(|v| (v.name.as_str(), width_of(v))).collect() };
    for (name, t) in &flow.tensors {
        flow.widths.insert(name, t.dims.last().copied());
    }
    for n in &graph.node {
        let made = flow.node(n)?;
        flow.widths.extend(n.output.iter().map(String::as_str).zip(made));
    }
    for o in &graph.output {
        let (made, stated) = (flow.width(&o.name), width_of(o));
        bail_if(made.zip(stated).is_some_and(|(a, b)| a != b), || {
            unsound(format!("output `{}` is {made:?} wide, not {stated:?}", o.name))
        })?;
    }
    Ok(())
}

fn width_of(v: &ValueInfoProto) -> Option<i64> {
    v.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?.dim.last()?.dim_value
}

struct Flow<'a> {
    tensors: BTreeMap<&'a str, &'a TensorProto>,
    widths: BTreeMap<&'a str, Option<i64>>,
}

impl<'a> Flow<'a> {
    fn width(&self, name: &str) -> Option<i64> {
        self.widths.get(name).copied().flatten()
    }

    /// Widths of a node's outputs.
    fn node(&mut self, n: &'a NodeProto) -> Result<Vec<Option<i64>>> {
        let input = |i: usize| n.input.get(i).map_or("", String::as_str);
        if let ("Cast", Some(&stored), [made]) = (n.op_type.as_str(), self.tensors.get(input(0)), n.output.as_slice()) {
            self.tensors.insert(made, stored);
        }
        let width = |i: usize| self.width(input(i));
        let same = |widths: &[Option<i64>]| agree(n, widths);
        Ok(match n.op_type.as_str() {
            "MatMul" => match self.shape(input(1)).as_deref() {
                Some([rows, columns]) => {
                    same(&[width(0), Some(*rows)])?;
                    vec![Some(*columns)]
                }
                _ => vec![width(1)],
            },
            "Gemm" => match self.shape(input(1)).as_deref() {
                Some([rows, columns]) => {
                    same(&[width(0), Some(*columns)])?;
                    vec![Some(*rows)]
                }
                _ => vec![None],
            },
            "Gather" => vec![self.shape(input(0)).filter(|s| s.len() == 2).map(|s| s[1])],
            "Where" => vec![same(&[width(1), width(2)])?],
            "SkipSimplifiedLayerNormalization" => vec![same(&[width(0), width(1), width(2)])?; 4],
            "Cast" | "Neg" | "Sigmoid" | "Sqrt" | "Softmax" => vec![width(0)],
            "ReduceMean" => vec![Some(1)],
            "Reshape" => vec![self.list(input(1)).and_then(|l| l.last().copied()).filter(|w| *w > 0)],
            "Transpose" => vec![width(0).filter(|_| keeps_last(n))],
            "Concat" if attribute(n, "axis").and_then(|a| a.i) == Some(-1) => {
                vec![n.input.iter().try_fold(0_i64, |sum, i| sum.checked_add(self.width(i)?))]
            }
            "Add" | "Mul" | "Sub" | "Div" | "SimplifiedLayerNormalization" | "Concat" => {
                vec![same(&[width(0), width(1)])?]
            }
            "Slice" => vec![self.cut(n)],
            "GroupQueryAttention" => vec![self.grouped(n)?],
            _ => vec![None; n.output.len()],
        })
    }

    fn shape(&self, name: &str) -> Option<Vec<i64>> {
        self.tensors.get(name).map(|t| t.dims.clone())
    }

    /// A constant list of integers.
    fn list(&self, name: &str) -> Option<Vec<i64>> {
        let t = self.tensors.get(name).filter(|t| t.data_type == Some(INT64))?;
        let (words, _) = t.raw_data.as_ref()?.as_chunks::<8>();
        Some(words.iter().map(|w| i64::from_le_bytes(*w)).collect())
    }

    /// Width of a slice of the last of four dimensions.
    fn cut(&self, n: &NodeProto) -> Option<i64> {
        let bound = |i: usize| self.list(n.input.get(i)?)?.first().copied();
        bound(2)?.checked_sub(bound(1)?).filter(|_| bound(3) == Some(3))
    }

    /// Heads and widths of a grouped attention.
    fn grouped(&self, n: &NodeProto) -> Result<Option<i64>> {
        let heads = |name: &str| attribute(n, name).and_then(|a| a.i).filter(|h| (1..=1 << 20).contains(h));
        let width = |i: usize| n.input.get(i).and_then(|name| self.width(name)).filter(|w| (1..=1 << 30).contains(w));
        let (Some(q), Some(kv), Some(channels)) = (heads("num_heads"), heads("kv_num_heads"), width(3)) else {
            return Err(unsound(format!("attention `{}` does not state its heads", n.name)));
        };
        bail_if(q % kv != 0, || unsound(format!("attention `{}` has {q} query heads on {kv}", n.name)))?;
        agree(n, &[width(0), Some(q * channels)])?;
        agree(n, &[width(1), width(2), Some(kv * channels)])?;
        if n.input.len() > 7 {
            agree(n, &[width(7), width(8), Some(channels / 2)])?;
        }
        Ok(Some(q * channels))
    }
}

fn attribute<'a>(n: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    n.attribute.iter().find(|a| a.name == name)
}

/// Whether a transposition leaves the last dimension where it is.
fn keeps_last(n: &NodeProto) -> bool {
    attribute(n, "perm").is_some_and(|a| a.ints.last().is_some_and(|p| *p == a.ints.len() as i64 - 1))
}

/// The common width of values that are combined element by element; 1 fits all.
fn agree(n: &NodeProto, widths: &[Option<i64>]) -> Result<Option<i64>> {
    let mut wide = widths.iter().flatten().filter(|w| **w != 1);
    let first = wide.next().copied();
    bail_if(wide.any(|w| Some(*w) != first), || {
        unsound(format!(
            "node `{}` combines values of the widths {:?}",
            n.name,
            widths.iter().flatten().collect::<Vec<_>>()
        ))
    })?;
    // An unknown width may be any.
    Ok(first.or(if widths.contains(&None) { None } else { Some(1) }))
}
