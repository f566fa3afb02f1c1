//! `eval.perplexity`: exp of the mean cross-entropy over all predicted tokens, L−1 per window. For windows of equal
//! length this is the field's mean over windows of their means; shorter documents weigh by their tokens.
//!
//! Models are streamed block by block over groups of windows, so memory is one block, one group's activations and one
//! chunk of logits.

use std::time::Instant;

use oops_artifact::{Artifact, Kind, Metrics, TokenSet};
use oops_core::{Fault, ModelDims, Result, Vocabulary, bail_if};
use oops_model::{Checkpoint, Decoder, cross_entropy};
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Sizes, Source, Stage, TokensFacts, peak_rss_bytes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::windows::{digest, groups, windows};

/// Tokens whose residual stream is held at a time.
const GROUP_TOKENS: usize = 1 << 16;
/// Tokens that go through a block, or through the head, together.
const BATCH_TOKENS: usize = 4096;
const LOGIT_ROWS: usize = 512;
/// Tokens per window if nothing is said and the models take so many.
const DEFAULT_WINDOW: usize = 2048;

/// Parameters of [`Perplexity`].
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Tokens per window, BOS included; windows do not overlap, tails are dropped, shorter documents stay whole. Default:
    /// 2048, or what the models were made for if that is less.
    window_tokens: Option<usize>,
    /// Windows that are used, from the start of the text; all without it.
    max_windows: Option<usize>,
}

impl Params {
    /// Tokens per window for models that were made for sequences of `context` tokens.
    fn window(&self, context: usize) -> usize {
        self.window_tokens.unwrap_or(DEFAULT_WINDOW.min(context))
    }

    /// The windows of a token set that are used, if all its sequences are as long as it says.
    fn used(&self, tokens: TokensFacts, context: usize) -> TokensFacts {
        let length = self.window(context).min(tokens.sequence_tokens);
        let windows = tokens.sequences * (tokens.sequence_tokens / length.max(1));
        TokensFacts { sequences: windows.min(self.max_windows.unwrap_or(usize::MAX)), sequence_tokens: length }
    }

    /// What the user may not have meant of the lengths of windows and sequences, for models with this context.
    fn warning(&self, tokens: Option<TokensFacts>, context: usize) -> Option<String> {
        let made_for = format!("{context} tokens that the models were made for (max_position_embeddings)");
        match (self.window_tokens, tokens.map(|t| t.sequence_tokens)) {
            (Some(window), length) if window.min(length.unwrap_or(window)) > context => Some(format!(
                "windows of {} tokens are longer than the {made_for}: set `window_tokens` to at most {context}",
                window.min(length.unwrap_or(window))
            )),
            (None, Some(length)) if length > context => Some(format!(
                "sequences of {length} tokens are longer than the {made_for} and are cut into windows of {}: set \
                 `window_tokens`, or `sequence_tokens` of source.text to at most {context}",
                self.window(context)
            )),
            _ => None,
        }
    }
}

/// The shortest context of the models, as far as it is known.
fn context(inputs: &PortFacts) -> Option<usize> {
    let models = inputs.0.get("models").map_or(&[][..], Vec::as_slice);
    models.iter().filter_map(|m| m.form.as_ref().map(|f| f.context)).min()
}

/// Perplexity of models on one token set.
pub struct Perplexity;

impl Stage for Perplexity {
    type Params = Params;
    const NAME: &'static str = "eval.perplexity";
    /// 2: every window begins with BOS where sequences do; the default window fits the model. 3: windows with BOS tile packed
    /// sequences without gaps.
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "perplexity over non-overlapping windows, with its protocol";
    const INPUTS: &'static [Port] = &[Port::many("models", Kind::Model), Port::one("tokens", Kind::Tokens)];
    const OUTPUT: Kind = Kind::Metrics;
    const ON_DEVICE: bool = true;

    fn check(params: &Params, inputs: &PortFacts, _: &[Source]) -> Result<Facts> {
        bail_if(params.window_tokens.is_some_and(|t| t < 2), || Fault::config("`window_tokens` must be at least 2"))?;
        bail_if(params.max_windows == Some(0), || Fault::config("`max_windows` must be at least 1"))?;
        let tokens = inputs.one("tokens").tokens;
        let warnings = context(inputs).and_then(|c| params.warning(tokens, c)).into_iter().collect();
        Ok(Facts { warnings, ..Facts::default() })
    }

    /// Memory: the residual stream of a group of windows and, in turn, the embedding, one block with a batch, the head with
    /// its logits. Nothing worth telling is written.
    fn needs(params: &Params, inputs: &PortFacts) -> Needs {
        let facts = inputs.0.get("models").map_or(&[][..], Vec::as_slice);
        let dims: Option<Vec<&ModelDims>> = facts.iter().map(Facts::dims_at_most).collect();
        let Some(dims) = dims else { return Needs::HEAVY };
        let context = context(inputs).unwrap_or(DEFAULT_WINDOW);
        let used = inputs.one("tokens").tokens.map(|t| params.used(t, context));
        let group = used.map_or(GROUP_TOKENS as u64, TokensFacts::count).min(GROUP_TOKENS as u64);
        let memory = |d: &&ModelDims| {
            let (sizes, batch) = (Sizes(d), group.min(BATCH_TOKENS.max(params.window(context)) as u64));
            let logits = 2 * 4 * (LOGIT_ROWS * d.vocab) as u64;
            sizes.stream(group) + (sizes.block() + sizes.inner(batch)).max(sizes.embedding() + logits)
        };
        let head = |d: &ModelDims| 2.0 * (d.vocab * d.hidden) as f64;
        let work = |used: TokensFacts| {
            dims.iter().map(|d| Sizes(d).forward(used) + head(d) * used.count() as f64).sum::<f64>()
        };
        Needs { heavy: true, memory_bytes: dims.iter().map(memory).max(), disk_bytes: Some(0), work: used.map(work) }
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let tokens = TokenSet::read(inputs.one("tokens")?)?;
        let models = inputs.many("models");
        let checkpoints: Vec<Checkpoint> =
            models.iter().map(|m| Checkpoint::open(&m.paths)?.on(cx.device)).collect::<Result<_>>()?;
        let window = params.window(checkpoints.iter().map(Vocabulary::context).min().unwrap_or(DEFAULT_WINDOW));
        bail_if(window < 2, || Fault::data("the models were made for sequences of one token"))?;
        let windows = windows(&tokens, window, params.max_windows);
        bail_if(windows.is_empty(), || {
            Fault::data("the token set gives no window of at least two tokens").help("use a longer text")
        })?;
        let groups = groups(&windows, GROUP_TOKENS);
        let steps: usize = checkpoints.iter().map(|c| (c.config().dims.blocks.len() + 1) * groups.len()).sum();
        cx.progress.begin(steps as u64, "blocks");
        let mut rows = Vec::new();
        for (i, (model, checkpoint)) in models.iter().zip(&checkpoints).enumerate() {
            tokens.check_for(checkpoint).map_err(|f| f.at(format!("model {}", i + 1)))?;
            let row = one_model(model, checkpoint, &groups, cx).map_err(|f| f.at(format!("model {}", i + 1)))?;
            rows.push(row);
        }
        cx.measure("peak_rss_bytes", peak_rss_bytes());
        Metrics { protocol: protocol(window, &tokens, &windows), models: rows }.write(&cx.work)
    }
}

/// Everything that a figure must share with another to compare; the digest of the windows tells apart what the rest does
/// not say. Texts are named by digest, since names of files change.
fn protocol(window: usize, tokens: &TokenSet, windows: &[Vec<u32>]) -> Map<String, Value> {
    let info = &tokens.info;
    let used: usize = windows.iter().map(Vec::len).sum();
    let entries = [
        ("texts", json!(info.texts)),
        ("text_digest", json!(info.text_digest())),
        ("text_tokens", json!(info.text_tokens)),
        ("packing", json!(info.packing)),
        ("separator", json!(info.separator)),
        ("eos", json!(info.eos)),
        ("seed", json!(info.seed)),
        ("window_tokens", json!(window)),
        ("windows", json!(windows.len())),
        ("windows_digest", json!(digest(windows))),
        ("tokens", json!(used)),
        ("predicted_tokens", json!(used - windows.len())),
        ("bos", json!(info.bos)),
        ("dtype", json!("f32")),
        ("aggregate", json!("exp of the mean cross-entropy over predicted tokens")),
    ];
    entries.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)).collect()
}

fn one_model(
    model: &Artifact,
    checkpoint: &Checkpoint,
    groups: &[&[Vec<u32>]],
    cx: &Cx<'_>,
) -> Result<Map<String, Value>> {
    let longest = groups.iter().flat_map(|g| g.iter()).map(Vec::len).max().unwrap_or(0);
    let decoder = Decoder::new(checkpoint.config(), longest)?;
    let start = Instant::now();
    let mut sum = 0.0;
    for group in groups {
        sum += total_loss(checkpoint, &decoder, group, cx)?;
    }
    let windows = || groups.iter().flat_map(|g| g.iter());
    let tokens: usize = windows().map(Vec::len).sum();
    let mean = sum / (tokens - windows().count()) as f64;
    cx.measure(&format!("tokens_per_s {}", model.digest().short()), tokens as f64 / start.elapsed().as_secs_f64());
    bail_if(!mean.is_finite(), || Fault::numerical("the cross-entropy is not finite"))?;
    Ok(Metrics::row(model, json!({ "perplexity": mean.exp(), "cross_entropy": mean, "tokens": tokens })))
}

/// Sum of the cross-entropies of all predicted tokens of a group.
fn total_loss(checkpoint: &Checkpoint, decoder: &Decoder, group: &[Vec<u32>], cx: &Cx<'_>) -> Result<f64> {
    let embedding = checkpoint.embedding()?;
    let batches = crate::windows::groups(group, BATCH_TOKENS);
    let lengths: Vec<Vec<usize>> = batches.iter().map(|b| b.iter().map(Vec::len).collect()).collect();
    let mut xs = batches.iter().map(|b| decoder.embed(&embedding, &b.concat())).collect::<Result<Vec<_>>>()?;
    drop(embedding);
    for l in 0..checkpoint.config().dims.blocks.len() {
        cx.check_cancelled()?;
        let block = checkpoint.block(l)?;
        for (x, lengths) in xs.iter_mut().zip(&lengths) {
            cx.check_cancelled()?;
            *x = decoder.block(&block, x, lengths, &mut |_, _| Ok(()))?;
        }
        cx.progress.advance(1);
    }
    let (norm, head) = (checkpoint.final_norm()?, checkpoint.head()?);
    let mut sum = 0.0;
    for (batch, x) in batches.iter().zip(&xs) {
        let mut at = 0;
        for window in *batch {
            cx.check_cancelled()?;
            // The last token predicts nothing.
            for (i, targets) in window[1..].chunks(LOGIT_ROWS).enumerate() {
                let rows = x
                    .narrow(0, at + i * LOGIT_ROWS, targets.len())
                    .map_err(|e| Fault::internal(format!("rows of the residual stream: {e}")))?;
                sum += cross_entropy(&decoder.logits(&norm, &head, &rows)?, targets)?.iter().sum::<f64>();
            }
            at += window.len();
        }
    }
    cx.progress.advance(1);
    Ok(sum)
}
