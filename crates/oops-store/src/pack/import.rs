//! Taking results from one file into the store: all or nothing.
//!
//! Everything is read and checked first, files into `tmp/`; only then do files get their names, and records after them.
//! What the store holds already stays as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufReader, Read, Write as _},
    path::{Path, PathBuf},
};

use oops_core::{Digest, Fault, Result, bail_if};

use super::{FORMAT, LONGEST_TEXT, MANIFEST, Manifest, blob_name, record_name, ustar};
use crate::{
    FileRef, Lookup, Record, RunLog, Store,
    blobs::set_read_only,
    fsio::{make_dir, settle},
    record::parse_record,
};

/// What an import found.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Results in the file.
    pub results: Vec<Record>,
    /// Those of them that the store did not have.
    pub new: usize,
    /// Length of the file.
    pub bytes: u64,
}

/// Files on their way into the store; removed again if they do not arrive.
#[derive(Default)]
struct Staged(BTreeMap<Digest, PathBuf>);

impl Drop for Staged {
    fn drop(&mut self) {
        self.0.values().for_each(|p| drop(fs::remove_file(p)));
    }
}

impl Store {
    /// Checks the file `from` and takes its results into the store; with `keep` unset it only checks. `progress` hears
    /// bytes read, of how many. A file that is not whole changes nothing.
    pub fn import(&self, from: &Path, keep: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<Imported> {
        let mut archive = Archive::open(from)?;
        let (manifest, records) = archive.head()?;
        let mut staged = Staged::default();
        for file in &manifest.files {
            archive.expect(&blob_name(&file.digest), file.bytes)?;
            let wanted = keep && !self.holds(file);
            let temporary = if wanted { Some(self.temporary()?) } else { None };
            staged.0.extend(temporary.clone().map(|t| (file.digest, t)));
            archive.blob(file, temporary.as_deref(), progress)?;
        }
        archive.zeros(ustar::END)?;
        let new = if keep { self.take_in(&records, &mut staged, from)? } else { 0 };
        Ok(Imported { results: records, new, bytes: archive.bytes })
    }

    fn take_in(&self, records: &[Record], staged: &mut Staged, from: &Path) -> Result<usize> {
        make_dir(self.root())?;
        let new: Vec<&Record> = records.iter().filter(|r| !matches!(self.lookup(&r.key()), Lookup::Hit(_))).collect();
        for record in &new {
            // Held until the record is there: nobody collects its blobs as forgotten.
            let _shared = self.announce(&record.key());
            for file in record.files.values() {
                let Some(temporary) = staged.0.remove(&file.digest) else { continue };
                let blob = self.blob_path(&file.digest);
                make_dir(blob.parent().unwrap_or(self.root()))?;
                settle(&temporary, &blob)?;
            }
            self.write_record(record)?;
        }
        // As if they had been run here: whoever collects garbage must not take them for forgotten.
        let keys = records.iter().map(|r| (r.provenance.instance.clone(), r.key())).collect();
        let pipeline = std::path::absolute(from).unwrap_or_else(|_| from.to_owned());
        self.log_run(&RunLog { pipeline, overrides: vec!["import-cache".to_owned()], keys, outcome: None })?;
        Ok(new.len())
    }
}

/// A cache file that is being read.
struct Archive {
    path: PathBuf,
    input: BufReader<File>,
    bytes: u64,
    read: u64,
}

impl Archive {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Fault::reading(path, &e))?;
        let meta = file.metadata().map_err(|e| Fault::reading(path, &e))?;
        let archive = Self { path: path.to_owned(), input: BufReader::new(file), bytes: meta.len(), read: 0 };
        bail_if(!meta.is_file(), || archive.wrong("not a file"))?;
        Ok(archive)
    }

    fn wrong(&self, what: impl Into<String>) -> Fault {
        Fault::data(what).at(self.path.display()).help(
            "import-cache takes a whole file that `oops export-cache` wrote; copy or export it again (the store is as it was)",
        )
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.input.read_exact(buffer) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.wrong("the file ends too early")),
            Err(e) => Err(Fault::reading(&self.path, &e)),
            Ok(()) => {
                self.read += buffer.len() as u64;
                Ok(())
            }
        }
    }

    /// The next bytes as text. The caller has checked that they are no more than the file has.
    fn text(&mut self, bytes: u64) -> Result<String> {
        let mut buffer = vec![0; bytes as usize];
        self.fill(&mut buffer)?;
        self.zeros(ustar::padding(bytes))?;
        String::from_utf8(buffer).map_err(|_| self.wrong("a text in the file is not UTF-8"))
    }

    fn zeros(&mut self, count: u64) -> Result<()> {
        let mut buffer = vec![0; count as usize];
        self.fill(&mut buffer)?;
        bail_if(buffer.iter().any(|&b| b != 0), || self.wrong("there is something between the entries of the file"))
    }

    /// The next header must be the one of this entry.
    fn expect(&mut self, name: &str, bytes: u64) -> Result<()> {
        let mut header = [0; ustar::BLOCK as usize];
        self.fill(&mut header)?;
        bail_if(header != ustar::header(name, bytes), || {
            self.wrong(format!("the entry `{name}` is not where it should be"))
        })
    }

    /// The manifest and the records, checked against each other and against the length of the file.
    fn head(&mut self) -> Result<(Manifest, Vec<Record>)> {
        let mut header = [0; ustar::BLOCK as usize];
        self.fill(&mut header).map_err(|_| self.wrong("not a cache file"))?;
        let own = ustar::length(&header).filter(|&n| n <= LONGEST_TEXT.min(self.bytes));
        let own =
            own.filter(|&n| header == ustar::header(MANIFEST, n)).ok_or_else(|| self.wrong("not a cache file"))?;
        let text = self.text(own)?;
        let manifest = self.manifest(&text, own)?;
        let records = manifest.records.iter().map(|r| {
            self.expect(&record_name(&r.key), r.bytes)?;
            let text = self.text(r.bytes)?;
            let whole = Digest::of(text.as_bytes()) == r.digest;
            bail_if(!whole, || self.wrong(format!("the result {} in it is damaged", r.key.short())))?;
            parse_record(&text, &r.key).map_err(|why| self.wrong(format!("the result {}: {why}", r.key.short())))
        });
        let records: Vec<Record> = records.collect::<Result<_>>()?;
        let named: BTreeMap<Digest, u64> = manifest.files.iter().map(|f| (f.digest, f.bytes)).collect();
        let used: BTreeSet<(Digest, u64)> =
            records.iter().flat_map(|r| r.files.values()).map(|f| (f.digest, f.bytes)).collect();
        let same = used.iter().copied().eq(named.iter().map(|(d, n)| (*d, *n)));
        bail_if(!same, || self.wrong("its results and its files do not belong together"))?;
        Ok((manifest, records))
    }

    fn manifest(&self, text: &str, own: u64) -> Result<Manifest> {
        let format = serde_json::from_str::<serde_json::Value>(text).ok().map(|v| v["format"].clone());
        bail_if(format.as_ref().is_some_and(|f| f.is_string() && f != FORMAT), || {
            self.wrong(format!("it has the format {}, this program reads {FORMAT:?}", format.unwrap_or_default()))
        })?;
        let manifest: Manifest =
            serde_json::from_str(text).map_err(|e| self.wrong(format!("its manifest does not parse: {e}")))?;
        let sorted = manifest.records.is_sorted_by(|a, b| a.key < b.key)
            && manifest.files.is_sorted_by(|a, b| a.digest < b.digest);
        let texts = manifest.records.iter().try_fold(0_u64, |sum, r| sum.checked_add(r.bytes));
        let sound = sorted && !manifest.records.is_empty() && texts.is_some_and(|n| n <= LONGEST_TEXT);
        bail_if(!sound, || self.wrong("its manifest is not one that export-cache writes"))?;
        let whole = manifest.archive_bytes(own);
        bail_if(whole != Some(self.bytes), || {
            let whole = whole.map_or("more than any file has".to_owned(), |n| n.to_string());
            self.wrong(format!("the file has {} bytes, but its manifest promises {whole}", self.bytes))
        })?;
        Ok(manifest)
    }

    /// Reads a blob into `to`, or only checks it.
    fn blob(&mut self, file: &FileRef, to: Option<&Path>, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let create = |p: &Path| File::create(p).map_err(|e| Fault::writing(p, &e));
        let mut out = to.map(|p| Ok((p, create(p)?))).transpose()?;
        let (mut hasher, mut buffer, mut left) = (blake3::Hasher::new(), vec![0; 1 << 20], file.bytes);
        while left > 0 {
            let n = left.min(buffer.len() as u64) as usize;
            self.fill(&mut buffer[..n])?;
            hasher.update(&buffer[..n]);
            if let Some((path, out)) = &mut out {
                out.write_all(&buffer[..n]).map_err(|e| Fault::writing(path, &e))?;
            }
            left -= n as u64;
            progress(self.read, self.bytes);
        }
        self.zeros(ustar::padding(file.bytes))?;
        let digest = Digest::from_bytes(hasher.finalize().into());
        bail_if(digest != file.digest, || self.wrong(format!("the file {} in it is damaged", file.digest.short())))?;
        if let Some((path, out)) = out {
            out.sync_all().map_err(|e| Fault::writing(path, &e))?;
            set_read_only(path)?;
        }
        Ok(())
    }
}
