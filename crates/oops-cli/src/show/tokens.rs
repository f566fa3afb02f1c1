//! Token sets: where they come from, how long sequences are, and what the first ones say.

use oops_artifact::{Kind, TokenSet, TokensInfo};
use oops_core::Result;
use oops_model::{Checkpoint, Tokenizer};
use serde_json::{Value, json};

use super::{numbers::range, view::View};
use crate::recorded::{Entry, Shelf};

/// Sequences that are shown.
const SEQUENCES: usize = 5;
/// Tokens of each that are shown.
const TOKENS: usize = 24;

/// Facts, and the beginning of the first sequences.
pub(super) fn view(shelf: &Shelf, entry: &Entry) -> Result<View> {
    let set = TokenSet::read(&entry.artifact)?;
    let info = &set.info;
    let lengths: Vec<f64> = set.sequences.iter().map(|s| s.len() as f64).collect();
    let tokenizer = tokenizer(shelf, entry);
    let row = |(i, (tokens, offset)): (usize, (&Vec<u32>, &u64))| {
        let first = &tokens[..tokens.len().min(TOKENS)];
        let text = tokenizer.as_ref().and_then(|t| t.decode(first).ok());
        let ids = || first.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let more = if tokens.len() > TOKENS { "…" } else { "" };
        vec![
            json!(i),
            json!(offset),
            json!(tokens.len()),
            json!(format!("{}{more}", text.map_or_else(ids, |t| t.escape_debug().collect()))),
        ]
    };
    let rows = set.sequences.iter().zip(&set.offsets).enumerate().take(SEQUENCES).map(row).collect();
    Ok(View::default()
        .fact("text", format!("{} ({})", shelf.texts.name(&info.texts), info.text_digest().short()))
        .fact("documents", info.documents)
        .fact("rows without text", info.nulls)
        .fact("tokens of the text", info.text_tokens)
        .fact("packing", info.packing.as_str())
        .fact("between documents", between(info))
        .fact("BOS", info.bos)
        .fact("EOS", info.eos)
        .fact("sequences", info.sequences)
        .fact("tokens", info.tokens)
        .fact("tokens per sequence", lengths_shown(&range(&lengths)))
        .fact("vocabulary", info.vocab)
        .table("first sequences", &["sequence", "at token", "tokens", "text"], rows))
}

/// What stands between documents.
fn between(info: &TokensInfo) -> String {
    info.separator.as_ref().map_or("nothing".to_owned(), |s| format!("{s:?}"))
}

fn lengths_shown(range: &[Value; 3]) -> String {
    let [least, median, greatest] = range.each_ref().map(|v| v.as_f64().unwrap_or_default() as usize);
    if least == greatest { format!("{least}") } else { format!("{least}–{greatest}, median {median}") }
}

/// The tokenizer of the model that the set was made with; none if that is gone.
fn tokenizer(shelf: &Shelf, entry: &Entry) -> Option<Tokenizer> {
    let ancestry = shelf.ancestry(entry);
    let model = ancestry.iter().find(|e| e.artifact.kind == Kind::Model)?;
    Checkpoint::open(&model.artifact.paths).ok()?.tokenizer().ok()
}
