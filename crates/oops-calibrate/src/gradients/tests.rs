//! Laws of the pass: equal to finite differences and to automatic gradients of the whole model, the same bytes after any
//! interruption and with any number of threads.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::atomic::AtomicBool};

use candle_core::Var;
use oops_artifact::{Artifact, Tree, read_curvature, read_gradients, read_sequence_gradients};
use oops_core::{Site, UnitKind};
use oops_model::{Block, Decoder, autograd, vector};
use oops_stage::{NoProgress, Workdir};

use super::{
    tiny::{Folder, LENGTHS, PARAMS, checkpoint, loss, masked, run, run_spilling, token_set, tokens},
    *,
};

/// Picks one unit's gradient from those of all blocks' sites.
type Pick<'a> = dyn Fn(&[[Vec<f32>; 2]], usize) -> f64 + 'a;

#[test]
fn gradients_are_the_slopes_of_each_sequences_loss_along_each_mask() {
    let folder = Folder::new("slopes");
    let (model, tokens) = (checkpoint(&folder), tokens());
    let (artifact, outcome) = run(&model, &tokens, &folder.join("work"), None);
    outcome.unwrap();
    for (l, dims) in model.config().dims.blocks.iter().enumerate() {
        for kind in UnitKind::ALL {
            let units = kind.count(dims);
            let g = read_sequence_gradients(&artifact, l, kind, units).unwrap();
            assert_eq!(g.len(), LENGTHS.len() * units);
            for (b, ids) in tokens.sequences.iter().enumerate().filter(|(_, ids)| ids.len() > 1) {
                for u in (0..units).step_by(5) {
                    let at = |m: f32| loss(&model, ids, |i, b| if i == l { masked(b, kind, u, m) } else { b });
                    // Five points: their error is of the fourth order in the step of 0.02.
                    let slope = (8.0 * (at(1.02) - at(0.98)) - (at(1.04) - at(0.96))) / 0.24;
                    let got = g[b * units + u];
                    assert!((slope - got).abs() < 3e-3 * (1.0 + got.abs()), "{l} {kind} {b} {u}: {slope} {got}");
                }
            }
        }
    }
}

/// g of one sequence by the tensor library, through the whole model at once: per block FFN channels and query heads.
fn automatic(model: &Checkpoint, ids: &[u32]) -> Vec<[Vec<f32>; 2]> {
    let config = model.config();
    let mut x = autograd::embed(&model.embedding().unwrap(), ids, ids.len()).unwrap();
    let mut masks = Vec::new();
    for l in 0..config.dims.blocks.len() {
        let block = model.block(l).unwrap();
        let ones = |n| Var::from_tensor(&vector(vec![1.0; n]).unwrap()).unwrap();
        let (ffn, heads) = (ones(block.dims.ffn), ones(block.dims.query_heads));
        x = autograd::block_forward_tapped(config, &block, &x, &mut |site, t| {
            let d = block.dims.head_dim;
            Ok(match site {
                Site::MlpDown => t.broadcast_mul(ffn.as_tensor()).unwrap(),
                Site::AttnOut => {
                    let t = t.reshape((1, ids.len(), block.dims.query_heads, d)).unwrap();
                    t.broadcast_mul(&heads.as_tensor().unsqueeze(1).unwrap()).unwrap().flatten_from(2).unwrap()
                }
            })
        })
        .unwrap();
        masks.push([ffn, heads]);
    }
    let logits = autograd::logits(config, &model.final_norm().unwrap(), &model.head().unwrap(), &x).unwrap();
    let rows = logits.narrow(0, 0, ids.len() - 1).unwrap();
    let sum = (autograd::loss(&rows, &ids[1..]).unwrap() * (ids.len() - 1) as f64).unwrap();
    let grads = sum.backward().unwrap();
    let of = |v: &Var| grads.get(v).unwrap().to_vec1().unwrap();
    masks.iter().map(|[ffn, heads]| [of(ffn), of(heads)]).collect()
}

#[test]
fn sums_equal_those_of_automatic_gradients_and_a_groups_is_that_of_its_heads() {
    let folder = Folder::new("automatic");
    let (model, tokens) = (checkpoint(&folder), tokens());
    let (artifact, outcome) = run(&model, &tokens, &folder.join("work"), None);
    outcome.unwrap();
    let predicting = tokens.sequences.iter().filter(|ids| ids.len() > 1);
    let all: Vec<_> = predicting.map(|ids| automatic(&model, ids)).collect();
    let sums = |g: &Pick, units: usize| -> (Vec<f64>, Vec<f64>) {
        let sum = |u, power| all.iter().map(|s| g(s, u).powi(power)).sum::<f64>();
        (0..units).map(|u| (sum(u, 1), sum(u, 2))).unzip()
    };
    for (l, dims) in model.config().dims.blocks.iter().enumerate() {
        for kind in UnitKind::ALL {
            let g = |s: &[[Vec<f32>; 2]], u: usize| -> f64 {
                let heads = match kind {
                    UnitKind::FfnChannel => return f64::from(s[l][0][u]),
                    UnitKind::QueryHead => u..u + 1,
                    UnitKind::KvGroup => u * dims.group_size()..(u + 1) * dims.group_size(),
                };
                s[l][1][heads].iter().map(|g| f64::from(*g)).sum()
            };
            let (ours, theirs) = (read_gradients(&artifact, l, kind).unwrap(), sums(&g, kind.count(dims)));
            let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-4 * (1.0 + b.abs()));
            assert_eq!(ours.0.len(), kind.count(dims));
            assert!(close(&ours.0, &theirs.0) && close(&ours.1, &theirs.1), "block {l}, {kind}: {ours:?} {theirs:?}");
        }
    }
    let info: GradientsInfo = json::read(artifact.path(SUMMARY).unwrap()).unwrap();
    let total: f64 = tokens.sequences.iter().filter(|s| s.len() > 1).map(|s| loss(&model, s, |_, b| b)).sum();
    let predicted: usize = LENGTHS.iter().map(|n| n - 1).sum();
    assert!((info.mean_loss - total / predicted as f64).abs() < 1e-5);
    assert_eq!((info.sequences, info.tokens), (LENGTHS.len(), LENGTHS.iter().sum()));
}

/// Behind the last block's FFN the gradient is that of the head's loss.
#[test]
fn curvature_is_the_mean_outer_product_of_gradients_behind_a_site() {
    let folder = Folder::new("curvature");
    let (model, tokens) = (checkpoint(&folder), tokens());
    let (artifact, outcome) = run(&model, &tokens, &folder.join("work"), None);
    outcome.unwrap();
    let config = model.config();
    let (decoder, hidden, last) = (Decoder::new(config, 64).unwrap(), config.dims.hidden, config.dims.blocks.len() - 1);
    let mut sums = vec![0.0f64; hidden * hidden];
    for ids in &tokens.sequences {
        let mut x = decoder.embed(&model.embedding().unwrap(), ids).unwrap();
        for l in 0..=last {
            x = decoder.block(&model.block(l).unwrap(), &x, &[ids.len()], &mut |_, _| Ok(())).unwrap();
        }
        let (norm, head) = (model.final_norm().unwrap(), model.head().unwrap());
        let y = oops_model::values(&decoder.next_token_grad(&norm, &head, &x, ids, &[ids.len()]).unwrap().1).unwrap();
        for y in y.chunks_exact(hidden) {
            (0..hidden * hidden).for_each(|at| sums[at] += f64::from(y[at / hidden]) * f64::from(y[at % hidden]));
        }
    }
    let got = read_curvature(&artifact, last, Site::MlpDown, hidden).unwrap();
    let rows = (0..hidden).flat_map(|i| (0..=i).map(move |j| i * hidden + j));
    for (got, at) in got.iter().zip(rows) {
        let expected = sums[at] / tokens.tokens() as f64;
        assert!((f64::from(*got) - expected).abs() < 1e-5, "{got} {expected}");
    }
    assert!(read_curvature(&artifact, 0, Site::AttnOut, hidden).unwrap().iter().any(|g| *g != 0.0));
}

#[test]
fn an_interrupted_pass_goes_on_to_the_same_bytes() {
    let folder = Folder::new("resume");
    let (model, tokens) = (checkpoint(&folder), tokens());
    let (whole, outcome) = run(&model, &tokens, &folder.join("whole"), None);
    outcome.unwrap();
    assert!(whole.tree.0.contains_key("gradients/block-002.parquet") && whole.tree.0.contains_key(LOSSES));
    // With streams in memory or on disk before the stop, and after it.
    for (stop, how) in (0..7).flat_map(|stop| (0..4).map(move |how| (stop, how))) {
        let work = folder.join(&format!("stopped-{stop}-{how}"));
        run_spilling(&PARAMS, &model, &tokens, &work, Some(stop), how & 1 > 0).1.unwrap_err();
        let (resumed, outcome) = run_spilling(&PARAMS, &model, &tokens, &work, None, how & 2 > 0);
        outcome.unwrap();
        assert_eq!(resumed.tree, whole.tree, "stopped after {stop}, {how}");
    }
    // A run that was stopped after every single step.
    let work = folder.join("stepwise");
    for stop in 0..7 {
        run(&model, &tokens, &work, Some(stop)).1.unwrap_err();
    }
    assert_eq!(run(&model, &tokens, &work, None).0.tree, whole.tree);
}

#[test]
fn a_stream_in_bf16_gives_nearly_the_same_wherever_it_lies() {
    let folder = Folder::new("bf16");
    let (model, tokens) = (checkpoint(&folder), tokens());
    let half = Params { stream_dtype: StreamDtype::Bf16, ..PARAMS };
    let (exact, outcome) = run(&model, &tokens, &folder.join("f32"), None);
    outcome.unwrap();
    let [held, spilled] = [false, true].map(|spill| {
        let work = folder.join(&format!("spill-{spill}"));
        run_spilling(&half, &model, &tokens, &work, Some(3), !spill).1.unwrap_err();
        run_spilling(&half, &model, &tokens, &work, None, spill).0
    });
    assert!(held.tree == spilled.tree && held.tree != exact.tree);
    for (l, kind) in (0..model.config().dims.blocks.len()).flat_map(|l| UnitKind::ALL.map(|kind| (l, kind))) {
        let [exact, rounded] = [&exact, &held].map(|a| read_gradients(a, l, kind).unwrap().1);
        let total: f64 = exact.iter().sum();
        let off: f64 = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).sum();
        assert!(off > 0.0 && off < 0.1 * total, "block {l}, {kind}: {off} of {total}");
    }
}

#[test]
fn damaged_checkpoints_are_not_trusted() {
    let folder = Folder::new("damage");
    let (model, tokens) = (checkpoint(&folder), tokens());
    let whole = run(&model, &tokens, &folder.join("whole"), None).0;
    for (stop, damaged) in [
        (2, "state/input-001.bin"),
        (3, "state/input-003.bin"),
        (5, "state/gradient-002.bin"),
        (5, "state/input-000.bin"),
        (5, "gradients/block-002.parquet"),
        (6, LOSSES),
    ] {
        let work = folder.join(&format!("{stop}-{}", damaged.replace('/', "-")));
        run(&model, &tokens, &work, Some(stop)).1.unwrap_err();
        let path = work.join(damaged);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(run(&model, &tokens, &work, None).0.tree, whole.tree, "{damaged} after {stop}");
    }
}

#[test]
fn one_and_two_threads_give_the_same_bytes() {
    let folder = Folder::new("threads");
    let (model, tokens) = (checkpoint(&folder), tokens());
    let tree = |threads: usize| -> Tree {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&model, &tokens, &folder.join(&format!("{threads}")), None).0.tree)
    };
    assert_eq!(tree(1), tree(2));
}

#[test]
fn tokens_that_predict_nothing_are_refused() {
    let folder = Folder::new("nothing");
    let model = checkpoint(&folder);
    let fault = run(&model, &token_set(vec![vec![1], vec![2]]), &folder.join("work"), None).1.unwrap_err();
    assert!(fault.to_string().contains("second token"));
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn a_trained_models_loss_and_slopes_are_those_of_its_stories() {
    let root = PathBuf::from(std::env::var_os("OOPS_FIXTURES").expect("OOPS_FIXTURES names the folder of fixtures"));
    let folder = Folder::new("stories");
    let model = Checkpoint::open_path(&root.join("models/stories260k")).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let text = fs::read_to_string(root.join("text/tinystories.jsonl")).unwrap();
    let stories = text.lines().take(5).map(|line| {
        let story: BTreeMap<String, String> = serde_json::from_str(line).unwrap();
        let ids = tokenizer.encode(&story["text"]).unwrap();
        tokenizer.bos().into_iter().chain(ids).take(150).collect()
    });
    let tokens = token_set(stories.collect());
    let cancel = AtomicBool::new(false);
    let cx = Cx::new(0, Workdir::open(folder.join("work")).unwrap(), &NoProgress, &cancel);
    pass(&Params::default(), &model, &tokens, &cx).unwrap();
    let finished = cx.work.finish();
    let artifact = Artifact { kind: Kind::Gradients, tree: finished.tree, paths: finished.fresh };
    let info: GradientsInfo = json::read(artifact.path(SUMMARY).unwrap()).unwrap();
    let predicted: usize = tokens.sequences.iter().map(|s| s.len() - 1).sum();
    let total = |m: f32, l: usize, kind: UnitKind, unit: usize| -> f64 {
        let edit = |i: usize, b: Block| if i == l { masked(b, kind, unit, m) } else { b };
        tokens.sequences.iter().map(|s| loss(&model, s, edit)).sum()
    };
    assert!((info.mean_loss - total(1.0, 0, UnitKind::KvGroup, 0) / predicted as f64).abs() < 1e-4);
    assert!((1.0..2.0).contains(&info.mean_loss), "{}", info.mean_loss);
    for (l, kind, unit) in [(0, UnitKind::FfnChannel, 3), (2, UnitKind::QueryHead, 5), (4, UnitKind::KvGroup, 1)] {
        let (sum, squares) = read_gradients(&artifact, l, kind).unwrap();
        let slope = (total(1.02, l, kind, unit) - total(0.98, l, kind, unit)) / 0.04;
        assert!((slope - sum[unit]).abs() < 1e-2 * (1.0 + sum[unit].abs()), "{l} {kind}: {slope} {}", sum[unit]);
        assert!(sum.len() == kind.count(&model.config().dims.blocks[l]) && squares.iter().all(|s| *s >= 0.0));
    }
}
