//! The tokenizer: byte-level BPE trained on generated stories.

use oops_core::{Fault, Result};
use tokenizers::{
    AddedToken, TokenizerBuilder,
    decoders::byte_level::ByteLevel as Decoder,
    models::bpe::{BPE, BpeTrainer},
    normalizers::NFC,
    pre_tokenizers::byte_level::ByteLevel,
    processors::template::TemplateProcessing,
};

use crate::grammar::story;

/// Begins every story.
pub(crate) const BOS: (&str, u32) = ("<s>", 0);
/// Ends every story.
pub(crate) const EOS: (&str, u32) = ("</s>", 1);
/// Tokens: the two above, 256 bytes, and merges.
pub(crate) const VOCAB: usize = 1024;
/// Stories that the merges are counted on.
const STORIES: u64 = 4000;

/// The text of a `tokenizer.json` whose merges come from the first stories of `seed`.
pub(crate) fn train(seed: u64) -> Result<String> {
    let fault = |e: tokenizers::Error| Fault::internal(format!("training the tokenizer: {e}"));
    let template = TemplateProcessing::builder()
        .try_single(format!("{} $A", BOS.0))
        .and_then(|t| t.special_tokens(vec![BOS]).build().map_err(|e| e.to_string()))
        .map_err(|e| Fault::internal(format!("training the tokenizer: {e}")))?;
    let level = ByteLevel::default().add_prefix_space(false);
    let mut tokenizer = TokenizerBuilder::<BPE, NFC, ByteLevel, TemplateProcessing, Decoder>::new()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(level))
        .with_post_processor(Some(template))
        .with_decoder(Some(Decoder::default()))
        .build()
        .map_err(fault)?;
    let special = [BOS.0, EOS.0].map(|token| AddedToken::from(token, true));
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(VOCAB)
        .special_tokens(special.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, (0..STORIES).map(|i| story(seed, i))).map_err(fault)?;
    tokenizer.to_string(true).map_err(fault)
}
