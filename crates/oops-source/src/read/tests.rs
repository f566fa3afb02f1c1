//! Files as programs write them, and what is refused of them.

use std::{cell::Cell, fs, path::PathBuf, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, DictionaryArray, LargeStringArray, ListArray, RecordBatch, StringArray,
        StringViewArray, StructArray,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Int32Type, Schema},
};
use oops_core::Result;
use parquet::{
    arrow::ArrowWriter,
    basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel},
    file::properties::WriterProperties,
};

use super::*;

/// The documents of a file; a row without a text is `∅`.
fn documents(path: &Path, field: &str) -> Result<Vec<String>> {
    let (mut all, mut open) = (Vec::new(), String::new());
    let total = Cell::new(0);
    let advance = |bytes| {
        total.set(total.get() + bytes);
        Ok(())
    };
    let render = |m: &[Message]| Ok(m.iter().flat_map(|m| ["<", &m.role, ">", &m.content]).collect::<String>());
    let reader = Reader { field, render: &render, advance: &advance };
    reader.read(path, &mut |piece| {
        match piece {
            Piece::Text(text) => open.push_str(text),
            Piece::End => all.push(std::mem::take(&mut open)),
            Piece::Null => all.push("∅".to_owned()),
        }
        Ok(true)
    })?;
    assert_eq!(total.get(), fs::metadata(path).unwrap().len(), "all bytes are counted");
    Ok(all)
}

fn file(folder: &tempfile::TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn marks_and_line_ends_are_no_text() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, text) in [
        ("a\nb\n", "a\nb\n"),
        ("\u{feff}a\r\nb\rc\r", "a\nb\nc\n"),
        ("\r\n\r\r\n", "\n\n\n"),
        ("a\u{feff}b", "a\u{feff}b"),
        ("", ""),
    ] {
        assert_eq!(documents(&file(&folder, "t.txt", bytes), "text").unwrap(), [text], "{bytes:?}");
    }
    // A line end and a character on the edge of a buffer.
    let long = format!("{}\r\n{}é", "x".repeat((1 << 16) - 1), "y".repeat((1 << 16) - 2));
    let read = documents(&file(&folder, "long.txt", &long), "text").unwrap();
    assert_eq!(read, [long.replace("\r\n", "\n")]);
    let rows = "\u{feff}{\"text\": \"a\\r\\nb\"}\r\n\r\n{\"text\": null}\n";
    assert_eq!(documents(&file(&folder, "t.jsonl", rows), "text").unwrap(), ["a\r\nb", "∅"]);
}

#[test]
fn other_encodings_are_refused_by_name_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let fault = |name: &str, bytes: &[u8]| documents(&file(&folder, name, bytes), "text").unwrap_err().to_string();
    for name in ["t.txt", "t.jsonl"] {
        assert!(fault(name, b"\xff\xfea\0").contains("UTF-16"), "{name}");
        assert!(fault(name, b"\xfe\xff\0a").contains("UTF-16"), "{name}");
        assert!(fault(name, b"\xff\xfe\0\0a\0\0\0").contains("UTF-32"), "{name}");
    }
    assert!(fault("t.txt", b"ab\xe9cd").contains("not UTF-8 at byte 2"));
    assert!(fault("t.txt", b"ab\xc3").contains("not UTF-8 at byte 2"), "cut in a character");
    let rows = b"{\"text\": \"a\"}\n{\"text\": \"\xe9\"}\n";
    let jsonl = fault("t.jsonl", rows);
    assert!(jsonl.contains("not UTF-8 at byte 24") && jsonl.contains("t.jsonl:2"), "{jsonl}");
    let late = [vec![b'x'; 70_000], vec![0x80]].concat();
    assert!(fault("t.txt", &late).contains("not UTF-8 at byte 70000"));
}

#[test]
fn fields_may_be_nested_and_hold_chats() {
    let folder = tempfile::tempdir().unwrap();
    let rows = r#"{"a": {"b": "inner"}, "a.b": "whole", "m": [{"role": "user", "content": "Hi"}], "n": 3}"#;
    let path = file(&folder, "t.jsonl", rows);
    assert_eq!(documents(&path, "a.b").unwrap(), ["whole"]);
    assert_eq!(documents(&file(&folder, "u.jsonl", r#"{"a": {"b": "inner"}}"#), "a.b").unwrap(), ["inner"]);
    assert_eq!(documents(&path, "m").unwrap(), ["<user>Hi"]);
    let fault = |field: &str| documents(&path, field).unwrap_err();
    assert!(fault("c").help_text().unwrap().contains("keys: a, a.b, m, n"), "{}", fault("c"));
    assert!(fault("n").what().contains("a number"));
}

fn parquet(folder: &tempfile::TempDir, columns: Vec<(&str, ArrayRef)>, compression: Compression) -> PathBuf {
    let path = folder.path().join("t.parquet");
    let fields: Vec<Field> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|c| c.1).collect()).unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(&path).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

#[test]
fn parquet_is_read_in_every_compression_and_type() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [Some("first"), None, Some("Ünïcode"), Some("")];
    let expected = ["first", "∅", "Ünïcode", ""];
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ] {
        let column: ArrayRef = Arc::new(StringArray::from(rows.to_vec()));
        let path = parquet(&folder, vec![("text", column)], compression);
        assert_eq!(documents(&path, "text").unwrap(), expected, "{compression}");
    }
    let bytes = || rows.map(|r| r.map(str::as_bytes)).to_vec();
    let columns: [ArrayRef; 5] = [
        Arc::new(LargeStringArray::from(rows.to_vec())),
        Arc::new(StringViewArray::from(rows.to_vec())),
        Arc::new(BinaryArray::from(bytes())),
        Arc::new(rows.into_iter().collect::<DictionaryArray<Int32Type>>()),
        nested(&rows),
    ];
    for column in columns {
        let (what, field) = (column.data_type().clone(), if column.data_type().is_nested() { "t.inner" } else { "t" });
        let path = parquet(&folder, vec![("other", column.clone()), ("t", column)], Compression::SNAPPY);
        assert_eq!(documents(&path, field).unwrap(), expected, "{what}");
    }
}

/// A struct with the rows in field `inner`.
fn nested(rows: &[Option<&str>]) -> ArrayRef {
    let inner: ArrayRef = Arc::new(StringArray::from(rows.to_vec()));
    let (text, number) = (Field::new("inner", DataType::Utf8, true), Field::new("n", DataType::Int32, true));
    let numbers: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1; rows.len()]));
    Arc::new(StructArray::from(vec![(Arc::new(number), numbers), (Arc::new(text), inner)]))
}

#[test]
fn parquet_holds_chats_and_says_what_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let field = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
    let strings = |list: &[&str]| -> ArrayRef { Arc::new(StringArray::from(list.to_vec())) };
    let messages = StructArray::from(vec![
        (field("content"), strings(&["Hi", "Ho", "alone"])),
        (field("role"), strings(&["user", "assistant", "user"])),
    ]);
    let item = Arc::new(Field::new("item", messages.data_type().clone(), true));
    let chats: ArrayRef =
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2, 1, 0]), Arc::new(messages), None));
    let numbers: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1, 2, 3]));
    let raw: ArrayRef = Arc::new(BinaryArray::from(vec![&b"ok"[..], b"a\xff", b""]));
    let path = parquet(&folder, vec![("messages", chats), ("n", numbers), ("raw", raw)], Compression::SNAPPY);
    assert_eq!(documents(&path, "messages").unwrap(), ["<user>Hi<assistant>Ho", "<user>alone", ""]);
    let fault = |field: &str| documents(&path, field).unwrap_err().to_string();
    assert!(fault("n").contains("Int32"), "{}", fault("n"));
    assert!(fault("mesages").contains("did you mean `messages`"), "{}", fault("mesages"));
    assert!(fault("raw").contains("not UTF-8 at byte 1") && fault("raw").contains("row 2"), "{}", fault("raw"));
    assert!(fault("n.x").contains("`n` has no fields"), "{}", fault("n.x"));
    fs::write(&path, &fs::read(&path).unwrap()[..200]).unwrap();
    assert!(fault("messages").contains("not a readable Parquet file"));
}

#[test]
fn reading_stops_when_enough_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "t.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\nnot reached");
    let reader = Reader { field: "text", render: &|_| Ok(String::new()), advance: &|_| Ok(()) };
    let mut taken = 0;
    let more = reader.read(&path, &mut |piece| {
        taken += usize::from(piece == Piece::End);
        Ok(taken < 2)
    });
    assert_eq!((more.unwrap(), taken), (false, 2));
}
