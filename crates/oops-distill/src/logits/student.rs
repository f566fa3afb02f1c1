//! A whole student in training: its divergence from the teacher, and the gradient of every weight.

use candle_core::Tensor;
use oops_core::{Fault, Result, Rng};
use oops_model::{Block, Checkpoint, DType, Decoder, Divergence, Head, Tape, with_values};

use crate::{fault, trainable::Trainable};

/// Activations of a batch that are kept for the backward pass instead of being computed again.
pub(super) const KEPT_BYTES: usize = 1 << 30;

/// See the file's description.
pub(crate) struct Student {
    decoder: Decoder,
    embedding: Tensor,
    head: Head,
    /// W of the teacher's head.
    teacher: Tensor,
    temperature: f64,
    pub(crate) blocks: Vec<Trainable>,
    kept_bytes: usize,
}

impl Student {
    /// Starts at `student`; `teacher` is W of the teacher's head, `longest` the longest sequence in tokens.
    pub(crate) fn new(
        student: &Checkpoint,
        teacher: Tensor,
        longest: usize,
        temperature: f64,
        rank: Option<usize>,
        rng: &mut Rng,
    ) -> Result<Self> {
        let config = student.config();
        let blocks = (0..config.dims.blocks.len()).map(|l| Trainable::new(&student.block(l)?, rank, rng));
        let blocks = blocks.collect::<Result<_>>()?;
        let embedding = student.embedding()?;
        let weight = if config.dims.tied { embedding.clone() } else { student.head()? };
        // A pruned model has its teacher's head, which then lies in memory once.
        let same = with_values(&weight, |a| with_values(&teacher, |b| a == b))??;
        let teacher = if same { weight.clone() } else { teacher };
        let head = Head { norm: student.final_norm()?, weight };
        let decoder = Decoder::new(config, longest)?;
        Ok(Self { decoder, embedding, head, teacher, temperature, blocks, kept_bytes: KEPT_BYTES })
    }

    /// Everything that is trained, in a fixed order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.blocks.iter().flat_map(Trainable::tensors)
    }

    /// Mean divergence over the tokens of `sequences`, which lie one after another in `teacher` `[N, hidden]`, and its
    /// gradient for each of [`Self::tensors`].
    pub(crate) fn gradients(&self, sequences: &[&[u32]], teacher: &Tensor) -> Result<(f64, Vec<Tensor>)> {
        let (ids, lengths) = (sequences.concat(), sequences.iter().map(|s| s.len()).collect::<Vec<_>>());
        let mut x = self.decoder.embed(&self.embedding, &ids)?;
        let (mut passes, mut bytes) = (Vec::new(), 0);
        for block in &self.blocks {
            let block = block.block()?;
            let (y, tape) = self.decoder.block_recorded(&block, &x, &lengths)?;
            bytes += tape.bytes();
            passes.push(Pass { block, x, tape: (bytes <= self.kept_bytes).then_some(tape) });
            x = y;
        }
        let scale = 1.0 / ids.len().max(1) as f64;
        let (divergences, mut grad) = self.decoder.divergence_grad(&self.divergence_law(), &x, teacher, scale)?;
        drop(x);
        let mut gradients = Vec::new();
        for (trainable, Pass { block, x, tape }) in self.blocks.iter().zip(passes).rev() {
            let tape: Tape = match tape {
                Some(tape) => tape,
                None => self.decoder.block_recorded(&block, &x, &lengths)?.1,
            };
            let (dx, weights) = self.decoder.block_backward(&block, &x, tape, &grad)?;
            gradients.push(trainable.gradients(&weights)?);
            grad = dx;
        }
        gradients.reverse();
        Ok((divergences.iter().sum::<f64>() * scale, gradients.concat()))
    }

    /// The divergence of `blocks` from the teacher's states `teacher` `[T, hidden]`, at every token of one sequence.
    pub(crate) fn divergence(&self, blocks: &[Block], ids: &[u32], teacher: &Tensor) -> Result<Vec<f64>> {
        let embedded = self.decoder.embed(&self.embedding, ids);
        let through = |x: Tensor, b: &Block| self.decoder.block(b, &x, &[ids.len()], &mut |_, _| Ok(()));
        let x = blocks.iter().try_fold(embedded?, through)?;
        self.decoder.divergence(&self.divergence_law(), &x, teacher)
    }

    /// The blocks of this moment as they will be stored; later steps do not change them.
    pub(crate) fn snapshot(&self, dtype: &DType) -> Result<Vec<Block>> {
        self.blocks.iter().map(|b| b.snapshot()?.rounded(dtype)).collect()
    }

    fn divergence_law(&self) -> Divergence<'_> {
        Divergence { student: &self.head, teacher: &self.teacher, temperature: self.temperature }
    }
}

/// One block's forward pass: its weights then, its input, and its activations where they are kept.
struct Pass {
    block: Block,
    x: Tensor,
    tape: Option<Tape>,
}

/// The states of several sequences one after another.
pub(crate) fn stack(states: &[Tensor]) -> Result<Tensor> {
    Tensor::cat(states, 0).map_err(fault)
}

/// `block` with each of its tensors replaced by the next of `tensors`.
pub(crate) fn refill(block: &Block, tensors: &mut impl Iterator<Item = Tensor>) -> Result<Block> {
    block.map(&mut |_, _, _| tensors.next().ok_or_else(|| Fault::internal("fewer tensors than a block has")))
}

#[cfg(test)]
mod tests {
    use oops_core::BlockDims;
    use oops_model::values;

    use super::*;
    use crate::testkit::{block, config, noise};

    const DIMS: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 24 };

    fn student(kept_bytes: usize) -> Student {
        let config = config(16, vec![DIMS; 2]);
        let trainable = |seed| Trainable::new(&block(16, DIMS, seed), None, &mut Rng::new(1, "x")).unwrap();
        Student {
            decoder: Decoder::new(&config, 12).unwrap(),
            embedding: noise(&[50, 16], 7, 1.0),
            head: Head { norm: noise(&[16], 8, 1.0), weight: noise(&[50, 16], 9, 1.0) },
            teacher: noise(&[50, 16], 10, 1.0),
            temperature: 1.5,
            blocks: vec![trainable(1), trainable(2)],
            kept_bytes,
        }
    }

    #[test]
    fn gradients_are_the_slopes_of_the_mean_divergence_kept_or_computed_again() {
        let ids: Vec<u32> = (0..20).map(|i| i * 7 % 50).collect();
        let sequences = [&ids[..8], &ids[8..]];
        let teacher = noise(&[20, 16], 11, 1.0);
        let student = student(KEPT_BYTES);
        let (loss, gradients) = student.gradients(&sequences, &teacher).unwrap();
        let mean = || {
            let blocks = student.snapshot(&DType::F32).unwrap();
            let of = |ids: &[u32], start: usize| -> f64 {
                let teacher = teacher.narrow(0, start, ids.len()).unwrap();
                student.divergence(&blocks, ids, &teacher).unwrap().iter().sum()
            };
            (of(sequences[0], 0) + of(sequences[1], 8)) / 20.0
        };
        assert!((loss - mean()).abs() < 1e-6 * loss);
        let (again, recomputed) = self::student(0).gradients(&sequences, &teacher).unwrap();
        let all = |g: &[Tensor]| g.iter().map(|g| values(g).unwrap()).collect::<Vec<_>>();
        assert_eq!((loss, all(&gradients)), (again, all(&recomputed)));
        for (i, gradient) in gradients.iter().enumerate() {
            let size = values(gradient).unwrap().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            // Along the gradient itself the slope is its norm.
            let step = 1e-2 / size;
            let at = |sign: f64| {
                let weight = student.tensors().nth(i).unwrap();
                let shift = |by: f64| {
                    let moved = (weight + (gradient * by).unwrap()).unwrap();
                    weight.slice_set(&moved, 0, 0).unwrap();
                };
                let before = weight.copy().unwrap();
                shift(sign * step);
                let value = mean();
                weight.slice_set(&before, 0, 0).unwrap();
                value
            };
            let slope = (at(1.0) - at(-1.0)) / (2.0 * step * size);
            assert!((slope - size).abs() < 1e-2 * size, "tensor {i}: {slope} {size}");
        }
    }
}
