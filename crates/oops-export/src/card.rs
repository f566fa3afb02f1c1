//! The model card: what was cut, how it was measured, how to load it.

use std::fmt::Write as _;

use oops_artifact::Metrics;
use oops_core::{Digest, ModelDims};
use oops_model::ModelConfig;
use serde_json::{Map, Value};

use crate::{proof::Comparison, stage::Target};

/// What a card is made from.
pub(crate) struct Card<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) dense: Option<&'a ModelDims>,
    pub(crate) metrics: Option<&'a Metrics>,
    /// Of the model and of the dense one.
    pub(crate) digests: (Digest, Option<Digest>),
    pub(crate) target: &'a Target,
    pub(crate) comparison: &'a Comparison,
    pub(crate) licences: &'a [&'static str],
}

/// The text of the card. `write!` to a string cannot fail.
pub(crate) fn text(card: &Card<'_>) -> String {
    let mut out =
        String::from("---\npipeline_tag: text-generation\ntags:\n- pruned\n- oops\n---\n\n# Pruned model\n\n");
    let dims = &card.config.dims;
    let _ = writeln!(
        out,
        "A {:?} decoder with {} blocks, written by oops as {}, weights {}.\n",
        card.config.family,
        dims.blocks.len(),
        card.target.form,
        card.target.weights
    );
    size(&mut out, dims, card.dense);
    widths(&mut out, dims, card.dense);
    figures(&mut out, card);
    let _ = writeln!(out, "## How to load it\n\n{}\n", card.target.usage);
    for note in &card.target.notes {
        let _ = writeln!(out, "- {note}");
    }
    proof(&mut out, card.comparison);
    licence(&mut out, card.licences);
    let _ = writeln!(out, "\n## Provenance\n\n- model: `{}`", card.digests.0);
    if let Some(dense) = card.digests.1 {
        let _ = writeln!(out, "- pruned from: `{dense}`");
    }
    let _ = writeln!(out, "\nDigests are BLAKE3 of the artifacts in the store that made this folder.");
    out
}

fn size(out: &mut String, dims: &ModelDims, dense: Option<&ModelDims>) {
    let _ = writeln!(out, "## Size\n\n| | this model | dense | kept |\n| --- | ---: | ---: | ---: |");
    let mut row = |name: &str, of: &dyn Fn(&ModelDims) -> u64| {
        let (ours, theirs) = (of(dims), dense.map(of));
        let kept = theirs.map_or("–".to_owned(), |t| format!("{:.1} %", 100.0 * ours as f64 / t.max(1) as f64));
        let _ = writeln!(out, "| {name} | {ours} | {} | {kept} |", theirs.map_or("–".to_owned(), |t| t.to_string()));
    };
    row("linear weights of the blocks", &ModelDims::decoder_params);
    row("KV cache, bytes per token (f16)", &|d| d.kv_bytes_per_token(2));
    let _ = writeln!(out);
}

fn widths(out: &mut String, dims: &ModelDims, dense: Option<&ModelDims>) {
    let dense = dense.filter(|d| d.blocks.len() == dims.blocks.len());
    let _ =
        writeln!(out, "## Widths\n\n| block | query heads | KV heads | FFN channels |\n| ---: | ---: | ---: | ---: |");
    for (l, b) in dims.blocks.iter().enumerate() {
        let cell = |ours: usize, theirs: Option<usize>| match theirs {
            Some(t) => format!("{ours} of {t}"),
            None => ours.to_string(),
        };
        let d = dense.map(|d| d.blocks[l]);
        let (q, kv) = (cell(b.query_heads, d.map(|d| d.query_heads)), cell(b.kv_heads, d.map(|d| d.kv_heads)));
        let _ = writeln!(out, "| {l} | {q} | {kv} | {} |", cell(b.ffn, d.map(|d| d.ffn)));
    }
    let _ = writeln!(out);
}

/// Figures of this model and of the dense one, with their protocol.
fn figures(out: &mut String, card: &Card<'_>) {
    let Some(metrics) = card.metrics else { return };
    let of = |digest: Digest| {
        let same =
            |row: &&Map<String, Value>| row.get("model_digest").and_then(Value::as_str) == Some(&digest.to_string());
        metrics.models.iter().find(same)
    };
    let rows = [("this model", of(card.digests.0)), ("dense", card.digests.1.and_then(of))];
    if rows.iter().all(|r| r.1.is_none()) {
        return;
    }
    let _ = writeln!(out, "## Figures\n");
    for (name, row) in rows {
        let plain = |(k, v): (&String, &Value)| (v.is_number() || v.is_string()).then(|| format!("{k} {v}"));
        let shown = row.into_iter().flatten().filter(|(k, _)| *k != "model_digest").filter_map(plain);
        let shown: Vec<String> = shown.collect();
        if !shown.is_empty() {
            let _ = writeln!(out, "- {name}: {}", shown.join(", "));
        }
    }
    let protocol: Vec<String> = metrics.protocol.iter().map(|(k, v)| format!("{k} {v}")).collect();
    let _ = writeln!(out, "- protocol: {}\n", protocol.join(", "));
}

fn proof(out: &mut String, c: &Comparison) {
    let _ = writeln!(out, "\n## Verified\n");
    let positions: usize = c.sequences.iter().map(Vec::len).sum();
    let on = format!("on {} prompts ({positions} positions, prefill and three greedy steps)", c.sequences.len());
    let logit = c.max_abs_logit;
    let mut text = match c.max_abs_difference.zip(c.same_token) {
        Some((difference, same)) => format!(
            "Reopened with {} after writing, and compared with the model that it was made from {on}: largest difference of \
             a logit {difference:.2e} (largest logit {logit:.1}), most likely token the same at {:.1} % of positions. All \
             figures: `verify.json`.",
            c.runtime,
            100.0 * same
        ),
        None => format!(
            "Run with {} after writing, and compared with the model that it was made from {on}: every logit is within \
             {:.1e} of the model's (largest logit {logit:.1}). What was measured differs in the last bits from \
             machine to machine and is kept with the run; sequences and tolerance: `verify.json`.",
            c.runtime,
            c.tolerance.unwrap_or(f64::INFINITY)
        ),
    };
    if let Some([before, after]) = c.perplexity {
        let _ = write!(text, " Perplexity of the texts: {after:.4}, of the model {before:.4}.");
    }
    if !c.other_tokens.is_empty() {
        let texts: Vec<String> = c.other_tokens.iter().map(|t| format!("{t:?}")).collect();
        let _ =
            write!(text, " Of these texts the target makes other tokens, for the reasons above: {}.", texts.join("; "));
    }
    let _ = writeln!(out, "{text}");
}

fn licence(out: &mut String, files: &[&str]) {
    let _ = writeln!(out, "\n## Licence\n");
    let _ = match files {
        [] => writeln!(out, "That of the model it was pruned from, which came without a licence file."),
        some => writeln!(out, "That of the model it was pruned from: {}.", some.join(", ")),
    };
}
