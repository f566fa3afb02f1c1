//! A graph under construction. A node, its output and, where it has one, its weight are named after the place that they
//! have in the model; nodes stand in the order in which they are computed.

use std::collections::BTreeSet;

use oops_model::ModelConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::proto::{
    AttributeProto, DimProto, FLOAT, FLOAT16, INT64, NodeProto, ShapeProto, TensorProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};

/// Domain of the operators that ONNX Runtime adds.
pub(super) const CONTRIB: &str = "com.microsoft";
/// Operators of that domain that we use.
pub(super) const CONTRIB_OPS: [&str; 2] = ["GroupQueryAttention", "SkipSimplifiedLayerNormalization"];

/// Precision of weights, and of activations and caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats.
    F16,
    /// Matrices as 16-bit floats, all else in 32.
    F16Weights,
}

impl Precision {
    /// The specification's number for it.
    pub(super) fn id(self) -> i32 {
        match self {
            Self::F32 | Self::F16Weights => FLOAT,
            Self::F16 => FLOAT16,
        }
    }

    /// Bytes of a value.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::F16Weights => 4,
            Self::F16 => 2,
        }
    }

    /// That of a weight, as it is stored.
    fn of_weight(self, matrix: bool) -> Self {
        match (self, matrix) {
            (Self::F16Weights, true) => Self::F16,
            (Self::F16Weights, false) => Self::F32,
            (same, _) => same,
        }
    }
}

/// A tensor outside the graph's own file.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) name: String,
    /// As written, slowest dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) origin: Origin,
    /// As stored: `F32` or `F16`.
    pub(super) precision: Precision,
}

/// Where the values of a weight come from.
#[derive(Debug)]
pub(super) enum Origin {
    /// The checkpoint's tensor of this name.
    Stored(String),
    /// The same, rows and columns exchanged.
    Transposed(String),
    /// This function of position · frequency, `[positions, head_dim/2]`.
    Turns(fn(f64) -> f64),
}

/// The graph so far.
pub(super) struct Draft<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) precision: Precision,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) inputs: Vec<ValueInfoProto>,
    pub(super) outputs: Vec<ValueInfoProto>,
    /// Small constants, in the graph's own file.
    pub(super) constants: Vec<TensorProto>,
    pub(super) weights: Vec<Weight>,
    named: BTreeSet<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(config: &'a ModelConfig, precision: Precision) -> Self {
        Self {
            config,
            precision,
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            constants: Vec::new(),
            weights: Vec::new(),
            named: BTreeSet::new(),
        }
    }

    /// A node with one output, which has the node's name; gives that name.
    pub(super) fn node(&mut self, name: &str, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.node_to(name, op, inputs, &[name], attributes);
        name.to_owned()
    }

    /// A node with any outputs; an empty name leaves one out.
    pub(super) fn node_to(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) {
        let list = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        let domain = if CONTRIB_OPS.contains(&op) { CONTRIB } else { "" };
        self.nodes.push(NodeProto {
            input: list(inputs),
            output: list(outputs),
            name: name.to_owned(),
            op_type: op.to_owned(),
            attribute,
            domain: domain.to_owned(),
        });
    }

    /// A weight; gives the name under which it can be computed with. The same name again is the same weight.
    pub(super) fn weight(&mut self, name: &str, shape: &[usize], origin: Origin) -> String {
        let matrix = shape.len() > 1 && !matches!(origin, Origin::Turns(_));
        let precision = self.precision.of_weight(matrix);
        let is_new = self.named.insert(name.to_owned());
        if is_new {
            self.weights.push(Weight { name: name.to_owned(), shape: shape.to_vec(), origin, precision });
        }
        if precision.id() == self.precision.id() {
            return name.to_owned();
        }
        let wide = format!("{name}.f32");
        if is_new {
            self.node(&wide, "Cast", &[name], vec![int("to", FLOAT.into())]);
        }
        wide
    }

    /// A constant list of integers.
    pub(super) fn list(&mut self, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(format!("list{values:?}").replace(' ', ""), vec![values.len() as i64], INT64, raw)
    }

    /// A constant integer.
    pub(super) fn integer(&mut self, value: i64) -> String {
        self.constant(format!("integer[{value}]"), Vec::new(), INT64, value.to_le_bytes().to_vec())
    }

    /// A constant number, f32.
    pub(super) fn number(&mut self, value: f32) -> String {
        self.constant(format!("number[{value:e}]"), Vec::new(), FLOAT, value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, name: String, dims: Vec<i64>, data_type: i32, raw: Vec<u8>) -> String {
        if self.named.insert(name.clone()) {
            self.constants.push(TensorProto {
                dims,
                data_type: Some(data_type),
                name: name.clone(),
                raw_data: Some(raw),
                external_data: Vec::new(),
                data_location: None,
            });
        }
        name
    }

    /// `value` as f32; itself where it is.
    pub(super) fn widened(&mut self, value: &str) -> String {
        match self.precision {
            Precision::F32 | Precision::F16Weights => value.to_owned(),
            Precision::F16 => self.node(&format!("{value}.f32"), "Cast", &[value], vec![int("to", FLOAT.into())]),
        }
    }

    /// `value`, which is f32, in the graph's precision.
    pub(super) fn narrowed(&mut self, value: &str) -> String {
        let to = vec![int("to", self.precision.id().into())];
        match self.precision {
            Precision::F32 | Precision::F16Weights => value.to_owned(),
            Precision::F16 => self.node(&format!("{value}.f16"), "Cast", &[value], to),
        }
    }
}

/// A whole number as an attribute.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), f: None, i: Some(value), ints: Vec::new(), r#type: Some(2) }
}

/// A number as an attribute.
pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), f: Some(value), i: None, ints: Vec::new(), r#type: Some(1) }
}

/// Whole numbers as an attribute.
pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.to_owned(), f: None, i: None, ints: values.to_vec(), r#type: Some(7) }
}

/// A dimension of an input or output.
pub(super) enum Dim {
    Free(&'static str),
    Fixed(usize),
}

/// An input or output of the graph.
pub(super) fn value_info(name: &str, elem_type: i32, shape: &[Dim]) -> ValueInfoProto {
    let dim = |d: &Dim| match d {
        Dim::Free(name) => DimProto { dim_value: None, dim_param: Some((*name).to_owned()) },
        Dim::Fixed(n) => DimProto { dim_value: Some(*n as i64), dim_param: None },
    };
    let shape = Some(ShapeProto { dim: shape.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: Some(elem_type), shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}
