//! `.parquet`: one document per row, a few rows at a time. Only the column that holds the text is read.

use std::{fs::File, path::Path};

use arrow::{
    array::{Array, ArrayRef, AsArray, StructArray},
    compute::cast,
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};
use oops_core::{Fault, Result, nearest};
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    schema::types::SchemaDescriptor,
};

use super::{
    Reader, Take,
    field::{Cell, Message},
    lines::give,
};

/// Rows in memory at a time: documents can be long.
const ROWS: usize = 64;

pub(super) fn read(reader: &Reader<'_>, path: &Path, take: &mut Take<'_>) -> Result<bool> {
    let fault = |e: &dyn std::fmt::Display| {
        Fault::data(format!("not a readable Parquet file: {e}"))
            .at(path.display())
            .help("the file must be whole, its columns plain or compressed with snappy, gzip, brotli, zstd or lz4")
    };
    let file = File::open(path).map_err(|e| Fault::reading(path, &e))?;
    let bytes = file.metadata().map_err(|e| Fault::reading(path, &e))?.len();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| fault(&e))?;
    let rows = builder.metadata().file_metadata().num_rows().max(1) as u64;
    let way = way(builder.schema(), reader.field).map_err(|f| f.at(path.display()))?;
    let mask = mask(builder.parquet_schema(), &way);
    let batches = builder.with_projection(mask).with_batch_size(ROWS).build().map_err(|e| fault(&e))?;
    let mut first = 0;
    for batch in batches {
        let batch = batch.map_err(|e| fault(&e))?;
        let column = column(&batch, &way)?;
        for i in 0..batch.num_rows() {
            let cell = cell(&column, i).map_err(|f| f.at(format!("{}, row {}", path.display(), first + i + 1)))?;
            if !give(reader, cell, take)? {
                return Ok(false);
            }
        }
        let part = |row: usize| bytes * row as u64 / rows;
        (reader.advance)(part(first + batch.num_rows()) - part(first))?;
        first += batch.num_rows();
    }
    Ok(true)
}

/// Names of the column of a text and of the fields inside it: the column of that name, or else `a`, `b` for `a.b`.
fn way(schema: &Schema, name: &str) -> Result<Vec<String>> {
    let whole = schema.field_with_name(name).map(|_| vec![name.to_owned()]);
    let way = whole.unwrap_or_else(|_| name.split('.').map(str::to_owned).collect());
    let mut fields = schema.fields();
    for (depth, part) in way.iter().enumerate() {
        let found = fields.iter().find(|f| f.name() == part);
        let field: &Field = found.ok_or_else(|| no_column(name, fields.iter().map(|f| f.name().as_str()).collect()))?;
        match field.data_type() {
            _ if depth + 1 == way.len() => break,
            DataType::Struct(inner) => fields = inner,
            other => return Err(no_text(&format!("`{part}` has no fields"), other)),
        }
    }
    Ok(way)
}

fn no_column(name: &str, names: Vec<&str>) -> Fault {
    let near = nearest(name, names.iter().copied()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
    Fault::data(format!("no column `{name}`")).help(format!(
        "{near}name the column with `text_field` (`a.b` for `b` inside `a`); columns: {}",
        names.join(", ")
    ))
}

fn no_text(what: &str, data: &DataType) -> Fault {
    Fault::data(format!("{what}: its type is {data}"))
        .help("a text is a string, UTF-8 bytes, or a list of messages with `role` and `content`, both strings")
}

/// The leaves of the column that are read.
fn mask(schema: &SchemaDescriptor, way: &[String]) -> ProjectionMask {
    let starts = |parts: &[String]| parts.len() >= way.len() && parts[..way.len()] == *way;
    let leaves = schema.columns().iter().enumerate().filter(|(_, leaf)| starts(leaf.path().parts()));
    ProjectionMask::leaves(schema, leaves.map(|(i, _)| i))
}

/// The innermost column, null wherever one around it is.
fn column(batch: &RecordBatch, way: &[String]) -> Result<ArrayRef> {
    let missing = |name: &String| Fault::internal(format!("column `{name}` was not read"));
    let (name, inner) = way.split_first().ok_or_else(|| Fault::internal("a text has no name"))?;
    let mut array = batch.column_by_name(name).ok_or_else(|| missing(name))?.clone();
    for name in inner {
        let around = array.as_struct_opt().ok_or_else(|| missing(name))?;
        let field = around.column_by_name(name).ok_or_else(|| missing(name))?;
        let nulls = arrow::buffer::NullBuffer::union(around.nulls(), field.nulls());
        let data = field.to_data().into_builder().nulls(nulls).build();
        array = arrow::array::make_array(data.map_err(|e| Fault::data(format!("column `{name}`: {e}")))?);
    }
    match array.data_type() {
        DataType::Dictionary(_, values) => {
            let values = values.as_ref().clone();
            cast(&array, &values).map_err(|e| Fault::data(format!("column `{name}`: {e}")))
        }
        _ => Ok(array),
    }
}

/// Row `i` of a column.
fn cell(array: &ArrayRef, i: usize) -> Result<Cell> {
    if array.is_null(i) {
        return Ok(Cell::Null);
    }
    if let Some(text) = text(array, i)? {
        return Ok(Cell::Text(text));
    }
    let messages = match array.data_type() {
        DataType::Null => return Ok(Cell::Null),
        DataType::List(_) => array.as_list::<i32>().value(i),
        DataType::LargeList(_) => array.as_list::<i64>().value(i),
        other => return Err(no_text("the column holds no text", other)),
    };
    let messages = messages.as_struct_opt().ok_or_else(|| no_text("the list is no chat", messages.data_type()))?;
    (0..messages.len()).map(|m| message(messages, m)).collect::<Result<_>>().map(Cell::Chat)
}

/// Row `i` of a column of strings or bytes; none if it is a column of something else.
fn text(array: &ArrayRef, i: usize) -> Result<Option<String>> {
    let bytes = match array.data_type() {
        DataType::Utf8 => return Ok(Some(array.as_string::<i32>().value(i).to_owned())),
        DataType::LargeUtf8 => return Ok(Some(array.as_string::<i64>().value(i).to_owned())),
        DataType::Utf8View => return Ok(Some(array.as_string_view().value(i).to_owned())),
        DataType::Binary => array.as_binary::<i32>().value(i),
        DataType::LargeBinary => array.as_binary::<i64>().value(i),
        DataType::BinaryView => array.as_binary_view().value(i),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(i),
        _ => return Ok(None),
    };
    let text = std::str::from_utf8(bytes);
    text.map(|t| Some(t.to_owned())).map_err(|e| {
        Fault::data(format!("not UTF-8 at byte {} of the cell", e.valid_up_to())).help("convert the column to UTF-8")
    })
}

fn message(messages: &StructArray, m: usize) -> Result<Message> {
    let part = |name: &str| -> Result<String> {
        let column = messages.column_by_name(name);
        let found = column.filter(|c| c.is_valid(m)).map(|c| text(c, m)).transpose()?.flatten();
        found.ok_or_else(|| {
            Fault::data(format!("message {} has no `{name}`", m + 1))
                .help("a chat is a list of messages with `role` and `content`, both strings")
        })
    };
    Ok(Message { role: part("role")?, content: part("content")? })
}
