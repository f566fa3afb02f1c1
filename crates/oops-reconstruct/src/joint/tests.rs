//! Laws of the joint refinement on a tiny FFN.

use oops_core::{BlockDims, BlockPlan};
use oops_model::slice_block;

use super::*;
use crate::{
    forward::without_attention,
    options::Target,
    testkit::{DIMS, HIDDEN, block, config, noise},
};

const ROWS: usize = 60;

struct Case {
    decoder: Decoder,
    batches: Vec<Batch>,
    x: Shelf,
    y: Shelf,
    half: Block,
}

/// An FFN whose every third channel goes, four batches of which the last judges, and what the whole FFN makes of them.
fn case() -> Case {
    let decoder = Decoder::new(&config(1), ROWS).unwrap();
    let dense = without_attention(&block(3)).unwrap();
    let ffn = (0..DIMS.ffn as u32).filter(|j| j % 3 != 1).collect();
    let whole = block(3);
    let half = without_attention(&slice_block(&whole, &BlockPlan::of_groups(&DIMS, vec![0, 1], ffn)).unwrap()).unwrap();
    assert_eq!(half.dims, BlockDims { query_heads: 0, kv_heads: 0, ffn: 16, ..DIMS });
    let (mut x, mut y, mut batches) = (Shelf::new(None).unwrap(), Shelf::new(None).unwrap(), Vec::new());
    for i in 0..4 {
        let stream = noise(&[ROWS, HIDDEN], 20 + i, 1.0);
        y.push(decoder.block(&dense, &stream, &[ROWS], &mut |_, _| Ok(())).unwrap()).unwrap();
        x.push(stream).unwrap();
        let split = if i == 3 { Split::Heldout } else { Split::Fit };
        batches.push(Batch { split, lengths: vec![ROWS], judges: vec![i == 3; ROWS] });
    }
    Case { decoder, batches, x, y, half }
}

fn joint() -> Joint {
    Joint { target: Target::Own, steps: 3, iterations: 6, damping: 0.1, kappa: 0.0 }
}

fn run(case: &Case, joint: Joint) -> (Block, Refined) {
    let never = || Ok(());
    let fit = Fit::new(joint, &case.decoder, &case.batches, [&case.x, &case.y], &never).unwrap();
    fit.run(case.half.clone()).unwrap()
}

#[test]
fn the_best_iterate_on_held_out_tokens_is_kept() {
    let case = case();
    let (_, refined) = run(&case, joint());
    let least = refined.iterates.concat().into_iter().fold(refined.error_before, f64::min);
    assert!((refined.error_after - least).abs() < 1e-12);
    assert!(refined.error_after < 0.9 * refined.error_before, "{refined:?}");
    assert!(refined.iterates.len() <= 3 && refined.iterates.iter().all(|e| e.len() <= 6));
}

#[test]
fn every_step_goes_on_from_the_best_of_the_last() {
    let case = case();
    let one = run(&case, Joint { steps: 1, ..joint() }).1;
    let two = run(&case, Joint { steps: 2, ..joint() }).1;
    assert_eq!(one.iterates[0], two.iterates[0]);
    assert!(two.error_after <= one.error_after);
}

#[test]
fn the_gradient_is_that_of_the_error() {
    let mut case = case();
    // The error of the fitted tokens is asked for.
    case.batches.iter_mut().for_each(|b| b.judges = vec![true; ROWS]);
    let never = || Ok(());
    let fit = Fit::new(joint(), &case.decoder, &case.batches, [&case.x, &case.y], &never).unwrap();
    let (_, gradient) = System::gather(&fit, &case.half).unwrap();
    let loss = |step: &[f32]| -> f64 {
        let moved = moved(&case.half, step).unwrap();
        let of = |i: usize| {
            let out = case.decoder.block(&moved, &case.x.get(i).unwrap(), &[ROWS], &mut |_, _| Ok(())).unwrap();
            fit.squares(i, &out).unwrap()
        };
        (0..3).map(of).sum::<f64>() / (3 * ROWS) as f64
    };
    // Along the gradient itself: the slope of ½ loss is −‖gradient‖².
    let square: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
    let h = 1e-3 / square.sqrt();
    let at = |by: f64| loss(&gradient.iter().map(|&g| (by * f64::from(g)) as f32).collect::<Vec<_>>());
    let slope = (at(h) - at(-h)) / (4.0 * h);
    assert!((slope / -square - 1.0).abs() < 1e-2, "{slope} {square}");
}

#[test]
fn a_whole_ffn_has_nothing_to_gain() {
    let mut case = case();
    case.half = without_attention(&block(3)).unwrap();
    let (block, refined) = run(&case, joint());
    assert_eq!((refined.error_before, refined.error_after), (0.0, 0.0));
    assert_eq!(values(&block.up.weight).unwrap(), values(&case.half.up.weight).unwrap());
}

#[test]
fn a_massive_token_does_not_own_the_fit() {
    let mut case = case();
    let mut loud = values(&case.y.get(0).unwrap()).unwrap();
    loud[..HIDDEN].iter_mut().for_each(|v| *v *= 1e4);
    case.y.set(0, matrix(loud, ROWS, HIDDEN).unwrap()).unwrap();
    let deaf = run(&case, joint()).1.error_after;
    let weighed = run(&case, Joint { kappa: 10.0, ..joint() }).1.error_after;
    assert!(weighed < 0.9 * deaf, "{weighed} {deaf}");
}

#[test]
fn threads_do_not_change_a_bit() {
    let case = case();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (block, refined) = pool.install(|| run(&case, joint()));
        (values(&block.gate.weight).unwrap(), values(&block.down.weight).unwrap(), refined)
    };
    assert_eq!(with(1), with(2));
}
