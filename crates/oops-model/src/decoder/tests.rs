//! Laws of the forward pass: the reference's logits, both forms alike, packing, thread counts.

use std::cell::RefCell;

use candle_core::Var;
use oops_core::BlockDims;

use super::*;
use crate::{
    Checkpoint, Family,
    fixtures::{TINY, config, fixture, logits, max_diff, random, random_block},
    kernels::testing::{relative_distance, with_threads},
};

const DIMS: BlockDims = BlockDims { query_heads: 6, kv_heads: 2, head_dim: 8, ffn: 40 };

fn setup(window: Option<usize>) -> (Decoder, Block, Tensor) {
    let mut config = config(Family::Qwen3, 32, vec![DIMS]);
    config.sliding_window = window;
    (Decoder::new(&config, 64).unwrap(), random_block(32, DIMS, 1), random(&[40, 32], 9, 2.0))
}

fn run(d: &Decoder, b: &Block, x: &Tensor, lengths: &[usize]) -> Tensor {
    d.block(b, x, lengths, &mut |_, _| Ok(())).unwrap()
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn logits_of_every_family_match_the_reference() {
    for name in TINY {
        let path = fixture(&format!("models/tiny-random/{name}"));
        let reference = candle_core::safetensors::load(path.join("reference.safetensors"), &Device::Cpu).unwrap();
        let ids: Vec<u32> =
            reference["input_ids"].flatten_all().unwrap().to_dtype(DType::U32).unwrap().to_vec1().unwrap();
        let model = Checkpoint::open_path(&path).unwrap();
        let ours = logits(&model, &ids, &[ids.len()], |_, b| b);
        let diff = max_diff(&ours, &reference["logits"].flatten_to(1).unwrap());
        assert!(diff <= 1e-4, "{name}: {diff}");
    }
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn stories260k_tells_its_story() {
    let path = fixture("models/stories260k");
    let model = Checkpoint::open_path(&path).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let mut ids = vec![tokenizer.bos().unwrap()];
    let begin = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. \
                 One day, she saw a big, red ball.";
    for _ in 0..60 {
        let last = logits(&model, &ids, &[ids.len()], |_, b| b).narrow(0, ids.len() - 1, 1).unwrap();
        ids.push(last.argmax(1).unwrap().to_vec1::<u32>().unwrap()[0]);
    }
    let text = tokenizer.decode(&ids).unwrap();
    assert!(text.trim_start().starts_with(begin), "{text}");
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn stories260k_scores_its_stories() {
    let (path, text) = (fixture("models/stories260k"), fixture("text/tinystories.jsonl"));
    let model = Checkpoint::open_path(&path).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let (mut ids, mut lengths) = (Vec::new(), Vec::new());
    for line in std::fs::read_to_string(text).unwrap().lines() {
        let story: serde_json::Value = serde_json::from_str(line).unwrap();
        let before = ids.len();
        ids.push(tokenizer.bos().unwrap());
        ids.extend(tokenizer.encode(story["text"].as_str().unwrap()).unwrap());
        lengths.push(ids.len() - before);
    }
    let logits = logits(&model, &ids, &lengths, |_, b| b);
    let next: Vec<u32> = ids[1..].iter().copied().chain([0]).collect();
    let losses = cross_entropy(&logits, &next).unwrap();
    let (mut sum, mut count, mut start) = (0.0, 0, 0);
    for n in lengths {
        sum += losses[start..start + n - 1].iter().sum::<f64>();
        (count, start) = (count + n - 1, start + n);
    }
    let perplexity = (sum / f64::from(count as u32)).exp();
    assert!((perplexity - 4.0).abs() < 0.02, "{perplexity}");
}

#[test]
fn operands_in_bf16_give_nearly_the_same_with_and_without_biases() {
    let (d, b, x) = setup(None);
    let d = d.computing(ComputeDtype::Bf16);
    let mut bare = b.clone();
    for layer in [&mut bare.q, &mut bare.k, &mut bare.v, &mut bare.o, &mut bare.gate, &mut bare.up, &mut bare.down] {
        layer.bias = None;
    }
    for b in [&b, &bare] {
        let inner = |form: &dyn Fn(&mut Tap<'_>) -> Result<Tensor>| {
            let mut sites = Vec::new();
            let out = form(&mut |_, t| {
                sites.push(crate::values(t)?);
                Ok(())
            });
            sites.push(crate::values(&out.unwrap()).unwrap());
            sites
        };
        let rounded = inner(&|tap| d.block(b, &x, &[1, 24, 15], tap));
        let exact = inner(&|tap| plain::block(&d, b, &x, &[1, 24, 15], tap));
        for (rounded, exact) in rounded.iter().zip(&exact) {
            let distance = relative_distance(rounded, exact);
            assert!((1e-5..1e-2).contains(&distance), "{distance}");
        }
    }
}

#[test]
fn both_forms_give_the_same_states_taps_and_logits() {
    for window in [None, Some(5)] {
        let (d, b, x) = setup(window);
        let taps = RefCell::new(Vec::new());
        let mut tap = |site: Site, t: &Tensor| {
            taps.borrow_mut().push((site, t.clone()));
            Ok(())
        };
        let fast = fast::block(&d, &b, &x, &[1, 24, 15], &mut tap).unwrap();
        let plain = plain::block(&d, &b, &x, &[1, 24, 15], &mut tap).unwrap();
        assert!(max_diff(&fast, &plain) < 1e-5);
        let taps = taps.into_inner();
        assert_eq!(taps.iter().map(|t| t.0).collect::<Vec<_>>(), [Site::ALL, Site::ALL].concat());
        assert!(max_diff(&taps[0].1, &taps[2].1) < 1e-5 && max_diff(&taps[1].1, &taps[3].1) < 1e-5);

        let (norm, head) = (random(&[32], 3, 1.0), random(&[50, 32], 4, 1.0));
        let fast = d.logits(&norm, &head, &x).unwrap();
        let var = Var::from_tensor(&norm).unwrap();
        assert!(max_diff(&fast, &d.logits(var.as_tensor(), &head, &x).unwrap()) < 1e-5);
    }
}

#[test]
fn a_block_with_variables_carries_gradients_to_all_of_them() {
    let (d, mut b, x) = setup(None);
    let var = Var::from_tensor(&b.q.weight).unwrap();
    b.q.weight = var.as_tensor().clone();
    let grads = run(&d, &b, &x, &[40]).sqr().unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&var).is_some());
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    let (d, b, x) = setup(None);
    let packed = run(&d, &b, &x, &[17, 23]);
    let alone = |start, n| run(&d, &b, &x.narrow(0, start, n).unwrap(), &[n]);
    assert!(max_diff(&packed.narrow(0, 0, 17).unwrap(), &alone(0, 17)) < 1e-5);
    assert!(max_diff(&packed.narrow(0, 17, 23).unwrap(), &alone(17, 23)) < 1e-5);
    assert_eq!(run(&d, &b, &x, &[0, 40, 0]).dims(), [40, 32]);
}

#[test]
fn thread_count_does_not_change_bits() {
    let hidden = 96;
    let dims = BlockDims { query_heads: 6, kv_heads: 3, head_dim: 16, ffn: 200 };
    let d = Decoder::new(&config(Family::Llama, hidden, vec![dims]), 300).unwrap();
    let (b, x) = (random_block(hidden, dims, 2), random(&[600, hidden], 5, 1.0));
    let bits = |threads| with_threads(threads, || crate::values(&run(&d, &b, &x, &[300, 1, 299])).unwrap());
    let one: Vec<u32> = bits(1).iter().map(|v| v.to_bits()).collect();
    assert_eq!(one, bits(2).iter().map(|v| v.to_bits()).collect::<Vec<_>>());
}

#[test]
fn a_block_without_units_adds_its_biases() {
    let dims = BlockDims { query_heads: 0, kv_heads: 0, head_dim: 8, ffn: 0 };
    let d = Decoder::new(&config(Family::Llama, 16, vec![dims]), 8).unwrap();
    let (b, x) = (random_block(16, dims, 3), random(&[5, 16], 4, 1.0));
    let biases = (b.o.bias.as_ref().unwrap() + b.down.bias.as_ref().unwrap()).unwrap();
    let expected = x.broadcast_add(&biases).unwrap();
    assert!(max_diff(&run(&d, &b, &x, &[5]), &expected) < 1e-6);
    assert!(max_diff(&run(&d.computing(ComputeDtype::Bf16), &b, &x, &[5]), &expected) < 1e-6);
}

#[test]
fn wrong_ids_lengths_and_shapes_are_faults() {
    let (d, b, x) = setup(None);
    let no_tap = &mut |_: Site, _: &Tensor| Ok(());
    assert!(d.embed(&x, &[40]).unwrap_err().to_string().contains("vocabulary of 40"));
    assert!(d.block(&b, &x, &[39], no_tap).is_err());
    assert!(d.block(&b, &random(&[65, 32], 1, 1.0), &[65], no_tap).is_err());
    assert!(d.block(&Block { gate: b.down.clone(), ..b.clone() }, &x, &[40], no_tap).is_err());
    assert!(cross_entropy(&x, &[32; 40]).is_err());
    assert!(cross_entropy(&x, &[0; 3]).is_err());
}

#[test]
fn the_fault_of_a_tap_stops_the_block() {
    let (d, b, x) = setup(None);
    let fault = d.block(&b, &x, &[40], &mut |_, _| Err(Fault::interrupted("stop"))).unwrap_err();
    assert_eq!(fault.what(), "stop");
}
