//! `source.text`: text files, tokenised with the model's tokenizer and cut into sequences.
//!
//! Documents are joined by `separator` before they are tokenised, as one string. The default is a blank line, with which
//! perplexities of data sets are published.
//! With `eos: true`, and with an empty separator, each document is tokenised by itself and its tokens are put one after
//! another. Files are read and tokenised part by part; ids of a long document are the same as in one piece.

mod collect;
mod params;
mod paths;
mod spool;
mod stream;

use std::path::Path;

use oops_artifact::{Kind, TokenSet, TokensInfo, text_digest};
use oops_core::{Digest, Fault, Result, bail_if};
use oops_model::{Checkpoint, Tokenizer};
use oops_stage::{Cx, Facts, Inputs, Needs, Port, PortFacts, Source, Stage, TokensFacts, Workdir, peak_rss_bytes};

use crate::read::{Message, Reader, ending};
use collect::{Collector, Marks};
use params::{Packing, Params};
use spool::Spool;

pub use paths::text_name;

/// Memory for a tokenizer of a large vocabulary and the parts of a text that it holds, as measured.
const BASE_BYTES: u64 = 200 << 20;
/// Memory for a token of a sequence, in memory and in the columns that are written.
const TOKEN_BYTES: u64 = 24;

/// A token set.
pub struct SourceText;

impl Stage for SourceText {
    type Params = Params;
    const NAME: &'static str = "source.text";
    /// 2: rows are joined by a separator; line ends and byte order marks are no text; file names are not kept.
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "text, tokenised with the model's tokenizer and cut into sequences";
    const INPUTS: &'static [Port] = &[Port::one("model", Kind::Model)];
    const OUTPUT: Kind = Kind::Tokens;
    const SEEDED: bool = true;
    const UNKEYED: &'static [&'static str] = &["path"];

    /// Names are numbers, since a renamed text is the same text; the ending says how a file is read.
    fn sources(params: &Params, base: &Path) -> Result<Vec<Source>> {
        let files = params.path.files(base)?;
        let several = files.len() > 1;
        let named = |(i, path): (usize, std::path::PathBuf)| {
            let (number, ending) = (if several { format!("-{i:05}") } else { String::new() }, ending(&path));
            Source { name: format!("text{number}.{}", ending.unwrap_or_default()), path }
        };
        Ok(files.into_iter().enumerate().map(named).collect())
    }

    fn check(params: &Params, _: &PortFacts, _: &[Source]) -> Result<Facts> {
        params.check()?;
        let shape = params.sequences.zip(params.sequence_tokens);
        let tokens = shape.map(|(sequences, sequence_tokens)| TokensFacts { sequences, sequence_tokens });
        Ok(Facts { tokens, ..Facts::default() })
    }

    /// Memory: the tokenizer and the parts of the text that are in it, whatever the length of the text; and the sequences.
    fn needs(params: &Params, _: &PortFacts) -> Needs {
        let shape = params.sequences.zip(params.sequence_tokens);
        let memory_bytes = shape.map(|(sequences, tokens)| BASE_BYTES + TOKEN_BYTES * (sequences * tokens) as u64);
        Needs { memory_bytes, ..Needs::default() }
    }

    fn run(params: &Params, inputs: &Inputs, cx: &Cx<'_>) -> Result<()> {
        let checkpoint = Checkpoint::open(&inputs.one("model")?.paths)?;
        let tokenizer = checkpoint.tokenizer()?;
        let spool = Spool::new(cx.work.path(&Workdir::state("tokens.u32")));
        let mut collector = Collector::new(params, marks(params, &checkpoint, &tokenizer)?, &tokenizer, spool);
        read(params, inputs, &checkpoint, &mut collector, cx)?;
        let paths = || inputs.sources.iter().map(|s| s.path.as_path());
        let place = || paths().next().map(|p| p.display().to_string()).unwrap_or_default();
        bail_if(collector.tokens == 0, || Fault::data("the text is empty").at(place()))?;
        let (offsets, sequences) = collector.sequences(cx.seed).map_err(|f| f.at(place()))?;
        warn(params, &collector, sequences.len(), cx);
        cx.measure("text", text_name(paths()));
        cx.measure("peak_rss_bytes", peak_rss_bytes());
        let digests: Vec<Digest> = inputs.sources.iter().map(|s| s.entry.digest).collect();
        let joined = params.joined().filter(|_| collector.documents > 1);
        let info = TokensInfo {
            texts: vec![text_digest(&digests)],
            documents: collector.documents,
            nulls: collector.nulls,
            text_tokens: collector.tokens as usize,
            bos: params.bos,
            eos: params.eos,
            separator: joined.map(str::to_owned),
            packing: params.packing().name().to_owned(),
            seed: (params.packing() == Packing::Random).then_some(cx.seed),
            sequence_tokens: params.sequence_tokens,
            sequences: sequences.len(),
            tokens: sequences.iter().map(Vec::len).sum(),
            vocab: tokenizer.vocab_size(),
        };
        let mut set = TokenSet { info, sequences, offsets, spellings: [].into() };
        set.spellings = set.ids().into_iter().filter_map(|id| Some((id, tokenizer.token(id)?))).collect();
        set.check_for(&checkpoint)?;
        set.write(&cx.work)
    }
}

/// The tokens that the parameters ask for.
fn marks(params: &Params, checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<Marks> {
    let need = |name: &str, wanted: bool, id: Option<u32>| {
        let missing = || {
            Fault::config(format!("`{name}: true`, but the model names no {} token", name.to_uppercase()))
                .help(format!("set `{name}: false`"))
        };
        wanted.then(|| id.ok_or_else(missing)).transpose()
    };
    Ok(Marks {
        bos: need("bos", params.bos, tokenizer.bos())?,
        eos: need("eos", params.eos, checkpoint.config().eos.first().copied())?,
    })
}

fn read(
    params: &Params,
    inputs: &Inputs,
    checkpoint: &Checkpoint,
    collector: &mut Collector<'_>,
    cx: &Cx<'_>,
) -> Result<()> {
    cx.progress.begin(inputs.sources.iter().map(|s| s.entry.bytes).sum(), "bytes");
    let render = |messages: &[Message]| {
        let pairs: Vec<(&str, &str)> = messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        checkpoint.chat_text(&pairs)
    };
    let advance = |bytes| {
        cx.progress.advance(bytes);
        cx.check_cancelled()
    };
    let reader = Reader { field: &params.text_field, render: &render, advance: &advance };
    for source in &inputs.sources {
        if !reader.read(&source.path, &mut |piece| collector.take(piece))? {
            break;
        }
    }
    collector.finish()
}

/// Says what the user may not have meant.
fn warn(params: &Params, collector: &Collector<'_>, sequences: usize, cx: &Cx<'_>) {
    let Collector { documents, nulls, has_lines, .. } = collector;
    if *nulls > 0 {
        cx.warn(format!("{nulls} rows have no text under `{}` (null) and were left out", params.text_field));
    }
    if let Some(wanted) = params.sequences.filter(|wanted| sequences < *wanted) {
        cx.warn(format!("`sequences: {wanted}`, but the text has only {sequences} documents that are not empty"));
    }
    // A text without any line end knows nothing of blank lines; a model that was made for it neither.
    if params.joined().is_some() && params.separator.is_none() && *documents > 1 && !has_lines {
        cx.warn(format!(
            "{documents} documents without a single line break were joined by blank lines, the default: set `separator` \
             (\"\" for nothing between documents, \"\\n\\n\" for what was done) or `eos: true`"
        ));
    }
}

#[cfg(test)]
mod tests;
