//! A whole model in memory, read and continued token by token.

use candle_core::Tensor;
use oops_core::{Fault, Result, bail_if};

use super::{Decoder, KvCache, cached, check_ids, fast::normed, flat::flat};
use crate::{Block, Checkpoint, ModelConfig, kernels};

/// Tokens that go through the blocks together: a long prompt takes no more activations than this many tokens do.
const TOKENS_AT_ONCE: usize = 512;

/// All weights of a model, f32, for decoding: streaming them from disk for every token would be what is measured.
///
/// Memory while decoding: [`LoadedModel::weight_bytes`], the caches ([`KvCache`]), and activations of at most 512 tokens.
pub struct LoadedModel {
    config: ModelConfig,
    decoder: Decoder,
    embedding: Tensor,
    blocks: Vec<Block>,
    final_norm: Tensor,
    /// The embedding itself (not a copy) when tied.
    head: Tensor,
}

impl LoadedModel {
    /// Reads all weights, for sequences of up to `max_tokens` tokens.
    pub fn load(checkpoint: &Checkpoint, max_tokens: usize) -> Result<Self> {
        let config = checkpoint.config().clone();
        let embedding = checkpoint.embedding()?;
        let head = if config.dims.tied { embedding.clone() } else { checkpoint.head()? };
        let blocks = (0..config.dims.blocks.len()).map(|l| checkpoint.block(l)).collect::<Result<Vec<_>>>()?;
        blocks.iter().try_for_each(|b| b.check(config.dims.hidden))?;
        let decoder = Decoder::new(&config, max_tokens)?;
        Ok(Self { decoder, embedding, blocks, final_norm: checkpoint.final_norm()?, head, config })
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes of all weights in memory: 4 each, a tied head once.
    pub fn weight_bytes(&self) -> u64 {
        let head = (!self.config.dims.tied).then_some(&self.head);
        let outer = [&self.embedding, &self.final_norm].into_iter().chain(head);
        let all = outer.chain(self.blocks.iter().flat_map(Block::tensors));
        all.map(|t| 4 * t.elem_count() as u64).sum()
    }

    /// An empty cache for a sequence of up to `tokens` tokens.
    pub fn cache(&self, tokens: usize) -> KvCache {
        KvCache::new(&self.config.dims, tokens)
    }

    /// Reads `ids` behind what `cache` holds: the logits behind the last of them, `[vocab]`.
    ///
    /// The logits are those of the whole sequence at once, but for the order of sums. `cache` must be of this model; after a
    /// fault it is of no more use.
    pub fn extend(&self, cache: &mut KvCache, ids: &[u32]) -> Result<Vec<f32>> {
        let (held, room) = (cache.tokens, cache.capacity.min(self.decoder.rope.positions()));
        bail_if(ids.is_empty() || held + ids.len() > room || cache.blocks.len() != self.blocks.len(), || {
            Fault::internal(format!("{} tokens behind {held}, with room for {room}", ids.len()))
        })?;
        check_ids(ids, self.config.dims.vocab)?;
        // Inside the pool: entered anew for every product, it would cost more than a small product does.
        rayon::scope(|_| self.extend_in_pool(cache, ids))
    }

    fn extend_in_pool(&self, cache: &mut KvCache, ids: &[u32]) -> Result<Vec<f32>> {
        let mut last = Vec::new();
        for ids in ids.chunks(TOKENS_AT_ONCE) {
            let mut x = flat(&self.decoder.embed(&self.embedding, ids)?)?.to_vec();
            for (block, kept) in self.blocks.iter().zip(&mut cache.blocks) {
                x = cached::block(&self.decoder, block, &x, cache.tokens, kept)?;
            }
            cache.tokens += ids.len();
            last = x.split_off(x.len() - self.config.dims.hidden);
        }
        let h = normed(&self.decoder, &last, &self.final_norm)?;
        Ok(kernels::linear_few(&h, 1, &flat(&self.head)?, None, self.config.dims.vocab))
    }
}
