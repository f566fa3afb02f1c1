//! The GGUF container, versions 2 and 3: magic, version, counts, metadata, tensor table, aligned data. Nothing is read
//! past the table; every tensor's range is checked against the file's size here, once, so that later reads cannot fail.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use oops_core::{Fault, Result, bail_if};

use super::{cursor::Cursor, dequant::dequantize, format::Format, metadata::Metadata};
use crate::bytes::{FileBytes, read_span};

/// Where a tensor lies.
pub(super) struct TensorInfo {
    /// Shape, slowest dimension first: `[out, in]` of a projection. (The file lists dimensions the other way round.)
    pub(super) shape: Vec<usize>,
    pub(super) format: Format,
    /// Bytes in the file.
    pub(super) span: Range<usize>,
}

/// A checked file.
pub(super) struct Container {
    file: Arc<dyn FileBytes>,
    pub(super) metadata: Metadata,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

/// The specification's limit.
const MAX_DIMS: u32 = 4;
/// Bytes of the shortest pair (empty key, one-byte value) and of the shortest table row (empty name, one dimension).
const LEAST_PAIR: usize = 8 + 4 + 1;
const LEAST_ROW: usize = 8 + 4 + 8 + 4 + 8;

/// Bytes of the head that are read at first, and at most: a vocabulary of a million tokens takes some 50 MB.
const FIRST_HEAD: usize = 1 << 18;
const LARGEST_HEAD: usize = 1 << 28;

impl Container {
    /// Reads the head of a file, how long it may be: twice as much as before until it is whole.
    pub(super) fn read(file: Arc<dyn FileBytes>) -> Result<Self> {
        let most = file.len().min(LARGEST_HEAD);
        let mut n = most.min(FIRST_HEAD);
        loop {
            let head = Arc::new(read_span(&*file, 0..n)?);
            check_version(&mut Cursor::new(&head, 0))?;
            match read_head(&head, file.len()) {
                Ok((metadata, tensors)) => return Ok(Self { file, metadata, tensors }),
                Err(fault) if n == most => return Err(fault),
                Err(_) => n = most.min(2 * n),
            }
        }
    }

    /// The values of a tensor.
    pub(super) fn values(&self, info: &TensorInfo) -> Result<Vec<f32>> {
        dequantize(&*self.file, info.span.clone(), info.format)
    }
}

/// Metadata and tensors of a file of `len` bytes that begins with `head`.
fn read_head(head: &Arc<Vec<u8>>, len: usize) -> Result<(Metadata, BTreeMap<String, TensorInfo>)> {
    let mut cursor = Cursor::new(head, 0);
    check_version(&mut cursor)?;
    let n_tensors = cursor.count(LEAST_ROW, "the number of tensors")?;
    let n_pairs = cursor.count(LEAST_PAIR, "the number of metadata pairs")?;
    let (metadata, at) = Metadata::read(head, cursor.at(), n_pairs)?;
    refuse_parts(&metadata)?;
    let mut cursor = Cursor::new(head, at);
    let tensors = read_table(&mut cursor, len, n_tensors, alignment(&metadata)?)?;
    Ok((metadata, tensors))
}

fn check_version(cursor: &mut Cursor<'_>) -> Result<()> {
    let magic = cursor.u32("the magic number")?.to_le_bytes();
    bail_if(magic != *b"GGUF", || {
        Fault::data(format!("not a GGUF file: it begins with {magic:02x?}"))
            .at("byte 0")
            .help("a GGUF file begins with the four bytes `GGUF`; older GGML files must be converted again")
    })?;
    let version = cursor.u32("the version")?;
    bail_if(!matches!(version, 2 | 3), || {
        let order = if version.swap_bytes() <= 3 { " (the file is big-endian)" } else { "" };
        Fault::data(format!("GGUF version {version} cannot be read{order}"))
            .at("byte 4")
            .help("little-endian versions 2 and 3 are read: convert the model again")
    })
}

fn refuse_parts(metadata: &Metadata) -> Result<()> {
    let parts = metadata.unsigned("split.count")?.unwrap_or(1);
    bail_if(parts > 1, || {
        Fault::data(format!("the file is one of {parts} parts of a split model"))
            .at("metadata `split.count`")
            .help("merge the parts into one file first (`llama-gguf-split --merge`)")
    })
}

fn alignment(metadata: &Metadata) -> Result<usize> {
    let a = metadata.unsigned("general.alignment")?.unwrap_or(32);
    bail_if(!a.is_power_of_two() || !(8..=1 << 20).contains(&a), || {
        Fault::data(format!("alignment {a} is not a power of two from 8 to 1048576")).at("metadata `general.alignment`")
    })?;
    Ok(a)
}

fn read_table(
    cursor: &mut Cursor<'_>,
    file: usize,
    n: usize,
    alignment: usize,
) -> Result<BTreeMap<String, TensorInfo>> {
    let mut rows = BTreeMap::new();
    for i in 0..n {
        let name = cursor.string("a tensor's name").map_err(|f| f.at(format!("tensor {i} of {n}")))?;
        let place = |f: Fault| f.at(format!("tensor `{name}`"));
        let row = read_row(cursor).map_err(place)?;
        if rows.insert(name.to_owned(), row).is_some() {
            return Err(place(Fault::data("the name occurs twice")));
        }
    }
    // Cannot overflow: both are far below the size of an address space.
    let start = cursor.at().next_multiple_of(alignment);
    let place = |name: &str, row: Row| {
        let info = row.place(start, alignment, file).map_err(|f| f.at(format!("tensor `{name}`")))?;
        Ok((name.to_owned(), info))
    };
    rows.into_iter().map(|(name, row)| place(&name, row)).collect()
}

struct Row {
    shape: Vec<usize>,
    format: Format,
    offset: u64,
}

fn read_row(cursor: &mut Cursor<'_>) -> Result<Row> {
    let n = cursor.u32("the number of dimensions")?;
    bail_if(!(1..=MAX_DIMS).contains(&n), || Fault::data(format!("{n} dimensions; 1 to {MAX_DIMS} are allowed")))?;
    let mut shape = (0..n).map(|_| Ok(cursor.u64("a dimension")? as usize)).collect::<Result<Vec<_>>>()?;
    shape.reverse();
    let format = Format::from_id(cursor.u32("a tensor's type")?)?;
    Ok(Row { shape, format, offset: cursor.u64("a tensor's offset")? })
}

impl Row {
    fn place(self, start: usize, alignment: usize, file: usize) -> Result<TensorInfo> {
        let Self { shape, format, offset } = self;
        let in_row = shape.last().copied().unwrap_or(0);
        let values = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).filter(|&n| n > 0);
        let whole = in_row.is_multiple_of(format.block());
        let bytes = values.filter(|_| whole).and_then(|n| (n / format.block()).checked_mul(format.bytes()));
        let bytes = bytes.ok_or_else(|| {
            let what = format!("shape {shape:?} is impossible in {}", format.name());
            Fault::data(what).help(format!("rows must be whole blocks of {} values", format.block()))
        })?;
        bail_if(!offset.is_multiple_of(alignment as u64), || {
            Fault::data(format!("offset {offset} is not a multiple of the alignment {alignment}"))
        })?;
        let begin = usize::try_from(offset).ok().and_then(|o| o.checked_add(start));
        let span = begin.and_then(|b| Some(b..b.checked_add(bytes)?)).filter(|s| s.end <= file);
        let span = span.ok_or_else(|| {
            Fault::data(format!("the file ends before the tensor: {bytes} bytes at {start}+{offset}, file of {file}"))
                .help("the file is truncated or damaged: fetch it again and compare its size")
        })?;
        Ok(TensorInfo { shape, format, span })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::testing::{Gguf, bytes_of};

    fn small() -> Gguf {
        Gguf::new().text("general.architecture", "llama").tensor("a.weight", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    }

    #[test]
    fn shapes_are_row_major_and_data_is_found() {
        let c = Container::read(bytes_of(small().bytes())).unwrap();
        let info = &c.tensors["a.weight"];
        assert_eq!(info.shape, [2, 3]);
        assert_eq!(c.values(info).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(c.metadata.text("general.architecture").unwrap(), Some("llama"));
    }

    /// Heads longer than what is read at first are read again, as far as they go.
    #[test]
    fn a_long_head_is_read_to_its_end() {
        let tokens: Vec<String> = (0..60_000).map(|i| format!("token {i}")).collect();
        let c = Container::read(bytes_of(small().texts("tokens", &tokens).bytes())).unwrap();
        assert!(tokens.concat().len() > 2 * FIRST_HEAD);
        assert_eq!(c.metadata.strings("tokens").unwrap().unwrap(), tokens);
        assert_eq!(c.values(&c.tensors["a.weight"]).unwrap()[5], 6.0);
    }

    #[test]
    fn every_truncation_is_a_data_fault() {
        let whole = small().bytes();
        for n in 0..whole.len() {
            let fault = Container::read(bytes_of(whole[..n].to_vec())).map(drop).unwrap_err();
            assert_eq!(fault.class(), oops_core::Class::Data, "{n}: {fault}");
        }
    }

    #[test]
    fn foreign_versions_parts_and_shapes_are_refused() {
        let refusal = |bytes: Vec<u8>| Container::read(bytes_of(bytes)).map(drop).unwrap_err().to_string();
        assert!(refusal(b"GGML0000".to_vec()).contains("not a GGUF file"));
        let mut old = small().bytes();
        old[4] = 1;
        assert!(refusal(old.clone()).contains("version 1 cannot be read"));
        old[4..8].copy_from_slice(&3_u32.to_be_bytes());
        assert!(refusal(old).contains("big-endian"));
        assert!(refusal(small().unsigned("split.count", 3).bytes()).contains("one of 3 parts"));
        assert!(refusal(small().unsigned("general.alignment", 12).bytes()).contains("not a power of two"));
        let row = |shape: &[usize], id| small().raw("b", shape, id, vec![0; 64]).bytes();
        assert!(refusal(row(&[16], 2)).contains("impossible in Q4_0"));
        assert!(refusal(row(&[usize::MAX / 2, 32], 0)).contains("impossible in F32"));
        assert!(refusal(row(&[64], 0)).contains("the file ends before the tensor"));
        assert!(refusal(row(&[256], 21)).contains("IQ3_S"));
    }
}
