//! Graphs: what is drawn, what a damaged one is told, and what ONNX Runtime makes of it.

use std::path::Path;

use oops_core::BlockDims;
use oops_model::{Checkpoint, Family, ModelConfig, RopeScaling};
use prost::Message as _;
use proto::ModelProto;

use super::*;
use crate::testkit::{config, model, save};

const WIDE: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 8, ffn: 20 };
const NARROW: BlockDims = BlockDims { query_heads: 3, kv_heads: 1, head_dim: 8, ffn: 7 };
const NO_ATTENTION: BlockDims = BlockDims { query_heads: 0, kv_heads: 0, head_dim: 8, ffn: 5 };
const NO_FFN: BlockDims = BlockDims { query_heads: 2, kv_heads: 2, head_dim: 8, ffn: 0 };
const BLOCKS: [BlockDims; 4] = [NO_ATTENTION, WIDE, NO_FFN, NARROW];
const FORMS: [Form; 2] = [Form::Genai, Form::Portable];
const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::F16Weights];

/// Writes graph and weights to `dir`; gives the graph, and the length of the data.
fn written(dir: &Path, model: &Checkpoint, form: Form, precision: Precision) -> (Vec<u8>, u64) {
    let draft = decoder::draw(model, form, precision).unwrap();
    let (graph, data) = (weights::encoded(&draft, form), dir.join(DATA));
    weights::write(&data, model, &draft, &mut || Ok(())).unwrap();
    std::fs::write(dir.join(GRAPH), &graph).unwrap();
    (graph, data.metadata().unwrap().len())
}

/// A graph of uneven blocks with biases, small enough to be damaged at every byte.
fn small(form: Form) -> (Vec<u8>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), Family::Llama, &[NO_ATTENTION, NARROW], &["o", "down"]);
    written(dir.path(), &model, form, Precision::F16)
}

#[test]
fn every_form_and_precision_of_uneven_blocks_is_sound() {
    for (form, precision) in FORMS.into_iter().flat_map(|f| PRECISIONS.map(|p| (f, p))) {
        let dir = tempfile::tempdir().unwrap();
        let model = model(dir.path(), Family::Qwen3, &BLOCKS, &["o", "down"]);
        let (graph, data) = written(dir.path(), &model, form, precision);
        inspect::graph(&graph, data).unwrap();
        let graph = ModelProto::decode(graph.as_slice()).unwrap().graph.unwrap();
        let caches: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).filter(|n| n.ends_with("key")).collect();
        assert_eq!(caches, ["present.0.key", "present.1.key", "present.2.key"], "{form:?}");
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    assert_eq!(small(Form::Genai), small(Form::Genai));
}

#[test]
fn a_graph_that_was_cut_off_is_refused_at_every_byte() {
    for form in FORMS {
        let (graph, data) = small(form);
        for end in 0..graph.len() {
            assert!(inspect::graph(&graph[..end], data).is_err(), "{form:?}: {end} of {} bytes", graph.len());
        }
    }
}

#[test]
fn a_graph_with_a_wrong_byte_is_refused_or_read_but_never_worse() {
    for form in FORMS {
        let (mut graph, data) = small(form);
        let mut refused = 0;
        for at in 0..graph.len() {
            for flip in [0x01, 0x80, 0xff] {
                graph[at] ^= flip;
                refused += usize::from(inspect::graph(&graph, data).is_err());
                graph[at] ^= flip;
            }
        }
        assert!(refused > graph.len(), "{form:?}: only {refused} of {} changes were noticed", 3 * graph.len());
    }
}

#[test]
fn foreign_and_inconsistent_graphs_are_told_what_is_wrong() {
    let refusal = |bytes: &[u8], data| inspect::graph(bytes, data).unwrap_err().to_string();
    assert!(refusal(b"", 0).contains("it has no graph"));
    assert!(refusal(b"GGUF\x03\0\0\0", 0).contains("do not parse"));
    let (graph, data) = small(Form::Genai);
    assert!(refusal(&graph, data - 4096).contains("in `model.onnx.data`"));
    let changed = |change: &dyn Fn(&mut proto::GraphProto)| {
        let mut model = ModelProto::decode(graph.as_slice()).unwrap();
        change(model.graph.as_mut().unwrap());
        refusal(&model.encode_to_vec(), data)
    };
    assert!(changed(&|g| g.node[3].op_type = "Conv".to_owned()).contains("is a `Conv`"));
    assert!(changed(&|g| g.node.swap(1, 2)).contains("before anything makes it"));
    assert!(changed(&|g| g.node.push(g.node[0].clone())).contains("is made twice"));
    assert!(changed(&|g| g.output[0].name = "other".to_owned()).contains("`other` is not made"));
    let q = |g: &mut proto::GraphProto| {
        let q = g.initializer.iter_mut().find(|t| t.name.contains("1.self_attn.q_proj.weight")).unwrap();
        q.dims.reverse();
    };
    assert!(changed(&q).contains("combines values of the widths [32, 24]"));
}

#[test]
fn a_model_without_any_attention_has_no_place_in_genai() {
    let fault = texts::genai_config(&config(Family::Llama, &[NO_ATTENTION])).unwrap_err();
    assert!(fault.to_string().contains("no block of this model has attention"), "{fault}");
}

#[test]
fn genai_counts_the_blocks_that_have_attention() {
    let config = texts::genai_config(&config(Family::Llama, &BLOCKS)).unwrap();
    let decoder = &config["model"]["decoder"];
    assert_eq!((&decoder["num_hidden_layers"], &decoder["num_key_value_heads"]), (&3.into(), &2.into()));
}

/// Families, windows, scalings, biases and untied heads.
fn cases() -> [(&'static str, ModelConfig, &'static [&'static str]); 6] {
    let llama3 =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position: 16 };
    let mut windowed = config(Family::Mistral, &BLOCKS);
    windowed.sliding_window = Some(5);
    let mut scaled = config(Family::Llama, &[WIDE, NARROW]);
    (scaled.rope.scaling, scaled.dims.tied) = (llama3, false);
    // Heads of 16 channels are turned inside the attention operator, the others before it.
    let long = BLOCKS.map(|b| BlockDims { head_dim: 16, ..b });
    let mut windowed_inside = config(Family::Qwen3, &long);
    windowed_inside.sliding_window = Some(5);
    [
        ("plain", config(Family::Llama, &[WIDE, WIDE]), &[]),
        ("turned inside, window, head norms", windowed_inside, &["q"]),
        ("biases", config(Family::Qwen2, &BLOCKS), &["q", "k", "v", "o", "gate", "up", "down"]),
        ("head norms", config(Family::Qwen3, &BLOCKS), &["o"]),
        ("window", windowed, &[]),
        ("llama3 scaling, untied", scaled, &["down"]),
    ]
}

/// Every case in every form and precision: the logits that `compute` makes of the written files are the model's.
#[allow(clippy::print_stderr, reason = "figures of a test that passes")]
fn all_give_the_models_logits(compute: &dyn Fn(&Path, &ModelConfig, Precision, &Proof) -> Vec<f32>) {
    for (name, config, biased) in cases() {
        for (form, precision) in FORMS.into_iter().flat_map(|f| PRECISIONS.map(|p| (f, p))) {
            let dir = tempfile::tempdir().unwrap();
            let model = save(dir.path(), &config, biased);
            written(dir.path(), &model, form, precision);
            let proof = Proof::of(&model, model.config().max_position).unwrap();
            let found =
                proof.compare("", &compute(dir.path(), &config, precision, &proof), Allowed::Logits(f64::MAX)).unwrap();
            let off = found.max_abs_difference.unwrap() / found.max_abs_logit;
            let place = format!("{name}, {form:?}, {precision:?}");
            eprintln!("{place}: {off:.1e} of the largest logit");
            assert!(off < tolerance(precision), "{place}: {off:.1e} of the largest logit");
        }
    }
}

#[test]
fn the_interpreter_computes_what_the_model_computes() {
    all_give_the_models_logits(&|dir, _, _, proof| {
        let graph = std::fs::read(dir.join(GRAPH)).unwrap();
        embedded::Interpreter::open(&graph, dir).unwrap().run(proof, &|| Ok(())).unwrap()
    });
}

mod peers {
    use super::*;

    #[test]
    #[ignore = "needs OOPS_PEERS_PYTHON, or ONNX Runtime where `ort` finds it"]
    fn onnx_runtime_computes_what_the_model_computes() {
        // The Python of `tests/peers.rs`.
        let python = std::env::var("OOPS_PEERS_PYTHON").ok();
        let runtime = native::Runtime::load(python.and_then(|p| native::of_python(&p)).as_deref()).unwrap();
        all_give_the_models_logits(&|dir, config, precision, proof| {
            let mut opened = runtime.open(&dir.join(GRAPH), caches(&config.dims.blocks), precision).unwrap();
            opened.run(proof, &|| Ok(())).unwrap()
        });
    }
}

fn attention(g: &mut proto::GraphProto) -> &mut Vec<proto::AttributeProto> {
    &mut g.node.iter_mut().find(|n| n.op_type == "GroupQueryAttention").unwrap().attribute
}

#[test]
fn a_wrong_weight_or_attribute_is_noticed_by_the_interpreter() {
    let dir = tempfile::tempdir().unwrap();
    let model = save(dir.path(), &config(Family::Llama, &BLOCKS), &[]);
    let (graph, _) = written(dir.path(), &model, Form::Genai, Precision::F32);
    let proof = Proof::of(&model, model.config().max_position).unwrap();
    let computed = |change: &dyn Fn(&mut proto::GraphProto)| {
        let mut model = ModelProto::decode(graph.as_slice()).unwrap();
        change(model.graph.as_mut().unwrap());
        let logits = embedded::Interpreter::open(&model.encode_to_vec(), dir.path())?.run(&proof, &|| Ok(()))?;
        proof.compare("", &logits, Allowed::Logits(tolerance(Precision::F32)))
    };
    computed(&|_| ()).unwrap();
    let refusal = |change: &dyn Fn(&mut proto::GraphProto)| computed(change).unwrap_err().to_string();
    assert!(refusal(&|g| attention(g)[2].f = Some(0.9)).contains("logits differ"));
    assert!(refusal(&|g| attention(g)[0].i = Some(3)).contains("cannot be computed"));
    assert!(refusal(&|g| g.node.last_mut().unwrap().op_type = "Conv".to_owned()).contains("`Conv` is not an operator"));
    // The weights of two projections exchanged.
    let exchanged = |g: &mut proto::GraphProto| {
        let at =
            |part: &str| g.initializer.iter().position(|t| t.name.contains(&format!("1.mlp.{part}_proj"))).unwrap();
        let (gate, up) = (at("gate"), at("up"));
        let moved = g.initializer[gate].external_data.clone();
        g.initializer[gate].external_data = std::mem::replace(&mut g.initializer[up].external_data, moved);
    };
    assert!(refusal(&exchanged).contains("logits differ"));
}
