//! The key-value pairs at the head of a GGUF file. They are walked and checked once, kept as byte ranges (a vocabulary
//! is not copied until it is asked for), and read through accessors that name the key and both types on a mismatch.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use oops_core::{Fault, Result};

use super::cursor::Cursor;

/// Type tags of the specification, in their numeric order from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

const KINDS: [(Kind, &str, usize); 13] = [
    (Kind::U8, "u8", 1),
    (Kind::I8, "i8", 1),
    (Kind::U16, "u16", 2),
    (Kind::I16, "i16", 2),
    (Kind::U32, "u32", 4),
    (Kind::I32, "i32", 4),
    (Kind::F32, "f32", 4),
    (Kind::Bool, "bool", 1),
    (Kind::String, "string", 8),
    (Kind::Array, "array", 12),
    (Kind::U64, "u64", 8),
    (Kind::I64, "i64", 8),
    (Kind::F64, "f64", 8),
];

/// Arrays of arrays of … deeper than this are refused: the specification allows any depth, no model uses two.
const MAX_DEPTH: usize = 4;

impl Kind {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        let (at, tag) = (cursor.at(), cursor.u32("a value type")?);
        KINDS.get(tag as usize).map(|k| k.0).ok_or_else(|| {
            Fault::data(format!("{tag} is not a value type")).at(format!("byte {at}")).help("value types are 0 to 12")
        })
    }

    fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    /// Bytes of a scalar; the least that a string or array takes.
    fn size(self) -> usize {
        KINDS[self as usize].2
    }
}

fn walk(cursor: &mut Cursor<'_>, kind: Kind, depth: usize) -> Result<()> {
    match kind {
        Kind::String => cursor.string("a string").map(drop),
        Kind::Array if depth == MAX_DEPTH => {
            Err(Fault::data(format!("arrays nest deeper than {MAX_DEPTH}")).at(format!("byte {}", cursor.at())))
        }
        Kind::Array => {
            let item = Kind::read(cursor)?;
            let n = cursor.count(item.size(), "the length of an array")?;
            match item {
                Kind::String | Kind::Array => (0..n).try_for_each(|_| walk(cursor, item, depth + 1)),
                _ => cursor.skip((n * item.size()) as u64, "an array").map(drop),
            }
        }
        _ => cursor.skip(kind.size() as u64, "a value").map(drop),
    }
}

/// One number of a scalar kind: integers as i128, the others as f64.
enum Number {
    Whole(i128),
    Real(f64),
}

fn number(kind: Kind, b: &[u8]) -> Option<Number> {
    let wide = |signed: bool| {
        // `b` holds 1, 2, 4 or 8 bytes: sign-extended into eight.
        let fill = if signed && b[b.len() - 1] & 0x80 != 0 { 0xff } else { 0 };
        let mut w = [fill; 8];
        w[..b.len()].copy_from_slice(b);
        w
    };
    Some(match kind {
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Number::Whole(u64::from_le_bytes(wide(false)).into()),
        Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => Number::Whole(i64::from_le_bytes(wide(true)).into()),
        Kind::F32 => Number::Real(f32::from_le_bytes(b.try_into().ok()?).into()),
        Kind::F64 => Number::Real(f64::from_le_bytes(b.try_into().ok()?)),
        Kind::Bool | Kind::String | Kind::Array => return None,
    })
}

struct Entry {
    kind: Kind,
    span: Range<usize>,
}

/// All pairs, by key.
pub(super) struct Metadata {
    bytes: Arc<Vec<u8>>,
    entries: BTreeMap<String, Entry>,
}

impl Metadata {
    /// Walks `n` pairs from `at`; returns them and the offset behind them.
    pub(super) fn read(bytes: &Arc<Vec<u8>>, at: usize, n: usize) -> Result<(Self, usize)> {
        let mut cursor = Cursor::new(bytes, at);
        let mut entries = BTreeMap::new();
        for i in 0..n {
            let key = cursor.string("a metadata key").map_err(|f| f.at(format!("metadata pair {i} of {n}")))?;
            let place = |f: Fault| f.at(format!("metadata `{key}`"));
            let kind = Kind::read(&mut cursor).map_err(place)?;
            let start = cursor.at();
            walk(&mut cursor, kind, 0).map_err(place)?;
            if entries.insert(key.to_owned(), Entry { kind, span: start..cursor.at() }).is_some() {
                return Err(place(Fault::data("the key occurs twice")));
            }
        }
        Ok((Self { bytes: bytes.clone(), entries }, cursor.at()))
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Every key, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    fn mismatch(&self, key: &str, wanted: &str) -> Fault {
        let kind = self.entries.get(key).map_or("missing", |e| e.kind.name());
        Fault::data(format!("{wanted} is needed, the value is of type {kind}")).at(format!("metadata `{key}`"))
    }

    /// The fault of a key that a model cannot do without.
    pub(super) fn missing(key: &str) -> Fault {
        Fault::data("the key is missing")
            .at(format!("metadata `{key}`"))
            .help("convert the model again with a current converter")
    }

    fn scalar<T>(&self, key: &str, wanted: &str, f: impl FnOnce(Number) -> Option<T>) -> Result<Option<T>> {
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        let value = number(entry.kind, &self.bytes()[entry.span.clone()]).and_then(f);
        value.map(Some).ok_or_else(|| self.mismatch(key, wanted))
    }

    /// A count or id: any integer type, not negative.
    pub(super) fn unsigned(&self, key: &str) -> Result<Option<usize>> {
        self.scalar(key, "an integer, not negative,", whole)
    }

    /// A number, whole or not; finite.
    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.scalar(key, "a finite number", real)
    }

    /// A truth value.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        match entry.kind {
            Kind::Bool => Ok(Some(self.bytes()[entry.span.start] != 0)),
            _ => Err(self.mismatch(key, "a boolean")),
        }
    }

    /// A string.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        match entry.kind {
            Kind::String => Cursor::new(self.bytes(), entry.span.start).string(key).map(Some),
            _ => Err(self.mismatch(key, "a string")),
        }
    }

    /// Item kind, length and first item's offset of an array.
    fn array(&self, key: &str) -> Result<Option<(Kind, usize, usize)>> {
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        if entry.kind != Kind::Array {
            return Ok(None);
        }
        let mut cursor = Cursor::new(self.bytes(), entry.span.start);
        let item = Kind::read(&mut cursor)?;
        let n = cursor.count(item.size(), "the length of an array")?;
        Ok(Some((item, n, cursor.at())))
    }

    /// An array of strings.
    pub(super) fn strings(&self, key: &str) -> Result<Option<Vec<&str>>> {
        match self.array(key)? {
            Some((Kind::String, n, at)) => {
                let mut cursor = Cursor::new(self.bytes(), at);
                (0..n).map(|_| cursor.string(key)).collect::<Result<_>>().map(Some)
            }
            None if !self.entries.contains_key(key) => Ok(None),
            _ => Err(self.mismatch(key, "an array of strings")),
        }
    }

    fn numbers<T>(&self, key: &str, wanted: &str, f: fn(Number) -> Option<T>) -> Result<Option<Vec<T>>> {
        let Some((item, n, at)) = self.array(key)? else {
            return if self.entries.contains_key(key) { Err(self.mismatch(key, wanted)) } else { Ok(None) };
        };
        let one = |i: usize| number(item, &self.bytes()[at + i * item.size()..at + (i + 1) * item.size()]).and_then(f);
        let all: Option<Vec<T>> = (0..n).map(one).collect();
        all.map(Some).ok_or_else(|| self.mismatch(key, wanted))
    }

    /// An array of integers, none negative.
    pub(super) fn unsigneds(&self, key: &str) -> Result<Option<Vec<usize>>> {
        self.numbers(key, "an array of integers, none negative,", whole)
    }

    /// An array of finite numbers.
    pub(super) fn floats(&self, key: &str) -> Result<Option<Vec<f64>>> {
        self.numbers(key, "an array of finite numbers", real)
    }

    /// One integer for all blocks, or an array with one per block.
    pub(super) fn per_block(&self, key: &str, blocks: usize) -> Result<Option<Vec<usize>>> {
        if self.array(key)?.is_none() {
            return Ok(self.unsigned(key)?.map(|x| vec![x; blocks]));
        }
        let list = self.unsigneds(key)?.unwrap_or_default();
        if list.len() != blocks {
            let what = format!("the array has {} items, the model {blocks} blocks", list.len());
            return Err(Fault::data(what).at(format!("metadata `{key}`")));
        }
        Ok(Some(list))
    }
}

fn whole(x: Number) -> Option<usize> {
    match x {
        Number::Whole(i) => i.try_into().ok(),
        Number::Real(_) => None,
    }
}

fn real(x: Number) -> Option<f64> {
    let x = match x {
        Number::Whole(i) => i as f64,
        Number::Real(r) => r,
    };
    x.is_finite().then_some(x)
}
