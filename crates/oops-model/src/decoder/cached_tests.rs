//! Laws of cached decoding: the whole sequence's logits however it is cut, its memory, and thread counts.

use std::collections::BTreeMap;

use oops_core::BlockDims;

use super::*;
use crate::{
    Checkpoint, DType as Stored, Family,
    fixtures::{TINY, config, fixture, logits, random, random_block},
    hf_config_with_biases,
    kernels::testing::{max_diff, with_threads},
    write_block, write_outer,
};

/// Logits behind each piece of `ids`, read one after another.
fn pieces(model: &LoadedModel, ids: &[u32], cuts: &[usize]) -> Vec<Vec<f32>> {
    let mut cache = model.cache(ids.len());
    let mut from = 0;
    let read = cuts.iter().map(|&n| {
        from += n;
        model.extend(&mut cache, &ids[from - n..from]).unwrap()
    });
    let read = read.collect();
    assert_eq!((from, cache.tokens()), (ids.len(), ids.len()));
    read
}

/// Every cut of the sequence gives the rows of the whole.
fn check(name: &str, checkpoint: &Checkpoint, ids: &[u32], cuts: &[usize]) {
    let whole = crate::values(&logits(checkpoint, ids, &[ids.len()], |_, b| b)).unwrap();
    let vocab = checkpoint.config().dims.vocab;
    let scale = whole.iter().fold(1.0_f32, |a, v| a.max(v.abs()));
    let model = LoadedModel::load(checkpoint, ids.len()).unwrap();
    let mut end = 0;
    for (ours, n) in pieces(&model, ids, cuts).iter().zip(cuts) {
        end += n;
        let diff = max_diff(ours, &whole[(end - 1) * vocab..end * vocab]);
        assert!(diff <= 2e-5 * scale, "{name}: off by {diff} behind token {end}, logits up to {scale}");
    }
}

/// A checkpoint of random blocks in a folder of its own.
fn random_checkpoint(blocks: &[BlockDims], window: Option<usize>) -> (tempfile::TempDir, Checkpoint) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(Family::Qwen3, 32, blocks.to_vec());
    config.sliding_window = window;
    let mut files = BTreeMap::new();
    let mut file = |name: String| files.entry(name.clone()).or_insert(dir.path().join(name)).clone();
    for (l, dims) in blocks.iter().enumerate() {
        let block = random_block(32, *dims, l as u64 + 1);
        write_block(&file(format!("block-{l}.safetensors")), l, &block, &Stored::F32).unwrap();
    }
    let (embedding, norm, head) = (random(&[50, 32], 70, 1.0), random(&[32], 71, 1.0), random(&[50, 32], 72, 1.0));
    write_outer(&file("outer.safetensors".into()), &embedding, &norm, Some(&head), &Stored::F32).unwrap();
    std::fs::write(file("config.json".into()), hf_config_with_biases(&config).to_string()).unwrap();
    let checkpoint = Checkpoint::open(&files).unwrap();
    assert_eq!(checkpoint.config().sliding_window, window);
    (dir, checkpoint)
}

const UNEQUAL: [BlockDims; 5] = [
    BlockDims { query_heads: 6, kv_heads: 2, head_dim: 8, ffn: 40 },
    BlockDims { query_heads: 0, kv_heads: 0, head_dim: 8, ffn: 24 },
    BlockDims { query_heads: 4, kv_heads: 4, head_dim: 8, ffn: 0 },
    BlockDims { query_heads: 0, kv_heads: 0, head_dim: 8, ffn: 0 },
    BlockDims { query_heads: 3, kv_heads: 1, head_dim: 8, ffn: 7 },
];

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn a_prompt_and_steps_give_the_logits_of_the_whole_in_every_family() {
    for name in TINY {
        let path = fixture(&format!("models/tiny-random/{name}"));
        let checkpoint = Checkpoint::open_path(&path).unwrap();
        let vocab = checkpoint.config().dims.vocab as u32;
        let ids: Vec<u32> = (0..60).map(|i| i * 37 % vocab).collect();
        check(name, &checkpoint, &ids, &[&[40][..], &[1; 20]].concat());
        check(name, &checkpoint, &ids, &[1, 3, 4, 5, 30, 2, 15]);
    }
}

#[test]
fn blocks_of_unequal_widths_and_without_parts_give_the_logits_of_the_whole() {
    let ids: Vec<u32> = (0..90).map(|i| i * 17 % 50).collect();
    for window in [None, Some(5)] {
        let (_dir, checkpoint) = random_checkpoint(&UNEQUAL, window);
        check("unequal", &checkpoint, &ids, &[&[70][..], &[1; 20]].concat());
        check("unequal", &checkpoint, &ids, &[1, 1, 2, 4, 60, 3, 19]);
    }
}

#[test]
fn a_prompt_longer_than_one_pass_is_read_in_pieces() {
    let (_dir, checkpoint) = random_checkpoint(&UNEQUAL, Some(300));
    let ids: Vec<u32> = (0..1100).map(|i| i * 17 % 50).collect();
    check("long", &checkpoint, &ids, &[1099, 1]);
}

#[test]
fn threads_and_a_used_cache_do_not_change_bits() {
    let (_dir, checkpoint) = random_checkpoint(&UNEQUAL, None);
    let model = LoadedModel::load(&checkpoint, 64).unwrap();
    let ids: Vec<u32> = (0..64).map(|i| i * 13 % 50).collect();
    let run = |threads| with_threads(threads, || pieces(&model, &ids, &[40, 1, 1, 2, 20]));
    assert_eq!(run(1), run(2));
    let mut cache = model.cache(64);
    let first = model.extend(&mut cache, &ids).unwrap();
    cache.clear();
    assert_eq!(cache.tokens(), 0);
    assert_eq!(model.extend(&mut cache, &ids).unwrap(), first);
}

#[test]
fn memory_is_as_documented() {
    let (_dir, checkpoint) = random_checkpoint(&UNEQUAL, None);
    let model = LoadedModel::load(&checkpoint, 64).unwrap();
    let per_token = checkpoint.config().dims.kv_bytes_per_token(4);
    let mut cache = model.cache(64);
    let held = |cache: &KvCache| {
        cache.blocks.iter().map(|b| 4 * (b.keys.capacity() + b.values.capacity()) as u64).sum::<u64>()
    };
    assert_eq!(held(&cache), 64 * per_token);
    model.extend(&mut cache, &[1; 64]).unwrap();
    assert_eq!(held(&cache), 64 * per_token, "nothing is allocated on the way");
    assert_eq!(model.weight_bytes(), checkpoint.stored_bytes(), "stored in f32 too");
}

#[test]
fn what_does_not_fit_is_a_fault() {
    let (_dir, checkpoint) = random_checkpoint(&UNEQUAL, None);
    let model = LoadedModel::load(&checkpoint, 8).unwrap();
    let mut cache = model.cache(4);
    assert!(model.extend(&mut cache, &[]).is_err());
    assert!(model.extend(&mut cache, &[1; 5]).is_err());
    assert!(model.extend(&mut model.cache(9), &[1; 9]).is_err(), "rotary tables end");
    assert!(model.extend(&mut cache, &[50]).unwrap_err().to_string().contains("vocabulary of 50"));
    assert!(model.extend(&mut cache, &[49; 4]).is_ok());
}
