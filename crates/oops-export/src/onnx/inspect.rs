//! The check before anything is computed: a written graph read back from its bytes.
//!
//! Everything must be what we write and hang together: known operators, every value computed before it is read and once,
//! every constant and every weight as long as its shape says and inside its file, every width fitting ([`super::widths`]).
//! It computes nothing. Foreign and damaged files are refused with what is wrong; memory stays within a fixed multiple of
//! the file's length, which is limited.

use std::collections::{BTreeMap, BTreeSet};

use oops_core::{Fault, Result, bail_if};
use prost::Message as _;

use super::{
    draft::{CONTRIB, CONTRIB_OPS},
    proto::{
        BOOL, EXTERNAL, FLOAT, FLOAT16, GraphProto, INT32, INT64, ModelProto, NodeProto, TensorProto, ValueInfoProto,
    },
    weights::DATA,
    widths,
};

/// Longest graph that is read, in bytes: some hundred times that of the largest model that we know.
const LONGEST: usize = 1 << 26;
/// Operators that we write, besides the contributed ones.
const OPERATORS: [&str; 28] = [
    "Add",
    "And",
    "Cast",
    "Concat",
    "CumSum",
    "Div",
    "Gather",
    "Gemm",
    "Greater",
    "LessOrEqual",
    "MatMul",
    "Max",
    "Mul",
    "Neg",
    "Range",
    "ReduceMean",
    "ReduceSum",
    "Reshape",
    "Shape",
    "Sigmoid",
    "SimplifiedLayerNormalization",
    "Slice",
    "Softmax",
    "Sqrt",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// What a sound graph holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Operators in the graph.
    pub(super) nodes: usize,
    /// Tensors in the data file.
    pub(super) weights: usize,
}

/// Checks the graph `bytes`, whose data file has `data` bytes.
pub(super) fn graph(bytes: &[u8], data: u64) -> Result<Summary> {
    bail_if(bytes.len() > LONGEST, || {
        unsound(format!("it has {} bytes; graphs of up to {LONGEST} are read", bytes.len()))
    })?;
    let model = ModelProto::decode(bytes).map_err(|e| unsound(format!("its messages do not parse: {e}")))?;
    let graph = model.graph.as_ref().ok_or_else(|| unsound("it has no graph".to_owned()))?;
    domains(&model, &graph.node)?;
    let weights = tensors(graph, data)?;
    order(graph)?;
    widths::check(graph)?;
    Ok(Summary { nodes: graph.node.len(), weights })
}

pub(super) fn unsound(why: String) -> Fault {
    Fault::data(format!("the ONNX graph is not sound: {why}"))
}

/// Operators that we know, from operator sets that the file imports.
fn domains(model: &ModelProto, nodes: &[NodeProto]) -> Result<()> {
    let imported: BTreeMap<&str, i64> =
        model.opset_import.iter().map(|o| (o.domain.as_str(), o.version.unwrap_or(0))).collect();
    for (domain, least) in [("", 18), (CONTRIB, 1)] {
        bail_if(imported.get(domain).is_some_and(|v| !(least..=21).contains(v)), || {
            unsound(format!("operator set `{domain}` of a version that is not written"))
        })?;
    }
    for n in nodes {
        let own = if CONTRIB_OPS.contains(&n.op_type.as_str()) { CONTRIB } else { "" };
        let known = OPERATORS.contains(&n.op_type.as_str()) || own == CONTRIB;
        bail_if(!known || n.domain != own || !imported.contains_key(own), || {
            unsound(format!(
                "node `{}` is a `{}` of `{}`, which is not imported or not written",
                n.name, n.op_type, n.domain
            ))
        })?;
    }
    Ok(())
}

/// Constants and weights; gives the number of weights.
fn tensors(graph: &GraphProto, data: u64) -> Result<usize> {
    let mut end = 0;
    let mut weights = 0;
    for t in &graph.initializer {
        let place = |why: &str| unsound(format!("tensor `{}` {why}", t.name));
        let bytes = bytes_of(t).ok_or_else(|| place("has an unknown type or shape"))?;
        if t.data_location.unwrap_or(0) != EXTERNAL {
            let stored = t.raw_data.as_ref().map_or(0, Vec::len) as u64;
            bail_if(stored != bytes || !t.external_data.is_empty(), || {
                place(&format!("holds {stored} bytes; its shape says {bytes}"))
            })?;
            continue;
        }
        weights += 1;
        let (location, offset, length) = external(t).ok_or_else(|| place("does not say where its values lie"))?;
        bail_if(location != DATA, || place(&format!("lies in `{location}`, not in `{DATA}`")))?;
        bail_if(length != bytes, || place(&format!("holds {length} bytes; its shape says {bytes}")))?;
        bail_if(offset < end, || place("overlaps the tensor before it"))?;
        end = offset.checked_add(length).ok_or_else(|| place("ends nowhere"))?;
        bail_if(end > data, || place(&format!("ends at byte {end} of {data} in `{DATA}`")))?;
    }
    Ok(weights)
}

/// Bytes of a tensor by its shape.
fn bytes_of(t: &TensorProto) -> Option<u64> {
    let each = match t.data_type? {
        FLOAT | INT32 => 4,
        INT64 => 8,
        FLOAT16 => 2,
        BOOL => 1,
        _ => return None,
    };
    t.dims.iter().try_fold(each, |n: u64, d| n.checked_mul(u64::try_from(*d).ok().filter(|d| *d > 0)?))
}

/// File, offset and length of a tensor outside the graph's file.
pub(super) fn external(t: &TensorProto) -> Option<(&str, u64, u64)> {
    let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    Some((entry("location")?, entry("offset")?.parse().ok()?, entry("length")?.parse().ok()?))
}

/// Every value is there before it is read, and made once; the outputs are made.
fn order(graph: &GraphProto) -> Result<()> {
    let name = |v: &'_ ValueInfoProto| v.name.clone();
    let given = graph.input.iter().map(name).chain(graph.initializer.iter().map(|t| t.name.clone()));
    let mut there = BTreeSet::new();
    for value in given {
        bail_if(value.is_empty() || !there.insert(value.clone()), || {
            unsound(format!("value `{value}` is given twice"))
        })?;
    }
    for n in &graph.node {
        if let Some(input) = n.input.iter().find(|i| !i.is_empty() && !there.contains(*i)) {
            return Err(unsound(format!("node `{}` reads `{input}` before anything makes it", n.name)));
        }
        for output in n.output.iter().filter(|o| !o.is_empty()) {
            bail_if(!there.insert(output.clone()), || unsound(format!("value `{output}` is made twice")))?;
        }
    }
    match graph.output.iter().find(|o| !there.contains(&o.name)) {
        Some(o) => Err(unsound(format!("output `{}` is not made", o.name))),
        None if graph.output.is_empty() => Err(unsound("it has no outputs".to_owned())),
        None => Ok(()),
    }
}
