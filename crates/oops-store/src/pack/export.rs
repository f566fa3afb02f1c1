//! Writing results into one file.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write},
    path::{Path, PathBuf},
};

use oops_core::{Digest, Fault, Result};

use super::{FORMAT, MANIFEST, Manifest, RecordRef, blob_name, record_name, ustar};
use crate::{FileRef, Record, Store, fsio::cannot_read};

/// What an export wrote.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// Results.
    pub records: usize,
    /// Files of those results, equal ones once.
    pub files: usize,
    /// Length of the archive.
    pub bytes: u64,
}

impl Store {
    /// Writes these results, with all their files wherever they lie, into the file `to`, which is replaced only when all
    /// is written. Files are hashed on the way. `progress` hears bytes written, of how many.
    pub fn export(&self, records: &[Record], to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Packed> {
        let mut texts = BTreeMap::new();
        let mut files = BTreeMap::new();
        for record in records {
            let text = serde_json::to_vec_pretty(record).map_err(|e| Fault::internal(format!("action record: {e}")))?;
            texts.insert(record.key(), text);
            files.extend(record.files.values().map(|f| (f.digest, f.bytes)));
        }
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            records: texts
                .iter()
                .map(|(k, t)| RecordRef { key: *k, digest: Digest::of(t), bytes: t.len() as u64 })
                .collect(),
            files: files.into_iter().map(|(digest, bytes)| FileRef { digest, bytes }).collect(),
        };
        let part = part_of(to);
        let written = self.write_archive(&manifest, &texts, &part, progress);
        let settled = written.and_then(|bytes| {
            fs::rename(&part, to).map_err(|e| cannot_write(to, &e))?;
            Ok(Packed { records: texts.len(), files: manifest.files.len(), bytes })
        });
        settled.inspect_err(|_| drop(fs::remove_file(&part)))
    }

    fn write_archive(
        &self,
        manifest: &Manifest,
        texts: &BTreeMap<Digest, Vec<u8>>,
        to: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64> {
        let head = serde_json::to_vec(manifest).map_err(|e| Fault::internal(format!("manifest: {e}")))?;
        let total = manifest.archive_bytes(head.len() as u64).ok_or_else(|| Fault::internal("archive too long"))?;
        let fault = |e: io::Error| cannot_write(to, &e);
        let mut out = BufWriter::new(File::create(to).map_err(fault)?);
        put_text(&mut out, MANIFEST, &head).map_err(fault)?;
        for (key, text) in texts {
            put_text(&mut out, &record_name(key), text).map_err(fault)?;
        }
        let mut left: u64 = manifest.files.iter().map(|f| f.bytes).sum();
        for file in &manifest.files {
            out.write_all(&ustar::header(&blob_name(&file.digest), file.bytes)).map_err(fault)?;
            self.copy_checked(file, &mut |chunk| {
                left -= chunk.len() as u64;
                progress(total - left, total);
                out.write_all(chunk).map_err(fault)
            })?;
            pad(&mut out, ustar::padding(file.bytes)).map_err(fault)?;
        }
        pad(&mut out, ustar::END).map_err(fault)?;
        let file = out.into_inner().map_err(|e| fault(e.into_error()))?;
        file.sync_all().map_err(fault)?;
        Ok(total)
    }

    /// Reads a file by content in pieces. It must have the length and digest that it is known by.
    fn copy_checked(&self, file: &FileRef, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let changed = || {
            Fault::store(format!("the file {} is missing, damaged or changed", file.digest.short()))
                .at(self.root().display())
                .help("run the pipeline again: it makes what is damaged anew; then export again")
        };
        let path = self.locate(file).ok_or_else(changed)?;
        // A file that grows meanwhile is read to its known length only.
        let mut input = File::open(&path).map_err(|e| cannot_read(&path, &e))?.take(file.bytes);
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let n = input.read(&mut buffer).map_err(|e| cannot_read(&path, &e))?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            put(&buffer[..n])?;
        }
        let whole = hasher.count() == file.bytes && *file.digest.as_bytes() == <[u8; 32]>::from(hasher.finalize());
        if whole { Ok(()) } else { self.discard(&file.digest).and(Err(changed())) }
    }
}

fn put_text(out: &mut impl Write, name: &str, text: &[u8]) -> io::Result<()> {
    out.write_all(&ustar::header(name, text.len() as u64))?;
    out.write_all(text)?;
    pad(out, ustar::padding(text.len() as u64))
}

fn pad(out: &mut impl Write, zeros: u64) -> io::Result<()> {
    out.write_all(&vec![0; zeros as usize])
}

fn part_of(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn cannot_write(path: &Path, e: &io::Error) -> Fault {
    Fault::store(format!("cannot write: {e}"))
        .at(path.display())
        .help("free disk space, or write elsewhere with -o FILE")
}
