//! A GGUF file, version 3: metadata, tensor table, then the tensors, each aligned, one at a time.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use oops_core::{Fault, Result};

use super::super::{encode::encode, format::Format};

/// Bytes that every tensor starts at a multiple of: the specification's default.
const ALIGNMENT: usize = 32;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    U32(u32),
    F32(f32),
    Bool(bool),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// A row of the tensor table; shape slowest dimension first.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) format: Format,
}

impl Row {
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() / self.format.block() * self.format.bytes()
    }
}

/// Writes a file; `values` gives the values of the tensor in each row, asked for in order and once.
pub(super) fn write(
    path: &Path,
    pairs: &[(String, Value)],
    rows: &[Row],
    values: &mut dyn FnMut(usize) -> Result<Vec<f32>>,
) -> Result<()> {
    let fault = |e: std::io::Error| Fault::writing(path, &e);
    let mut file = BufWriter::new(File::create(path).map_err(fault)?);
    file.write_all(&head(pairs, rows)).map_err(fault)?;
    for (i, row) in rows.iter().enumerate() {
        let place = |f: Fault| f.at(format!("tensor `{}`", row.name));
        let mut bytes = encode(row.format, &values(i)?).map_err(place)?;
        if bytes.len() != row.bytes() {
            return Err(place(Fault::internal(format!("{} bytes, the table says {}", bytes.len(), row.bytes()))));
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        file.write_all(&bytes).map_err(fault)?;
    }
    file.flush().map_err(fault)
}

fn head(pairs: &[(String, Value)], rows: &[Row]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend((rows.len() as u64).to_le_bytes());
    out.extend((pairs.len() as u64).to_le_bytes());
    for (key, value) in pairs {
        text(&mut out, key);
        out.extend(value.tag().to_le_bytes());
        value.put(&mut out);
    }
    let mut offset = 0;
    for row in rows {
        text(&mut out, &row.name);
        out.extend((row.shape.len() as u32).to_le_bytes());
        row.shape.iter().rev().for_each(|d| out.extend((*d as u64).to_le_bytes()));
        out.extend(row.format.id().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += row.bytes().next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

fn text(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

impl Value {
    /// Type tags of the specification.
    fn tag(&self) -> u32 {
        match self {
            Self::U32(_) => 4,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Text(_) => 8,
            Self::Texts(_) | Self::I32s(_) | Self::F32s(_) => 9,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let mut list = |tag: u32, n: usize| {
            out.extend(tag.to_le_bytes());
            out.extend((n as u64).to_le_bytes());
        };
        match self {
            Self::U32(v) => out.extend(v.to_le_bytes()),
            Self::F32(v) => out.extend(v.to_le_bytes()),
            Self::Bool(v) => out.push(u8::from(*v)),
            Self::Text(s) => text(out, s),
            Self::Texts(items) => {
                list(8, items.len());
                items.iter().for_each(|s| text(out, s));
            }
            Self::I32s(items) => {
                list(5, items.len());
                items.iter().for_each(|v| out.extend(v.to_le_bytes()));
            }
            Self::F32s(items) => {
                list(6, items.len());
                items.iter().for_each(|v| out.extend(v.to_le_bytes()));
            }
        }
    }
}
