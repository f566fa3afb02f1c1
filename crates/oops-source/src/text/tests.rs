//! The stage over small files with the tokenizer of the embedded model.

use std::{fs, path::PathBuf, sync::atomic::AtomicBool};

use oops_artifact::{Artifact, Entry, Tree};
use oops_core::Rng;
use oops_stage::{NoProgress, SourceFile};
use serde_json::{Value, json};

use super::*;

/// The embedded model.
fn model() -> Artifact {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/model");
    let paths = Checkpoint::files(&folder).unwrap().into_iter().collect();
    Artifact { kind: Kind::Model, tree: Tree::default(), paths }
}

fn tokenizer() -> Tokenizer {
    Checkpoint::open(&model().paths).unwrap().tokenizer().unwrap()
}

/// What a run of the stage gives: the token set, its tree, and the warnings.
struct Ran {
    set: TokenSet,
    tree: Digest,
    warnings: Vec<String>,
}

const SEED: u64 = 17;

/// Runs the stage over what `path` names in the folder.
fn run(folder: &tempfile::TempDir, parameters: Value) -> Result<Ran> {
    let params: Params = serde_json::from_value(parameters).unwrap();
    SourceText::check(&params, &PortFacts::default(), &[])?;
    let source = |s: Source| {
        let bytes = fs::read(&s.path).unwrap();
        let entry = Entry { digest: Digest::of(&bytes), bytes: bytes.len() as u64 };
        SourceFile { name: s.name, path: s.path, entry }
    };
    let sources = SourceText::sources(&params, folder.path())?.into_iter().map(source).collect();
    let inputs = Inputs { ports: [("model".to_owned(), vec![model()])].into(), sources };
    let (work, cancel) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    let cx = Cx::new(SEED, Workdir::open(work.path()).unwrap(), &NoProgress, &cancel);
    SourceText::run(&params, &inputs, &cx)?;
    let done = cx.work.finish();
    let artifact = Artifact { kind: Kind::Tokens, tree: done.tree, paths: done.fresh };
    Ok(Ran { set: TokenSet::read(&artifact)?, tree: artifact.tree.digest(), warnings: cx.warnings() })
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

const STORY: &str =
    "Once upon a time a brave mouse lived by the mill.\nEvery night it dreamed of a silver doll.\n\nThe end.";
const ROWS: &str =
    "{\"text\": \"The cow said moo.\"}\n{\"text\": null}\n{\"text\": \"\"}\n{\"text\": \"A hedgehog\\nslept.\"}\n";

#[test]
fn packed_sequences_tile_the_text_and_drop_the_tail() {
    let folder = folder(&[("t.txt", STORY)]);
    let ids = tokenizer().encode(STORY).unwrap();
    let bos = tokenizer().bos().unwrap();
    let set = run(&folder, json!({ "path": "t.txt", "sequence_tokens": 8, "bos": true })).unwrap().set;
    let expected: Vec<Vec<u32>> = ids.chunks_exact(7).map(|c| [&[bos], c].concat()).collect();
    assert_eq!((set.sequences, set.offsets[1], set.info.text_tokens), (expected, 7, ids.len()));
    let short = run(&folder, json!({ "path": "t.txt", "sequence_tokens": 800 })).err().unwrap();
    assert!(short.what().contains("less than one sequence of 800"), "{short}");
    let few = run(&folder, json!({ "path": "t.txt", "sequence_tokens": 8, "sequences": 99, "packing": "packed" }));
    assert!(few.err().unwrap().what().contains("not 99"));
}

#[test]
fn random_sequences_follow_the_seed() {
    let folder = folder(&[("t.txt", STORY)]);
    let ids = tokenizer().encode(STORY).unwrap();
    let set = run(&folder, json!({ "path": "t.txt", "sequence_tokens": 4, "sequences": 500 })).unwrap().set;
    let mut rng = Rng::new(SEED, "source.text");
    for (sequence, offset) in set.sequences.iter().zip(&set.offsets) {
        let start = rng.below(ids.len() - 3);
        assert_eq!((*offset, &sequence[..]), (start as u64, &ids[start..start + 4]));
    }
    assert!(set.offsets.contains(&(ids.len() as u64 - 4)), "the last start is reachable");
    assert_eq!((set.info.seed, set.info.packing.as_str()), (Some(SEED), "random"));
}

#[test]
fn documents_are_joined_as_they_are_told() {
    let folder = folder(&[("t.jsonl", ROWS)]);
    let encode = |text: &str| tokenizer().encode(text).unwrap();
    let eos = Checkpoint::open(&model().paths).unwrap().config().eos[0];
    let rows = ["The cow said moo.", "", "A hedgehog\nslept."];
    let alone = rows.map(encode);
    let packed = |more: Value| {
        let mut parameters = json!({ "path": "t.jsonl", "sequence_tokens": 2, "packing": "packed" });
        parameters.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        run(&folder, parameters)
    };
    let tokens = |more: Value| packed(more).unwrap().set.sequences.concat();
    let even = |mut ids: Vec<u32>| {
        ids.truncate(ids.len() / 2 * 2);
        ids
    };
    assert_eq!(tokens(json!({})), even(encode(&rows.join("\n\n"))), "the field's string");
    assert_eq!(tokens(json!({ "separator": " | " })), even(encode(&rows.join(" | "))));
    assert_eq!(tokens(json!({ "separator": "" })), even(alone.concat()));
    let ended = alone.iter().flat_map(|d| d.iter().copied().chain([eos])).collect();
    assert_eq!(tokens(json!({ "eos": true })), even(ended));
    let info = packed(json!({})).unwrap().set.info;
    assert_eq!((info.separator.as_deref(), info.documents, info.nulls), (Some("\n\n"), 3, 1));
    assert!(packed(json!({ "eos": true, "separator": "x" })).err().unwrap().what().contains("two ways"));
    let parted = packed(json!({ "packing": "documents", "separator": "x" })).err().unwrap();
    assert!(parted.what().contains("a sequence of its own"), "{parted}");
}

#[test]
fn documents_are_sequences_cut_at_their_length() {
    let folder = folder(&[("t.jsonl", ROWS)]);
    let (first, second) =
        (tokenizer().encode("The cow said moo.").unwrap(), tokenizer().encode("A hedgehog\nslept.").unwrap());
    let set = run(&folder, json!({ "path": "t.jsonl" })).unwrap().set;
    assert_eq!((set.sequences, set.offsets), (vec![first.clone(), second], vec![0, first.len() as u64]));
    let eos = Checkpoint::open(&model().paths).unwrap().config().eos[0];
    let one = json!({ "path": "t.jsonl", "sequence_tokens": 3, "sequences": 1, "packing": "documents", "eos": true });
    assert_eq!(run(&folder, one).unwrap().set.sequences, [first[..3].to_vec()], "cut, so its end is not there");
    let whole = json!({ "path": "t.jsonl", "sequences": 1, "eos": true });
    assert_eq!(run(&folder, whole).unwrap().set.sequences, [[&first[..], &[eos]].concat()]);
}

#[test]
fn what_was_hardly_meant_is_said() {
    let lines = "{\"text\": \"The cow said moo.\"}\n{\"text\": \"A hedgehog slept.\"}\n";
    let folder = folder(&[("t.jsonl", ROWS), ("lines.jsonl", lines)]);
    let warnings = |parameters| run(&folder, parameters).unwrap().warnings.join("\n");
    let all = warnings(json!({ "path": "t.jsonl", "sequences": 64 }));
    assert!(all.contains("1 rows have no text under `text`") && all.contains("only 2 documents"), "{all}");
    let joined = warnings(json!({ "path": "lines.jsonl", "sequence_tokens": 4 }));
    assert!(joined.contains("2 documents without a single line break were joined by blank lines"), "{joined}");
    for more in [json!({ "separator": "" }), json!({ "separator": "\n\n" }), json!({ "eos": true })] {
        let mut parameters = json!({ "path": "lines.jsonl", "sequence_tokens": 4 });
        parameters.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        assert_eq!(warnings(parameters), "", "{more}");
    }
}

#[test]
fn the_name_of_a_file_its_line_ends_and_mark_change_nothing() {
    let crlf = format!("\u{feff}{}", STORY.replace('\n', "\r\n"));
    let folder = folder(&[("a.txt", STORY), ("sub/b.TXT", STORY), ("c.txt", &crlf)]);
    let ran = |path: &str| run(&folder, json!({ "path": path, "sequence_tokens": 8 })).unwrap();
    assert_eq!(ran("a.txt").tree, ran("sub/b.TXT").tree);
    assert_eq!(ran("a.txt").tree, ran("sub").tree, "a folder of one file");
    assert_eq!(ran("a.txt").set.sequences, ran("c.txt").set.sequences);
}

#[test]
fn several_files_are_one_text_in_the_order_of_their_names() {
    let folder = folder(&[
        ("c/2.txt", "two"),
        ("c/1.txt", "one"),
        ("c/10.jsonl", "{\"text\": \"ten\"}"),
        ("c/README.md", "no text"),
        ("c/.hidden.txt", "hidden"),
        ("c/deep/3.txt", "three"),
        ("empty/x.md", ""),
        ("odd[1].txt", "odd"),
    ]);
    let encode = |text: &str| tokenizer().encode(text).unwrap();
    let read = |path: Value| {
        let set = run(&folder, json!({ "path": path, "sequence_tokens": 2, "packing": "packed" }))?.set;
        Ok::<_, Fault>((set.info.documents, set.info.text_tokens, set.info.texts.len()))
    };
    let joined = |names: &[&str]| (names.len(), encode(&names.join("\n\n")).len(), 1);
    assert_eq!(read(json!("c")).unwrap(), joined(&["one", "ten", "two"]));
    assert_eq!(read(json!("c/*.txt")).unwrap(), joined(&["one", "two"]));
    assert_eq!(read(json!("**/[0-9].txt")).unwrap(), joined(&["one", "two", "three"]));
    assert_eq!(read(json!(["c/2.txt", "c/1.txt"])).unwrap(), joined(&["two", "one"]));
    assert_eq!(read(json!("odd[1].txt")).unwrap(), joined(&["odd"]), "the file of that name comes first");
    let fault = |path: Value| read(path).unwrap_err().to_string();
    assert!(fault(json!("empty")).contains("the folder holds no text file"));
    assert!(fault(json!("*.parquet")).contains("no file fits the pattern"));
    assert!(fault(json!("c/README.md")).contains("unknown ending"));
    assert!(fault(json!("nowhere.txt")).contains("no such file"));
    assert!(fault(json!([])).contains("names no file"));
    let files = [folder.path().join("c/1.txt"), folder.path().join("c/2.txt")];
    assert_eq!(text_name(files.iter().map(PathBuf::as_path)), "c/ (2 files)");
}

#[test]
fn a_tokenizer_spells_what_it_made() {
    let folder = folder(&[("t.txt", STORY)]);
    let set = run(&folder, json!({ "path": "t.txt", "sequence_tokens": 8 })).unwrap().set;
    assert_eq!(set.spellings.len(), set.ids().len());
    let first = set.sequences[0][0];
    assert_eq!(set.spellings[&first], tokenizer().token(first).unwrap());
    set.check_for(&Checkpoint::open(&model().paths).unwrap()).unwrap();
}
