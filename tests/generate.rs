//! `oops generate`, and the speeds that `eval.speed` measures, as a user sees them.

mod support;

use std::{fs, path::PathBuf};

use serde_json::Value;
use support::{Done, Place, data, fixtures};

fn dense() -> String {
    format!("{}/model", data())
}

fn ok(done: Done) -> Done {
    assert_eq!(done.code, 0, "{}", done.stderr);
    done
}

fn json(done: Done) -> Value {
    let done = ok(done);
    assert_eq!((done.stdout.lines().count(), done.stderr.as_str()), (1, ""));
    serde_json::from_str(&done.stdout).expect("JSON")
}

#[test]
fn text_goes_to_stdout_and_speeds_to_stderr() {
    let (place, model) = (Place::new(), dense());
    let prompt = ["generate", &model, "--prompt", "Once upon a time", "--tokens", "40"];
    let plain = ok(place.oops(&prompt));
    let told = json(place.oops(&[&prompt[..], &["--json"]].concat()));
    assert_eq!(plain.stdout, format!("{}\n", told["text"].as_str().unwrap()));
    assert!(plain.stderr.starts_with("prefill 5 tokens in ") && plain.stderr.contains("decode 39 tokens in "));
    assert_eq!((told["ids"].as_array().unwrap().len(), &told["stopped"]), (40, &Value::from("tokens")));
    for part in ["prefill", "decode"] {
        let [tokens, seconds, rate] = ["tokens", "seconds", "tokens_per_s"].map(|k| told[part][k].as_f64().unwrap());
        assert!(seconds > 0.0 && (tokens / seconds / rate - 1.0).abs() < 1e-9, "{told}");
    }
    let story = json(place.oops(&["generate", &model, "--prompt", "", "--tokens", "1000", "--json"]));
    assert_eq!((&story["stopped"], &story["prompt_ids"]), (&Value::from("eos"), &serde_json::json!([0])));
    assert!(!place.path("store").exists(), "a checkpoint needs no store");
}

#[test]
fn draws_depend_on_the_seed_and_not_on_threads() {
    let (place, model) = (Place::new(), dense());
    let run = |threads: &str, seed: &str| {
        let args = ["generate", &model, "--prompt", "Tom had", "--temperature", "1", "--top-p", "0.95", "--seed", seed];
        let out = place.command(&args).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(out.status.success());
        out.stdout
    };
    assert_eq!(run("1", "3"), run("2", "3"));
    assert_ne!(run("1", "3"), run("1", "4"));
}

#[test]
fn a_chat_template_makes_the_prompt() {
    let place = Place::new();
    for file in fs::read_dir(dense()).unwrap().flatten() {
        let to = place.path("chat").join(file.file_name());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file.path(), to).unwrap();
    }
    place.write("chat/chat_template.jinja", "{{ bos_token }}{{ messages[0]['content'] | trim }} said");
    let ids = |args: &[&str]| {
        let more = ["--tokens", "1", "--json"];
        json(place.oops(&[&["generate", "chat"], args, &more].concat()))["prompt_ids"].clone()
    };
    assert_eq!(ids(&["--prompt", " Tom ", "--chat"]), ids(&["--prompt", "Tom said"]));
}

/// Chat template and special tokens go through a GGUF file and what is pruned from it.
#[test]
fn a_chat_survives_a_gguf_file_and_what_is_pruned_from_it() {
    let place = Place::new();
    for file in fs::read_dir(dense()).unwrap().flatten() {
        let to = place.path("chat").join(file.file_name());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file.path(), to).unwrap();
    }
    let template =
        "{{ bos_token }}{% generation %}{{ messages[0]['content'] | trim }}{% endgeneration %} said{{ eos_token }}";
    place.write("chat/chat_template.jinja", template);
    place.write(
        "gguf.yaml",
        "version: 1\nstages:\n  dense: { use: source.model, with: { path: chat } }\n  \
         gguf: { use: export.gguf, in: { model: dense }, with: { format: f32 } }\n",
    );
    ok(place.oops(&["run", "gguf.yaml"]));
    ok(place.oops(&["show", "gguf.yaml", "gguf", "--out", "file"]));
    place.write(
        "pruned.yaml",
        "version: 1\nstages:\n  dense: { use: source.model, with: { path: file/model.gguf } }\n  \
         scores: { use: score.magnitude, in: { model: dense } }\n  \
         plan: { use: select.uniform, in: { model: dense, scores: scores }, with: { remove_fraction: 0.5 } }\n  \
         pruned: { use: reconstruct.none, in: { model: dense, plan: plan } }\n",
    );
    ok(place.oops(&["run", "pruned.yaml", "pruned"]));
    let ids = |model: &[&str]| {
        let more = ["--prompt", " Tom ", "--chat", "--tokens", "1", "--json"];
        json(place.oops(&[&["generate"], model, &more].concat()))["prompt_ids"].clone()
    };
    let before = ids(&["chat"]);
    assert_eq!((ids(&["file/model.gguf"]), ids(&["pruned.yaml", "pruned"])), (before.clone(), before));
    ok(place.oops(&["show", "pruned.yaml", "pruned", "--out", "copy"]));
    let said: Value = serde_json::from_slice(&fs::read(place.path("copy/generation_config.json")).unwrap()).unwrap();
    let dense: Value = serde_json::from_slice(&fs::read(place.path("chat/generation_config.json")).unwrap()).unwrap();
    assert_eq!(said["eos_token_id"], dense["eos_token_id"]);
}

#[test]
fn what_cannot_be_continued_says_why() {
    let (place, model) = (Place::new(), dense());
    let pipeline = place.write("p.yaml", &pipeline());
    let pipeline = pipeline.to_str().unwrap();
    let long = "Tom had ".repeat(600);
    let cases: [(&[&str], i32, &str); 9] = [
        (&["nowhere"], 3, "a pipeline file and a stage"),
        (&[&data()], 3, "give one of them: model"),
        (&[pipeline], 2, "needs the stage"),
        (&[pipeline, "size"], 2, "`size` makes metrics"),
        (&[pipeline, "dens"], 2, "did you mean `dense`"),
        (&[pipeline, "dense"], 3, "dense is not in the store"),
        (&[&model, "--chat"], 3, "no chat template"),
        (&[&model, "--prompt", &long], 2, "sequences of 1024"),
        (&[&model, "--top-p", "1.5"], 2, "top-p 1.5"),
    ];
    for (args, code, words) in cases {
        let prompt: &[&str] = if args.contains(&"--prompt") { &[] } else { &["--prompt", "x"] };
        let done = place.oops(&[&["generate"], args, prompt].concat());
        assert_eq!((done.code, done.stdout.as_str()), (code, ""), "{args:?}: {}", done.stderr);
        assert!(done.stderr.replace('`', "").contains(&words.replace('`', "")), "{args:?}: {}", done.stderr);
    }
}

/// Two models and their speed on short prompts.
fn pipeline() -> String {
    format!(
        "version: 1
stages:
  dense: {{ use: source.model, with: {{ path: {0}/model }} }}
  text: {{ use: source.text, in: {{ model: dense }}, with: {{ path: {0}/text/heldout.jsonl, separator: '', sequences: 4, sequence_tokens: 32 }} }}
  stats: {{ use: calibrate.activations, in: {{ model: dense, tokens: text }} }}
  scores: {{ use: score.magnitude, in: {{ model: dense }} }}
  plan: {{ use: select.uniform, in: {{ model: dense, scores: scores }}, with: {{ remove_fraction: 0.5 }} }}
  pruned: {{ use: reconstruct.none, in: {{ model: dense, plan: plan, stats: stats }} }}
  size: {{ use: eval.size, in: {{ models: dense }} }}
  speed: {{ use: eval.speed, in: {{ models: [dense, pruned] }}, with: {{ prompt_tokens: 48, decode_tokens: 4, repeats: 3 }} }}
",
        data()
    )
}

#[test]
fn a_model_of_the_store_is_that_of_its_folder() {
    let place = Place::new();
    let pipeline = place.write("p.yaml", &pipeline());
    place.run(&pipeline, &["pruned"]);
    let ids = |model: &[&str]| {
        let more = ["--prompt", "Tom had", "--tokens", "9", "--json"];
        json(place.oops(&[&["generate"], model, &more].concat()))["ids"].clone()
    };
    assert_eq!(ids(&["p.yaml", "dense"]), ids(&[&dense()]));
    assert_ne!(ids(&["p.yaml", "pruned"]), ids(&[&dense()]));
    assert_eq!(ok(place.oops(&["show", "p.yaml", "pruned", "--out", "copy"])).code, 0);
    assert_eq!(ids(&["p.yaml", "pruned"]), ids(&["copy"]));
}

#[test]
fn speeds_lie_beside_an_artifact_that_is_the_same_each_time() {
    let place = Place::new();
    let pipeline = place.write("p.yaml", &pipeline());
    let made = |name: &str| -> (Vec<u8>, Value) {
        ok(place.oops(&["show", "p.yaml", "speed", "--out", name]));
        let file = PathBuf::from(name).join("metrics.json");
        (fs::read(place.path(file.to_str().unwrap())).unwrap(), place.show(&pipeline, "speed", &[])["measured"].clone())
    };
    place.run(&pipeline, &["speed"]);
    let (first, times) = made("first");
    place.run(&pipeline, &["speed", "--force", "speed"]);
    let (second, others) = made("second");
    assert_eq!(first, second, "no time is in the artifact");
    assert_ne!(times["models"], others["models"], "measured again");
    for (i, figure) in [(0, "prefill_ratio"), (0, "decode_ratio")] {
        assert_eq!(others["models"][i][figure], serde_json::json!({ "median": 1.0, "quartiles": [1.0, 1.0] }));
    }
    assert!(others["models"][1]["prefill_tokens_per_s"]["median"].as_f64().unwrap() > 0.0);
    let table = ok(place.oops(&["show", "p.yaml", "speed"])).stdout;
    assert!(table.contains("resident_bytes") && table.contains("decode_tokens_per_s"), "{table}");
    assert!(table.contains("1.00 (1.00–1.00)") && table.contains("not reproducible"), "{table}");
    place.verified();
}

#[test]
fn a_sequence_longer_than_the_model_is_no_speed() {
    let place = Place::new();
    place.write("p.yaml", &pipeline());
    let done = place.oops(&["run", "p.yaml", "speed", "--set", "speed.with.prompt_tokens=1021"]);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stderr.contains("sequences of 1024 tokens, not 1025"), "{}", done.stderr);
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn stories260k_tells_its_story() {
    let root = fixtures();
    let model = root.join("models/stories260k").display().to_string();
    let story = ok(Place::new().oops(&["generate", &model, "--prompt", "", "--tokens", "60"])).stdout;
    let begin = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she \
                 saw a big, red ball.";
    assert!(story.starts_with(begin), "{story}");
    let rest = ok(Place::new().oops(&["generate", &model, "--prompt", "Once upon a time", "--tokens", "60"])).stdout;
    assert!(rest.starts_with(", there was a little girl named Lily."), "{rest}");
}
