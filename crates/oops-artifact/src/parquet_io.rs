//! The one place where Parquet files are written and read, so that a dependency update cannot change our bytes
//! unnoticed: writer name, encodings, row-group size and statistics are pinned here.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, Float32Array, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array},
    datatypes::{Field, Schema},
};
use oops_core::{Fault, Result, nearest};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, Encoding},
    file::properties::{EnabledStatistics, WriterProperties, WriterVersion},
};

const ROWS_PER_GROUP: usize = 1 << 20;

fn properties() -> WriterProperties {
    // Dictionary off and plain encoding: statistics are incompressible floats, and plain is 3–4 times faster to write.
    WriterProperties::builder()
        .set_created_by("oops".to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::UNCOMPRESSED)
        .set_encoding(Encoding::PLAIN)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .build()
}

/// Writes named columns of equal length.
pub(crate) fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) -> Result<()> {
    let fault = |e: &dyn std::fmt::Display| {
        Fault::store(format!("cannot write Parquet: {e}"))
            .at(path.display())
            .help("free disk space or permissions, or choose another store with --cache DIR or OOPS_CACHE")
    };
    let fields: Vec<Field> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, a)| a).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|e| Fault::internal(format!("columns: {e}")))?;
    let file = File::create(path).map_err(|e| Fault::writing(path, &e))?;
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties())).map_err(|e| fault(&e))?;
    writer.write(&batch).map_err(|e| fault(&e))?;
    writer.close().map_err(|e| fault(&e)).map(|_| ())
}

/// A Parquet file in memory.
pub struct Table {
    place: String,
    batches: Vec<RecordBatch>,
}

impl Table {
    /// Reads a whole file.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let fault = |e: &dyn std::fmt::Display| {
            Fault::data(format!("not a readable Parquet file: {e}"))
                .at(&place)
                .help("the file must be whole; uncompressed columns are supported")
        };
        let file = File::open(path).map_err(|e| Fault::reading(path, &e))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|e| fault(&e))?
            .with_batch_size(ROWS_PER_GROUP)
            .build()
            .map_err(|e| fault(&e))?;
        let batches = reader.collect::<std::result::Result<_, _>>().map_err(|e| fault(&e))?;
        Ok(Self { place, batches })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// A column without nulls, as one vector.
    fn column<A: Array + 'static, T>(&self, name: &str, values: impl Fn(&A) -> Vec<T>) -> Result<Vec<T>> {
        let mut out = Vec::with_capacity(self.rows());
        for batch in &self.batches {
            let array = batch.column_by_name(name).ok_or_else(|| self.no_column(name, batch))?;
            let typed = array.as_any().downcast_ref::<A>().ok_or_else(|| {
                Fault::data(format!("column `{name}` has type {}", array.data_type())).at(&self.place)
            })?;
            if typed.null_count() > 0 {
                return Err(Fault::data(format!("column `{name}` has empty cells")).at(&self.place));
            }
            out.extend(values(typed));
        }
        Ok(out)
    }

    fn no_column(&self, name: &str, batch: &RecordBatch) -> Fault {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let near = nearest(name, names.iter().copied()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
        Fault::data(format!("no column `{name}`")).at(&self.place).help(format!("{near}columns: {}", names.join(", ")))
    }

    /// Column of 32-bit unsigned integers.
    pub fn u32(&self, name: &str) -> Result<Vec<u32>> {
        self.column(name, |a: &UInt32Array| a.values().to_vec())
    }

    /// Column of 64-bit unsigned integers.
    pub fn u64(&self, name: &str) -> Result<Vec<u64>> {
        self.column(name, |a: &UInt64Array| a.values().to_vec())
    }

    /// Column of 32-bit floats.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>> {
        self.column(name, |a: &Float32Array| a.values().to_vec())
    }

    /// Column of 64-bit floats.
    pub fn f64(&self, name: &str) -> Result<Vec<f64>> {
        self.column(name, |a: &Float64Array| a.values().to_vec())
    }

    /// Column of strings.
    pub fn strings(&self, name: &str) -> Result<Vec<String>> {
        self.column(name, |a: &StringArray| a.iter().flatten().map(str::to_owned).collect())
    }
}

pub(crate) fn u32s(values: Vec<u32>) -> ArrayRef {
    Arc::new(UInt32Array::from(values))
}

pub(crate) fn u64s(values: Vec<u64>) -> ArrayRef {
    Arc::new(UInt64Array::from(values))
}

pub(crate) fn f32s(values: Vec<f32>) -> ArrayRef {
    Arc::new(Float32Array::from(values))
}

pub(crate) fn f64s(values: Vec<f64>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

pub(crate) fn strings<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_round_trip_and_bad_names_are_explained() {
        let path = std::env::temp_dir().join(format!("oops-parquet-{}.parquet", std::process::id()));
        write(&path, vec![("block", u32s(vec![1, 2])), ("mean", f64s(vec![0.5, -1.0]))]).unwrap();
        let first = std::fs::read(&path).unwrap();
        write(&path, vec![("block", u32s(vec![1, 2])), ("mean", f64s(vec![0.5, -1.0]))]).unwrap();
        assert_eq!(first, std::fs::read(&path).unwrap(), "same columns, same bytes");
        let t = Table::read(&path).unwrap();
        assert_eq!((t.rows(), t.u32("block").unwrap(), t.f64("mean").unwrap()), (2, vec![1, 2], vec![0.5, -1.0]));
        assert!(t.f32("meen").unwrap_err().to_string().contains("did you mean `mean`"));
        assert!(t.f32("mean").unwrap_err().to_string().contains("Float64"));
        std::fs::write(&path, &first[..first.len() / 2]).unwrap();
        assert!(Table::read(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
