//! Next-token losses of packed sequences and their gradient at the last residual stream, a few rows of logits at a time.

use candle_core::Tensor;
use oops_core::{Fault, Result, bail_if};

use super::{Decoder, check_ids, fast::matrix, flat::flat};
use crate::{kernels, lift::Lift};

/// Logits that exist at once: 64 MiB of them.
const LOGITS: usize = 1 << 24;

impl Decoder {
    /// L_b = Σ_t −ln p(token t+1 | tokens 0..=t) of every sequence in nats, and the gradient of Σ_b L_b at `x`.
    ///
    /// `x` is `[N, hidden]`, the stream after the last block: sequences of `lengths` tokens one after the other, whose
    /// tokens are `ids` (N of them, below `head`'s vocab). A sequence's last token predicts nothing: its row gets 0.
    /// `final_norm` `[hidden]`, `head` `[vocab, hidden]`. Logits are computed in pieces of rows, never as a whole.
    pub fn next_token_grad(
        &self,
        final_norm: &Tensor,
        head: &Tensor,
        x: &Tensor,
        ids: &[u32],
        lengths: &[usize],
    ) -> Result<(Vec<f64>, Tensor)> {
        let (rows, vocab) = (x.dim(0).lift()?, head.dim(0).lift()?);
        let fits = lengths.iter().sum::<usize>() == rows && ids.len() == rows && x.dims() == [rows, self.hidden];
        bail_if(!fits || head.dims() != [vocab, self.hidden], || {
            Fault::internal(format!("{} tokens, hidden states {:?}, head {:?}", ids.len(), x.dims(), head.dims()))
        })?;
        check_ids(ids, vocab)?;
        let ends: Vec<usize> = lengths.iter().scan(0, |end, n| Some(std::mem::replace(end, *end + n) + n)).collect();
        let predicting: Vec<usize> = (0..rows).filter(|r| ends.binary_search(&(r + 1)).is_err()).collect();
        let (x, norm, head) = (flat(x)?, flat(final_norm)?, flat(head)?);
        let mut losses = vec![0.0; lengths.len()];
        let mut grad = vec![0.0; rows * self.hidden];
        for piece in predicting.chunks((LOGITS / vocab.max(1)).clamp(16, 1024)) {
            let inputs: Vec<f32> =
                piece.iter().flat_map(|&r| &x[r * self.hidden..(r + 1) * self.hidden]).copied().collect();
            let targets: Vec<u32> = piece.iter().map(|&r| ids[r + 1]).collect();
            let (loss, slopes) = self.rows_grad(&norm, &head, &inputs, &targets);
            for ((&r, loss), slope) in piece.iter().zip(loss).zip(slopes.chunks_exact(self.hidden.max(1))) {
                losses[ends.partition_point(|&end| end <= r)] += loss;
                grad[r * self.hidden..(r + 1) * self.hidden].copy_from_slice(slope);
            }
        }
        Ok((losses, matrix(grad, rows, self.hidden)?))
    }

    /// Losses of rows `x` `[targets.len(), hidden]`, and the gradient of their sum.
    fn rows_grad(&self, norm: &[f32], head: &[f32], x: &[f32], targets: &[u32]) -> (Vec<f64>, Vec<f32>) {
        let (rows, vocab) = (targets.len(), head.len() / self.hidden.max(1));
        let mut h = vec![0.0; x.len()];
        kernels::rms_norm(x, norm, self.norm_eps, &mut h);
        let mut logits = kernels::linear(&h, rows, head, None, vocab);
        let losses = kernels::row_losses_grad(&mut logits, vocab, targets);
        h.fill(0.0);
        kernels::linear_grad(&mut h, &logits, rows, head, vocab);
        (losses, kernels::rms_norm_grad(x, norm, &h, self.norm_eps).0)
    }
}
