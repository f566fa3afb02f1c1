//! The two files of a graph. One rule: everything that is learned or tabulated lies in [`DATA`], each tensor at a
//! multiple of 4096 bytes so that it can be memory-mapped; constants of the graph itself lie in [`GRAPH`].

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use half::f16;
use oops_core::{Fault, Result, bail_if};
use oops_model::Checkpoint;
use prost::Message as _;

use super::{
    Form,
    draft::{CONTRIB, CONTRIB_OPS, Draft, Origin, Precision, Weight},
    proto::{EXTERNAL, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto},
};

/// The graph.
pub(super) const GRAPH: &str = "model.onnx";
/// The weights.
pub(super) const DATA: &str = "model.onnx.data";
/// What the specification asks of memory-mapped tensors.
const ALIGNMENT: usize = 4096;

/// Bytes of a weight.
fn length(w: &Weight) -> usize {
    w.shape.iter().product::<usize>() * w.precision.bytes()
}

/// The graph's file.
pub(super) fn encoded(d: &Draft<'_>, form: Form) -> Vec<u8> {
    let mut offset = 0;
    let mut tensors = d.constants.clone();
    for w in &d.weights {
        let bytes = length(w);
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        tensors.push(TensorProto {
            dims: w.shape.iter().map(|n| *n as i64).collect(),
            data_type: Some(w.precision.id()),
            name: w.name.clone(),
            raw_data: None,
            external_data: vec![
                entry("location", DATA.to_owned()),
                entry("offset", offset.to_string()),
                entry("length", bytes.to_string()),
            ],
            data_location: Some(EXTERNAL),
        });
        offset += bytes.next_multiple_of(ALIGNMENT);
    }
    let set = |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version: Some(version) };
    let (ir_version, opset) = form.versions();
    let mut opset_import = vec![set("", opset)];
    if d.nodes.iter().any(|n| CONTRIB_OPS.contains(&n.op_type.as_str())) {
        opset_import.push(set(CONTRIB, 1));
    }
    let graph = GraphProto {
        node: d.nodes.clone(),
        name: "decoder".to_owned(),
        initializer: tensors,
        input: d.inputs.clone(),
        output: d.outputs.clone(),
    };
    let model =
        ModelProto { ir_version: Some(ir_version), producer_name: "oops".to_owned(), graph: Some(graph), opset_import };
    model.encode_to_vec()
}

/// Writes the weights to `path`, one in memory at a time; `step` is called before each.
pub(super) fn write(
    path: &Path,
    model: &Checkpoint,
    d: &Draft<'_>,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let fault = |e: std::io::Error| Fault::writing(path, &e);
    let mut file = BufWriter::new(File::create(path).map_err(fault)?);
    for w in &d.weights {
        step()?;
        let mut bytes =
            values(model, w).and_then(|v| encode(&v, w.precision)).map_err(|f| f.at(format!("tensor `{}`", w.name)))?;
        bail_if(bytes.len() != length(w), || {
            Fault::internal(format!("tensor `{}` has {} bytes", w.name, bytes.len()))
        })?;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        file.write_all(&bytes).map_err(fault)?;
    }
    file.flush().map_err(fault)
}

fn values(model: &Checkpoint, w: &Weight) -> Result<Vec<f32>> {
    match &w.origin {
        Origin::Stored(name) => model.tensor(name, &w.shape),
        Origin::Transposed(name) => {
            let (width, out) = (w.shape[0], w.shape[1]);
            let rows = model.tensor(name, &[out, width])?;
            Ok((0..width).flat_map(|i| rows[i..].iter().step_by(width)).copied().collect())
        }
        Origin::Turns(f) => {
            let rope = &model.config().rope;
            let (frequencies, factor) = (rope.frequencies(2 * w.shape[1]), rope.attention_factor());
            let row = |p: usize| frequencies.iter().map(move |a| (f(p as f64 * a) * factor) as f32);
            Ok((0..w.shape[0]).flat_map(row).collect())
        }
    }
}

fn encode(values: &[f32], precision: Precision) -> Result<Vec<u8>> {
    if precision == Precision::F32 {
        return Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }
    match values.iter().find(|v| v.abs() > f16::MAX.to_f32()) {
        None => Ok(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()),
        Some(v) => Err(Fault::data(format!("{v} cannot be written as f16"))
            .help(format!("the largest magnitude is {:e}; use dtype f32", f16::MAX.to_f32()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_f16_cannot_hold_are_refused_and_others_rounded() {
        assert_eq!(encode(&[1.0, -2.0], Precision::F16).unwrap(), [0x00, 0x3c, 0x00, 0xc0]);
        let fault = encode(&[0.0, 70_000.0], Precision::F16).unwrap_err();
        assert!(fault.to_string().contains("70000 cannot be written as f16"), "{fault}");
    }
}
