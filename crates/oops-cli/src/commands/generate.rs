//! `oops generate`: continues a prompt with a checkpoint, or with a model that a stage made.

use std::{io, path::Path, sync::atomic::Ordering};

use oops_artifact::Kind;
use oops_core::{Fault, Result, bail_if};
use oops_model::{Checkpoint, Generated, LoadedModel, Sampler, Stopped, TextStream, Tokenizer, room};
use oops_stage::Registry;
use serde::Serialize;

use crate::{
    args::{Generate, Pipeline},
    open::{self, Answer, Stop},
    platform::{CANCEL, catch_interrupt},
    show::line,
    terminal::{err, out, piece},
};

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    prompt_ids: &'a [u32],
    ids: &'a [u32],
    text: &'a str,
    stopped: &'static str,
    prefill: Speed,
    decode: Speed,
}

/// Tokens that were read in some time; no rate without tokens.
#[derive(Serialize)]
struct Speed {
    tokens: usize,
    seconds: f64,
    tokens_per_s: Option<f64>,
}

impl Speed {
    fn new(tokens: usize, seconds: f64) -> Self {
        Self { tokens, seconds, tokens_per_s: (tokens > 0).then(|| tokens as f64 / seconds) }
    }

    fn text(&self) -> String {
        let rate = self.tokens_per_s.map_or(String::new(), |rate| format!(" ({rate:.1} tokens/s)"));
        let tokens = if self.tokens == 1 { "token" } else { "tokens" };
        format!("{} {tokens} in {:.3} s{rate}", self.tokens, self.seconds)
    }
}

/// Runs the command.
pub(crate) fn generate(args: &Generate, cache: Option<&Path>, registry: &Registry) -> Answer {
    let mut sampler = Sampler::new(args.temperature, args.top_p, args.seed)?;
    let checkpoint = checkpoint(args, cache, registry)?;
    let tokenizer = checkpoint.tokenizer()?;
    let prompt = prompt(args, &checkpoint, &tokenizer)?;
    let tokens = args.tokens as usize;
    let room = room(checkpoint.config(), &prompt, tokens)?;
    let model = LoadedModel::load(&checkpoint, prompt.len() + room)?;
    catch_interrupt();
    let mut stream = TextStream::behind(&tokenizer, &prompt);
    let mut text = String::new();
    let mut show = |more: String| {
        if !args.json {
            piece(&more);
        }
        text.push_str(&more);
    };
    let made = oops_model::generate(&model, &prompt, tokens, &mut sampler, &mut |id| {
        show(stream.push(id)?);
        bail_if(CANCEL.load(Ordering::Relaxed), || Fault::interrupted("stopped"))
    });
    show(stream.finish()?);
    if !args.json {
        out("");
    }
    report(args, &prompt, &made?, &text)?;
    Ok(0)
}

fn report(args: &Generate, prompt: &[u32], made: &Generated, text: &str) -> Result<()> {
    let (prefill, decode) = (Speed::new(prompt.len(), made.prefill_s), Speed::new(made.decoded, made.decode_s));
    if !args.json {
        err(&format!("prefill {} · decode {} · {}", prefill.text(), decode.text(), why(made.stopped)));
        return Ok(());
    }
    let stopped = match made.stopped {
        Stopped::EndOfText => "eos",
        Stopped::Tokens => "tokens",
        Stopped::Context => "context",
    };
    out(&line(&Report { prompt_ids: prompt, ids: &made.ids, text, stopped, prefill, decode })?);
    Ok(())
}

fn why(stopped: Stopped) -> &'static str {
    match stopped {
        Stopped::EndOfText => "end of text",
        Stopped::Tokens => "stopped by --tokens",
        Stopped::Context => "stopped at the longest sequence that the model was made for",
    }
}

/// Tokens of the prompt.
fn prompt(args: &Generate, checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    if args.chat {
        return tokenizer.encode(&checkpoint.chat_prompt(&args.prompt)?);
    }
    tokenizer.prompt(&args.prompt)
}

/// The model: of a stage if one is named, else the checkpoint at the path.
fn checkpoint(args: &Generate, cache: Option<&Path>, registry: &Registry) -> std::result::Result<Checkpoint, Stop> {
    let yaml = args.model.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let Some(stage) = &args.stage else {
        bail_if(yaml, || {
            Fault::config("a pipeline file needs the stage whose model to use")
                .at(args.model.display())
                .help(format!("oops generate {} STAGE --prompt …; `oops dag` lists the stages", args.model.display()))
        })?;
        std::fs::metadata(&args.model).map_err(|e| not_there(&args.model, &e))?;
        return Ok(Checkpoint::open_path(&args.model)?);
    };
    if yaml {
        let graph = open::graph(&Pipeline { file: args.model.clone(), overrides: args.overrides.clone() }, registry)?;
        makes_model(stage, graph.nodes[graph.find(stage)?].stage.output())?;
    }
    let shelf = super::show::shelf(&args.model, &args.overrides, stage, cache, registry)?;
    let artifact = &shelf.get(stage)?.artifact;
    makes_model(stage, artifact.kind)?;
    Ok(Checkpoint::open(&artifact.paths).map_err(|f| f.at(format!("`{stage}`")))?)
}

fn makes_model(stage: &str, kind: Kind) -> Result<()> {
    bail_if(!matches!(kind, Kind::Model | Kind::Export), || {
        Fault::config(format!("`{stage}` makes {kind}")).help("name a stage that makes a model")
    })
}

fn not_there(path: &Path, e: &io::Error) -> Fault {
    Fault::reading(path, e).help("give a Hugging Face folder, a .gguf file, or a pipeline file and a stage")
}
