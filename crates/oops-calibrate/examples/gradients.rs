//! What a pass of `calibrate.gradients` costs, in seconds by part and in forward passes.
//!
//! `cargo run -p oops-calibrate --example gradients -- MODEL TEXT [SEQUENCES] [TOKENS]`; the text is cut into consecutive
//! sequences. Works in a temporary folder and removes it.

use std::{collections::BTreeMap, error::Error, fs, path::Path, sync::atomic::AtomicBool};

use oops_artifact::{Artifact, Kind, SUMMARY, TokenSet, TokensInfo, Tree};
use oops_calibrate::Gradients;
use oops_core::Digest;
use oops_model::Checkpoint;
use oops_stage::{Cx, Inputs, NoProgress, Stage, Workdir};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, rest @ ..] = &args[..] else { return Err("give a model and a text".into()) };
    let number = |i: usize, default: usize| rest.get(i).map_or(Ok(default), |v| v.parse());
    let work = std::env::temp_dir().join(format!("oops-gradients-example-{}", std::process::id()));
    let result = pass(Path::new(model), &fs::read_to_string(text)?, number(0, 8)?, number(1, 512)?, &work);
    fs::remove_dir_all(&work)?;
    result
}

#[expect(clippy::print_stdout, reason = "an example that prints what it measured")]
fn pass(model: &Path, text: &str, sequences: usize, tokens: usize, work: &Path) -> Result<(), Box<dyn Error>> {
    let files = Checkpoint::files(model)?.into_iter().collect();
    let ids = Checkpoint::open_path(model)?.tokenizer()?.encode(&text[..text.len().min(sequences * tokens * 8)])?;
    let ports = BTreeMap::from([
        ("model".to_owned(), vec![Artifact { kind: Kind::Model, tree: Tree::default(), paths: files }]),
        ("tokens".to_owned(), vec![token_set(&ids, sequences, tokens, work)?]),
    ]);
    let cancel = AtomicBool::new(false);
    let cx = Cx::new(0, Workdir::open(work.join("gradients"))?, &NoProgress, &cancel);
    let params: <Gradients as Stage>::Params = serde_json::from_str("{}")?;
    Gradients::run(&params, &Inputs { ports, sources: Vec::new() }, &cx)?;
    let summary: serde_json::Value = oops_artifact::json::read(&cx.work.path(SUMMARY))?;
    println!("mean loss {}", summary["mean_loss"]);
    cx.measured().iter().for_each(|(name, value)| println!("{name} {value}"));
    Ok(())
}

/// The first sequences of a text as an artifact.
fn token_set(ids: &[u32], sequences: usize, tokens: usize, work: &Path) -> Result<Artifact, Box<dyn Error>> {
    let sequences: Vec<Vec<u32>> = ids.chunks_exact(tokens).take(sequences).map(<[u32]>::to_vec).collect();
    let info = TokensInfo {
        text: "example".to_owned(),
        text_digest: Digest::of(b"example"),
        documents: 1,
        text_tokens: ids.len(),
        bos: false,
        packing: "packed".to_owned(),
        sequences: sequences.len(),
        tokens: sequences.len() * tokens,
        vocab: 0,
    };
    let folder = Workdir::open(work.join("tokens"))?;
    TokenSet { info, offsets: vec![0; sequences.len()], sequences }.write(&folder)?;
    let finished = folder.finish();
    Ok(Artifact { kind: Kind::Tokens, tree: finished.tree, paths: finished.fresh })
}
