//! Written checkpoints read back, and what is said about broken ones.

use std::{collections::BTreeMap, fs};

use oops_core::BlockPlan;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    DType, Family,
    fixtures::{config, fixture, logits, max_diff, random, random_block},
    hf_config, hf_config_with_biases, hf_index, shard_contents, slice_block, values, write_block, write_outer,
};

const HIDDEN: usize = 16;
const DENSE: BlockDims = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 12 };
const NARROW: BlockDims = BlockDims { query_heads: 2, kv_heads: 1, head_dim: 4, ffn: 5 };

fn model_blocks() -> Vec<Block> {
    let mut second = random_block(HIDDEN, NARROW, 2);
    // Bias compensation leaves biases on o and down alone.
    for layer in [&mut second.q, &mut second.k, &mut second.v, &mut second.gate, &mut second.up] {
        layer.bias = None;
    }
    vec![random_block(HIDDEN, DENSE, 1), second]
}

/// Writes a Qwen3 model of two unequal blocks, one shard each.
fn written(dtype: &DType) -> (TempDir, Vec<Block>) {
    let (dir, blocks) = (tempfile::tempdir().unwrap(), model_blocks());
    let config = ModelConfig { dtype: dtype.clone(), ..config(Family::Qwen3, HIDDEN, vec![DENSE, NARROW]) };
    let mut shards = vec!["outer.safetensors".to_owned()];
    let (embedding, norm, head) =
        (random(&[50, HIDDEN], 3, 1.0), random(&[HIDDEN], 4, 1.0), random(&[50, HIDDEN], 5, 1.0));
    write_outer(&dir.path().join(&shards[0]), &embedding, &norm, Some(&head), dtype).unwrap();
    for (l, block) in blocks.iter().enumerate() {
        shards.push(format!("block-{l}.safetensors"));
        write_block(&dir.path().join(&shards[l + 1]), l, block, dtype).unwrap();
    }
    let entry = |file: String| {
        let (names, bytes) = shard_contents(&dir.path().join(&file)).unwrap();
        (file, names, bytes)
    };
    let index = hf_index(&shards.into_iter().map(entry).collect::<Vec<_>>());
    fs::write(dir.path().join(files::INDEX), index.to_string()).unwrap();
    fs::write(dir.path().join("config.json"), hf_config_with_biases(&config).to_string()).unwrap();
    (dir, blocks)
}

fn bits(t: &Tensor, round: fn(f32) -> f32) -> Vec<u32> {
    values(t).unwrap().into_iter().map(|v| round(v).to_bits()).collect()
}

type Round = fn(f32) -> f32;

#[test]
fn what_is_written_is_read_back_exactly_or_exactly_rounded() {
    let bf16 = |v| half::bf16::from_f32(v).to_f32();
    let f16 = |v| half::f16::from_f32(v).to_f32();
    let cases: [(DType, Round, u64); 3] = [(DType::F32, |v| v, 4), (DType::BF16, bf16, 2), (DType::F16, f16, 2)];
    for (dtype, round, size) in cases {
        let (dir, blocks) = written(&dtype);
        let model = Checkpoint::open_path(dir.path()).unwrap();
        let expected = ModelConfig { dtype, ..config(Family::Qwen3, HIDDEN, vec![DENSE, NARROW]) };
        assert_eq!(model.config(), &expected);
        let mut count = 2 * 50 * HIDDEN + HIDDEN;
        for (l, block) in blocks.iter().enumerate() {
            let read = model.block(l).unwrap();
            let names = |b: &Block| b.named(l).into_iter().map(|n| n.0).collect::<Vec<_>>();
            assert_eq!(names(&read), names(block));
            for (a, b) in read.tensors().into_iter().zip(block.tensors()) {
                assert_eq!(bits(a, |v| v), bits(b, round));
                count += a.elem_count();
            }
        }
        assert_eq!(model.stored_bytes(), count as u64 * size);
        assert_eq!(bits(&model.head().unwrap(), |v| v), bits(&random(&[50, HIDDEN], 5, 1.0), round));
    }
}

#[test]
fn the_same_weights_give_the_same_bytes() {
    let ((a, _), (b, _)) = (written(&DType::F32), written(&DType::F32));
    for file in ["outer.safetensors", "block-0.safetensors", "block-1.safetensors", files::INDEX, "config.json"] {
        assert_eq!(fs::read(a.path().join(file)).unwrap(), fs::read(b.path().join(file)).unwrap(), "{file}");
    }
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn a_sliced_reference_model_survives_the_disk() {
    let path = fixture("models/tiny-random/mistral-swa");
    let dense = Checkpoint::open_path(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = dense.config().clone();
    let plan = BlockPlan::of_groups(&config.dims.blocks[1], vec![1], (0..40).collect());
    let cut = |l: usize, b: Block| if l == 1 { slice_block(&b, &plan).unwrap() } else { b };
    config.dims.blocks[1] = plan.dims(&config.dims.blocks[1]);
    let mut files = BTreeMap::new();
    for l in 0..config.dims.blocks.len() {
        let blob = dir.path().join(format!("blob{l}"));
        write_block(&blob, l, &cut(l, dense.block(l).unwrap()), &DType::F32).unwrap();
        files.insert(format!("block-{l}.safetensors"), blob);
    }
    let (embedding, norm, head) = (dense.embedding().unwrap(), dense.final_norm().unwrap(), dense.head().unwrap());
    write_outer(&dir.path().join("outer"), &embedding, &norm, Some(&head), &DType::F32).unwrap();
    fs::write(dir.path().join("config"), hf_config(&config).to_string()).unwrap();
    files.insert("outer.safetensors".into(), dir.path().join("outer"));
    files.insert("config.json".into(), dir.path().join("config"));
    let reopened = Checkpoint::open(&files).unwrap();
    assert_eq!(reopened.config(), &config);
    let ids: Vec<u32> = (0..20).collect();
    let expected = logits(&dense, &ids, &[20], cut);
    assert_eq!(max_diff(&logits(&reopened, &ids, &[20], |_, b| b), &expected), 0.0);
}

/// Opens a written model after `damage` and loads everything.
fn fault_after(damage: impl Fn(&Path)) -> String {
    let (dir, _) = written(&DType::F32);
    damage(dir.path());
    let load = || -> Result<()> {
        let model = Checkpoint::open_path(dir.path())?;
        (0..2).try_for_each(|l| model.block(l).map(drop))?;
        model.tokenizer().map(drop)
    };
    load().unwrap_err().to_string()
}

fn edit_config(dir: &Path, key: &str, value: Value) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

/// Changes block 0 and writes it again.
fn rewrite(dir: &Path, change: impl Fn(&mut Block)) {
    let mut block = model_blocks().swap_remove(0);
    change(&mut block);
    write_block(&dir.join("block-0.safetensors"), 0, &block, &DType::F32).unwrap();
}

type Damage<'a> = Box<dyn Fn(&Path) + 'a>;

#[test]
fn broken_checkpoints_name_the_file_the_tensor_and_the_remedy() {
    let shard = |dir: &Path| dir.join("block-1.safetensors");
    let cut = |dir: &Path, keep: usize| fs::write(shard(dir), &fs::read(shard(dir)).unwrap()[..keep]).unwrap();
    let cases: [(&str, Damage<'_>, &[&str]); 12] = [
        ("truncated", Box::new(|d| cut(d, 1500)), &["block-1.safetensors", "not a complete safetensors file"]),
        ("empty", Box::new(|d| cut(d, 0)), &["block-1.safetensors", "not a complete safetensors file"]),
        ("no shard", Box::new(|d| fs::remove_file(shard(d)).unwrap()), &["block-1.safetensors", "missing"]),
        ("no weights", Box::new(|d| fs::remove_file(d.join(files::INDEX)).unwrap()), &["model.safetensors"]),
        ("no config", Box::new(|d| fs::remove_file(d.join("config.json")).unwrap()), &["config.json"]),
        (
            "not JSON",
            Box::new(|d| fs::write(d.join("config.json"), "{").unwrap()),
            &["config.json", "not a JSON object"],
        ),
        (
            "other width",
            Box::new(|d| edit_config(d, "vocab_size", json!(51))),
            &["embed_tokens", "[50, 16]", "[51, 16]"],
        ),
        ("too many blocks", Box::new(|d| edit_config(d, "block_widths", Value::Null)), &["layers.1.", "shape"]),
        ("no tokenizer", Box::new(|_| ()), &["tokenizer.json"]),
        ("missing tensor", Box::new(|d| rewrite(d, |b| b.q_norm = None)), &["q_norm.weight", "index"]),
        ("strange shape", Box::new(|d| rewrite(d, |b| b.up = b.down.clone())), &["block-0.saf", "up_proj", "[16, 12]"]),
        ("wrong tokens", Box::new(|d| fs::write(d.join("tokenizer.json"), "{}").unwrap()), &["tokenizer.json"]),
    ];
    for (name, damage, words) in cases {
        let text = fault_after(damage);
        assert!(words.iter().all(|w| text.contains(w)), "{name}: {text}");
    }
}

#[test]
fn weights_that_are_not_numbers_or_of_another_type_are_refused() {
    let patch = |dir: &Path, find: &[u8], put: &[u8]| {
        let path = dir.join("block-0.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(find.len()).rposition(|w| w == find).unwrap();
        bytes[at..at + put.len()].copy_from_slice(put);
        fs::write(path, bytes).unwrap();
    };
    let first = values(&model_blocks()[0].q.weight).unwrap()[3];
    let nan = fault_after(|d| patch(d, &first.to_le_bytes(), &f32::NAN.to_le_bytes()));
    assert!(nan.contains("q_proj.weight` holds NaN at position 3") && nan.contains("block-0.safetensors"), "{nan}");
    let integer = fault_after(|d| patch(d, b"\"F32\"", b"\"I32\""));
    assert!(integer.contains("I32") && integer.contains("weights must be F32, F16 or BF16"), "{integer}");
    let strange = fault_after(|d| patch(d, b"mlp.up_proj.bias", b"mlp.up_proj.lora"));
    assert!(strange.contains("mlp.up_proj.bias` is in no shard"), "{strange}");
}

#[test]
fn folders_that_are_no_checkpoint_say_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let text = Checkpoint::files(dir.path()).unwrap_err().to_string();
    assert!(text.contains("neither config.json nor a .gguf file"), "{text}");
    for name in ["a.gguf", "b.gguf"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    assert!(Checkpoint::files(dir.path()).unwrap_err().to_string().contains("2 .gguf files"));
    fs::remove_file(dir.path().join("a.gguf")).unwrap();
    assert_eq!(Checkpoint::files(dir.path()).unwrap(), [(files::GGUF.to_owned(), dir.path().join("b.gguf"))]);
    assert!(Checkpoint::files(&dir.path().join("none")).is_err());
    let other = dir.path().join("model.bin");
    fs::write(&other, "x").unwrap();
    assert!(Checkpoint::files(&other).unwrap_err().to_string().contains("no checkpoint"));
}

#[test]
fn an_index_cannot_lead_out_of_its_folder() {
    let index = json!({"weight_map": {"model.norm.weight": "../../secret.safetensors"}}).to_string();
    let text = fault_after(|d| fs::write(d.join(files::INDEX), &index).unwrap());
    assert!(text.contains("same folder"), "{text}");
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn families_that_we_do_not_read_are_named() {
    for name in ["gemma", "opt"] {
        let path = fixture(&format!("models/tiny-random/{name}"));
        let text = Checkpoint::open_path(&path).err().unwrap().to_string();
        assert!(text.contains("supported"), "{text}");
    }
}
