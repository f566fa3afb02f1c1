//! Configuration and files that disagree: one rule each, and a sentence that says what was done.

use std::fs;

use oops_core::BlockDims;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{Family, fixtures::config, hf_config, values};

const HIDDEN: usize = 8;
const DIMS: BlockDims = BlockDims { query_heads: 2, kv_heads: 1, head_dim: 4, ffn: 6 };

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A llama of two blocks, without biases and with a head of its own.
struct Model {
    config: Value,
    tensors: Tensors,
}

impl Model {
    fn new(family: Family) -> Self {
        let config = config(family, HIDDEN, vec![DIMS; 2]);
        let mut model = Self { config: hf_config(&config), tensors: Tensors::new() };
        model.config["vocab_size"] = json!(10);
        for l in 0..2 {
            for (part, shape) in crate::block::LINEARS.iter().zip(crate::block::linear_shapes(&DIMS, HIDDEN)) {
                model.put(&format!("model.layers.{l}.{part}.weight"), &shape);
            }
            for norm in &NORMS[..2] {
                model.put(&format!("model.layers.{l}.{norm}.weight"), &[HIDDEN]);
            }
        }
        model.put("model.embed_tokens.weight", &[10, HIDDEN]);
        model.put("model.norm.weight", &[HIDDEN]);
        model.put("lm_head.weight", &[10, HIDDEN]);
        model
    }

    /// Adds a tensor of values that no other has.
    fn put(&mut self, name: &str, shape: &[usize]) {
        let first = 1000.0 * self.tensors.len() as f32;
        let n: usize = shape.iter().product();
        self.tensors.insert(name.to_owned(), (shape.to_vec(), (0..n).map(|i| first + i as f32).collect()));
    }

    fn biases(&mut self, parts: &[&str]) {
        for l in 0..2 {
            for (part, shape) in crate::block::LINEARS.iter().zip(crate::block::linear_shapes(&DIMS, HIDDEN)) {
                if parts.contains(part) {
                    self.put(&format!("model.layers.{l}.{part}.bias"), &shape[..1]);
                }
            }
        }
    }

    fn renamed(mut self, name: impl Fn(&str) -> String) -> Self {
        self.tensors = self.tensors.into_iter().map(|(old, t)| (name(&old), t)).collect();
        self
    }

    fn written(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), self.config.to_string()).unwrap();
        write(&dir.path().join(files::SINGLE), &self.tensors);
        dir
    }

    fn open(&self) -> Result<Checkpoint> {
        Checkpoint::open_path(self.written().path())
    }

    fn refusal(&self) -> String {
        self.open().err().unwrap().to_string()
    }

    fn values(&self, name: &str) -> &[f32] {
        &self.tensors[name].1
    }
}

fn write(path: &Path, tensors: &Tensors) {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> =
        tensors.iter().map(|(n, (s, v))| (n, s, v.iter().flat_map(|x| x.to_le_bytes()).collect())).collect();
    let views = bytes.iter().map(|(n, s, b)| (*n, TensorView::new(Dtype::F32, (*s).clone(), b).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn only(model: &Model) -> String {
    let opened = model.open().unwrap();
    assert_eq!(opened.warnings().len(), 1, "{:?}", opened.warnings());
    opened.warnings()[0].clone()
}

#[test]
fn a_plain_checkpoint_says_nothing() {
    let model = Model::new(Family::Llama);
    assert_eq!(model.open().unwrap().warnings(), [""; 0]);
}

#[test]
fn biases_that_the_configuration_denies_are_left_out() {
    let mut model = Model::new(Family::Llama);
    model.biases(&["self_attn.q_proj", "self_attn.o_proj"]);
    let told = only(&model);
    assert!(told.contains("4 biases (of self_attn.o_proj, self_attn.q_proj)"), "{told}");
    let opened = model.open().unwrap();
    assert!(opened.block(1).unwrap().q.bias.is_none() && !opened.has("model.layers.0.self_attn.q_proj.bias"));
    assert_eq!(opened.config().dims, Model::new(Family::Llama).open().unwrap().config().dims);
    // Files of ours say that they count.
    model.config["biases"] = json!("as_stored");
    let opened = model.open().unwrap();
    assert!(opened.warnings().is_empty() && opened.block(0).unwrap().k.bias.is_none());
    let bias = opened.block(1).unwrap().o.bias.unwrap();
    assert_eq!(values(&bias).unwrap(), model.values("model.layers.1.self_attn.o_proj.bias"));
}

#[test]
fn biases_that_the_configuration_promises_must_be_there() {
    let mut model = Model::new(Family::Llama);
    model.config["attention_bias"] = json!(true);
    model.biases(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]);
    assert!(model.refusal().contains("layers.0.self_attn.o_proj.bias` is missing"), "{}", model.refusal());
    model.biases(&["self_attn.o_proj"]);
    assert!(model.open().unwrap().block(0).unwrap().o.bias.is_some());
    let qwen = Model::new(Family::Qwen2);
    assert!(qwen.refusal().contains("self_attn.q_proj.bias` is missing"));
}

#[test]
fn a_head_beside_tied_embeddings_is_used_where_it_differs() {
    let mut model = Model::new(Family::Llama);
    model.config["tie_word_embeddings"] = json!(true);
    let told = only(&model);
    assert!(told.contains("tie_word_embeddings") && told.contains("transformers 4 ties"), "{told}");
    let opened = model.open().unwrap();
    assert!(!opened.config().dims.tied);
    assert_eq!(values(&opened.head().unwrap()).unwrap(), model.values("lm_head.weight"));
    let embedding = model.tensors["model.embed_tokens.weight"].clone();
    model.tensors.insert("lm_head.weight".to_owned(), embedding);
    let opened = model.open().unwrap();
    assert!(opened.config().dims.tied && opened.warnings().is_empty() && !opened.has("lm_head.weight"));
    model.tensors.remove("lm_head.weight");
    assert!(model.open().unwrap().config().dims.tied);
    model.config["tie_word_embeddings"] = json!(false);
    assert!(model.refusal().contains("`lm_head.weight` is missing"));
}

#[test]
fn blocks_and_tensors_that_are_too_many_are_left_out_and_told() {
    let mut model = Model::new(Family::Llama);
    model.config["num_hidden_layers"] = json!(1);
    let told = only(&model);
    assert!(told.contains("says 1 blocks") && told.contains("blocks 1 to 1") && told.contains("9 tensors"), "{told}");
    let mut model = Model::new(Family::Llama);
    model.put("model.layers.0.self_attn.rotary_emb.inv_freq", &[2]);
    assert!(model.open().unwrap().warnings().is_empty());
    model.put("value_head.summary.weight", &[1, HIDDEN]);
    model.put("model.layers.0.self_attn.k_scale", &[1]);
    let told = only(&model);
    assert!(told.contains("2 tensors") && told.contains("self_attn.k_scale"), "{told}");
}

#[test]
fn tensors_that_would_change_the_function_are_refused() {
    for (name, word) in [
        ("model.layers.1.mlp.up_proj.weight_scale_inv", "quantised"),
        ("model.layers.1.mlp.up_proj.lora_A.weight", "adapter"),
        ("model.layers.1.mlp.experts.0.w1.weight", "no supported decoder"),
        ("model.layers.1.self_attn.q_norm.weight", "no such norm"),
    ] {
        let mut model = Model::new(Family::Llama);
        model.put(name, &[4]);
        assert!(model.refusal().contains(word), "{name}: {}", model.refusal());
    }
}

#[test]
fn names_without_the_usual_prefix_or_with_another_are_read() {
    let base = Model::new(Family::Llama);
    let want = base.open().unwrap();
    let same = |model: Model, told: usize| {
        let got = model.open().unwrap();
        assert_eq!(got.warnings().len(), told, "{:?}", got.warnings());
        for (a, b) in got.block(1).unwrap().tensors().iter().zip(want.block(1).unwrap().tensors()) {
            assert_eq!(values(a).unwrap(), values(b).unwrap());
        }
        assert_eq!(values(&got.head().unwrap()).unwrap(), values(&want.head().unwrap()).unwrap());
    };
    same(Model::new(Family::Llama).renamed(|n| n.trim_start_matches("model.").to_owned()), 0);
    same(Model::new(Family::Llama).renamed(|n| format!("language_model.{n}")), 1);
    same(Model::new(Family::Llama).renamed(|n| n.replace("model.", "model.language_model.")), 1);
    let mut two = Model::new(Family::Llama).renamed(|n| format!("a.{n}"));
    two.put("b.embed_tokens.weight", &[1, 1]);
    assert!(two.refusal().contains("several decoders"));
    let mut no_head = Model::new(Family::Llama).renamed(|n| n.trim_start_matches("model.").to_owned());
    no_head.tensors.remove("lm_head.weight");
    assert!(no_head.refusal().contains("base model"), "{}", no_head.refusal());
}

/// The headers tell, whichever block it is; nothing of the weights is read.
#[test]
fn every_blocks_shapes_are_checked_when_it_is_opened() {
    let mut model = Model::new(Family::Llama);
    model.put("model.layers.1.mlp.down_proj.weight", &[HIDDEN, DIMS.ffn - 1]);
    let text = model.refusal();
    assert!(text.contains("layers.1.mlp.down_proj") && text.contains("[8, 5]") && text.contains("[8, 6]"), "{text}");
    let mut model = Model::new(Family::Llama);
    model.tensors.remove("model.layers.1.input_layernorm.weight");
    assert!(model.refusal().contains("layers.1.input_layernorm.weight` is missing"));
    model.config["num_hidden_layers"] = json!(3);
    assert!(Model::new(Family::Llama).open().is_ok());
    assert!(model.refusal().contains("is missing"));
}

#[test]
fn an_old_index_beside_the_single_file_is_told() {
    let model = Model::new(Family::Llama);
    let dir = model.written();
    let shard = "model-00001-of-00001.safetensors";
    let old =
        model.tensors.iter().map(|(n, (s, v))| (n.clone(), (s.clone(), v.iter().map(|x| -x).collect()))).collect();
    write(&dir.path().join(shard), &old);
    let map: BTreeMap<&String, &str> = model.tensors.keys().map(|n| (n, shard)).collect();
    fs::write(dir.path().join(files::INDEX), json!({ "weight_map": map }).to_string()).unwrap();
    let opened = Checkpoint::open_path(dir.path()).unwrap();
    assert!(opened.warnings().len() == 1 && opened.warnings()[0].contains(files::INDEX), "{:?}", opened.warnings());
    assert_eq!(values(&opened.head().unwrap()).unwrap(), model.values("lm_head.weight"));
    // Without the single file the index counts.
    fs::remove_file(dir.path().join(files::SINGLE)).unwrap();
    let opened = Checkpoint::open_path(dir.path()).unwrap();
    assert_eq!(values(&opened.head().unwrap()).unwrap()[1], -model.values("lm_head.weight")[1]);
}
