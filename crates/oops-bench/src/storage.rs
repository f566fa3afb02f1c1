//! Benchmarks of files: reading a checkpoint block by block, publishing an artifact.

use std::{collections::BTreeMap, fs, io::Read as _, path::Path};

use oops_core::{Digest, Fault, Result, Rng};
use oops_model::Checkpoint;
use oops_store::{FileRef, Provenance, Record, Store};

use crate::report::{Figures, figures, timed};

/// Every block of the checkpoint at `path` to f32, beside reading the same files as they are (both from the page cache,
/// where it holds them).
pub fn read(path: &Path) -> Result<Figures> {
    let files = Checkpoint::files(path)?;
    let (plain_s, bytes) = timed(|| files.iter().map(|(_, file)| pass_over(file)).sum::<Result<u64>>());
    let bytes = bytes?;
    let checkpoint = Checkpoint::open_path(path)?;
    let dims = &checkpoint.config().dims;
    let block = |l| checkpoint.block(l).map(|block| drop(std::hint::black_box(block)));
    let (seconds, done) = timed(|| (0..dims.blocks.len()).try_for_each(block));
    done?;
    let weights = dims.decoder_params() as f64;
    Ok(figures([
        ("seconds", seconds),
        ("weights_per_s", weights / seconds),
        ("plain_read_gb_per_s", bytes as f64 / plain_s / 1e9),
        ("plain_read_seconds", plain_s),
    ]))
}

/// Reads a file through a small buffer; its length.
fn pass_over(path: &Path) -> Result<u64> {
    let mut file = fs::File::open(path).map_err(|e| Fault::reading(path, &e))?;
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(|e| Fault::reading(path, &e))? {
            0 => return Ok(bytes),
            n => bytes += n as u64,
        }
    }
}

/// Publishing one artifact of `bytes` bytes into a store in `folder`, beside writing and syncing as many to a file.
pub fn publish(folder: &Path, bytes: usize) -> Result<Figures> {
    let mut rng = Rng::new(0, "publish");
    let mut contents: Vec<u8> = Vec::with_capacity(bytes + 8);
    while contents.len() < bytes {
        contents.extend(rng.next_u64().to_le_bytes());
    }
    let place = tempfile::tempdir_in(folder).map_err(|e| Fault::writing(folder, &e))?;
    let store = Store::open(place.path().join("store"))?;
    let plain = place.path().join("plain");
    let (plain_s, done) = timed(|| {
        fs::write(&plain, &contents)?;
        fs::File::open(&plain)?.sync_all()
    });
    done.map_err(|e| Fault::writing(&plain, &e))?;
    let fresh = place.path().join("fresh");
    let (seconds, done) = timed(|| {
        fs::write(&fresh, &contents).map_err(|e| Fault::writing(&fresh, &e))?;
        let file = FileRef { digest: Digest::of(&contents), bytes: contents.len() as u64 };
        let record = Record {
            preimage: "bench".to_owned(),
            kind: "bench".to_owned(),
            files: BTreeMap::from([("data".to_owned(), file)]),
            measured: BTreeMap::new(),
            warnings: Vec::new(),
            provenance: Provenance::default(),
        };
        store.publish(&record, &BTreeMap::from([("data".to_owned(), fresh.clone())]))
    });
    done?;
    let gb = contents.len() as f64 / 1e9;
    Ok(figures([
        ("seconds", seconds),
        ("gb_per_s", gb / seconds),
        ("plain_write_gb_per_s", gb / plain_s),
        ("share_of_plain_write", plain_s / seconds),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_published_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        assert!(publish(folder.path(), 10_000).unwrap()["gb_per_s"] > 0.0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
