//! The residual stream of the whole token set between two blocks.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use oops_artifact::{Heldout, Rows, Split, TokenBatch, TokenSet};
use oops_core::{Fault, Result};
use oops_model::{Checkpoint, Decoder, StreamDtype, TensorReader, TensorWriter};
use oops_stage::{Cx, Workdir};

/// Sequences that go through a block together.
#[derive(Clone)]
pub(crate) struct Batch {
    /// The split that all of them belong to.
    pub(crate) split: Split,
    /// Index of each sequence in the token set.
    pub(crate) sequences: Vec<u32>,
    /// Tokens of each sequence.
    pub(crate) lengths: Vec<usize>,
    /// What each token is for.
    pub(crate) parts: Rows,
    /// Residual stream, one row per token, as it is kept; no rows while they lie in a file only.
    pub(crate) x: Tensor,
    /// How the rows are kept.
    pub(crate) dtype: StreamDtype,
}

impl Batch {
    /// Takes the rows from the next place in a file.
    pub(crate) fn fetch(&mut self, file: &mut TensorReader) -> Result<()> {
        self.x = file.read((self.lengths.iter().sum::<usize>(), self.width()), self.x.dtype())?;
        Ok(())
    }

    /// The rows in f32.
    pub(crate) fn rows(&self) -> Result<Tensor> {
        StreamDtype::widened(&self.x)
    }

    /// Drops the rows.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.x = self.dtype.empty(self.width())?;
        Ok(())
    }

    fn width(&self) -> usize {
        self.x.dims().last().copied().unwrap_or(0)
    }
}

/// The stream on its way through one block: each batch goes to a file, which becomes a checkpoint when all went. If the
/// stream spills, batches come from the checkpoint before, and are in memory only in between.
pub(crate) struct Passage<'a> {
    work: &'a Workdir,
    name: String,
    part: PathBuf,
    to: TensorWriter,
    from: Option<TensorReader>,
    spill: bool,
}

impl<'a> Passage<'a> {
    /// To the checkpoint `name`, out of `before`; without it, the batches are made on the way.
    pub(crate) fn open(cx: &'a Cx<'_>, before: Option<&str>, name: String) -> Result<Self> {
        let part = cx.work.path(&name).with_extension("passing");
        let folder = part.parent().unwrap_or(&part);
        std::fs::create_dir_all(folder).map_err(|e| Fault::writing(folder, &e))?;
        let from = before.filter(|_| cx.spill).map(|name| TensorReader::open(&cx.work.path(name))).transpose()?;
        Ok(Self { work: &cx.work, name, to: TensorWriter::create(&part)?, part, from, spill: cx.spill })
    }

    /// The batch's rows, read first if they lie in a file.
    pub(crate) fn fetch(&mut self, batch: &mut Batch) -> Result<Tensor> {
        self.from.as_mut().map_or(Ok(()), |file| batch.fetch(file))?;
        batch.rows()
    }

    /// Takes the batch's new rows.
    pub(crate) fn store(&mut self, batch: &mut Batch, rows: &Tensor) -> Result<()> {
        batch.x = batch.dtype.narrowed(rows)?;
        self.keep(batch)
    }

    /// Takes the batch with the rows that it has.
    pub(crate) fn keep(&mut self, batch: &mut Batch) -> Result<()> {
        self.to.write(&batch.x)?;
        if self.spill { batch.clear() } else { Ok(()) }
    }

    /// Makes the file a checkpoint.
    pub(crate) fn publish(self) -> Result<()> {
        self.to.finish()?;
        self.from.map_or(Ok(()), TensorReader::finish)?;
        let taken = |path: &Path| std::fs::rename(&self.part, path).map_err(|e| Fault::writing(path, &e));
        self.work.write(&self.name, taken)
    }

    /// Gives the file up: nothing will need it.
    pub(crate) fn discard(self) {
        drop(self.to);
        let _ = std::fs::remove_file(self.part);
    }
}

/// Embeds a token set in the batches that [`TokenSet::batches`] makes; `done` gets every one when it is made.
pub(crate) fn embed(
    checkpoint: &Checkpoint,
    decoder: &Decoder,
    tokens: &TokenSet,
    (heldout, batch_tokens): (&Heldout, usize),
    dtype: StreamDtype,
    done: &mut dyn FnMut(&mut Batch) -> Result<()>,
) -> Result<Vec<Batch>> {
    let embedding = checkpoint.embedding()?;
    let embedded = |TokenBatch { split, sequences, lengths, ids, judges }: TokenBatch| {
        let x = dtype.narrowed(&decoder.embed(&embedding, &ids)?)?;
        let mut batch = Batch { split, sequences, lengths, parts: Rows::new(&judges), x, dtype };
        done(&mut batch)?;
        Ok(batch)
    };
    tokens.batches(heldout, batch_tokens).into_iter().map(embedded).collect()
}

/// Puts the checkpoint `name` back into batches of the same shape, unless they spill.
pub(crate) fn load(cx: &Cx<'_>, name: &str, batches: &mut [Batch]) -> Result<()> {
    if cx.spill {
        return Ok(());
    }
    let mut file = TensorReader::open(&cx.work.path(name))?;
    batches.iter_mut().try_for_each(|batch| batch.fetch(&mut file))?;
    file.finish()
}
