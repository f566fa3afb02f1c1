//! A tiny random model, tokens for it, and runs of the pass that stop where they are told to.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use candle_core::Tensor;
use oops_artifact::{Artifact, Kind, TokenSet};
use oops_core::{BlockDims, ModelDims, Result, Rng, Site, UnitKind};
use oops_model::{
    Block, Checkpoint, ComputeDtype, DType, Decoder, Family, Linear, ModelConfig, Rope, RopeScaling, StreamDtype,
    hf_config_with_biases, hf_index, matrix, shard_contents, vector, with_values, write_block, write_outer,
};
use oops_stage::{Cx, Progress, Workdir};

use super::{Params, pass};

const HIDDEN: usize = 16;
const VOCAB: usize = 40;
/// Tokens of the sequences of [`tokens`].
pub(super) const LENGTHS: [usize; 5] = [9, 1, 14, 6, 2];

/// A folder that goes when the test ends.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// An empty folder.
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("oops-gradients-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A path inside.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn random(rng: &mut Rng, rows: usize, cols: usize, scale: f64) -> Tensor {
    matrix((0..rows * cols).map(|_| ((2.0 * rng.uniform() - 1.0) * scale) as f32).collect(), rows, cols).unwrap()
}

fn norm(rng: &mut Rng) -> Tensor {
    vector((0..HIDDEN).map(|_| (0.8 + 0.4 * rng.uniform()) as f32).collect()).unwrap()
}

fn random_block(rng: &mut Rng, dims: BlockDims) -> Block {
    let (wide, narrow) = (dims.query_heads * dims.head_dim, dims.kv_heads * dims.head_dim);
    let mut layer = |out: usize, inputs: usize| Linear { weight: random(rng, out, inputs, 0.5), bias: None };
    let [q, k, v, o] = [(wide, HIDDEN), (narrow, HIDDEN), (narrow, HIDDEN), (HIDDEN, wide)].map(|(n, m)| layer(n, m));
    let [gate, up, down] = [(dims.ffn, HIDDEN), (dims.ffn, HIDDEN), (HIDDEN, dims.ffn)].map(|(n, m)| layer(n, m));
    let (input_norm, ffn_norm) = (norm(rng), norm(rng));
    Block { dims, input_norm, q, k, v, o, q_norm: None, k_norm: None, ffn_norm, gate, up, down }
}

/// Three blocks of different widths, two KV groups of two heads in the first two.
pub(super) fn checkpoint(folder: &Folder) -> Checkpoint {
    let wide = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 12 };
    let blocks = vec![wide, BlockDims { ffn: 70, ..wide }, BlockDims { query_heads: 2, kv_heads: 1, ..wide }];
    let config = ModelConfig {
        family: Family::Llama,
        dims: ModelDims { hidden: HIDDEN, vocab: VOCAB, tied: false, gated: true, blocks },
        norm_eps: 1e-5,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        max_position: 64,
        sliding_window: None,
        bos: Some(1),
        eos: vec![2],
        dtype: DType::F32,
    };
    let mut rng = Rng::new(7, "tiny model");
    for (l, dims) in config.dims.blocks.iter().enumerate() {
        let path = folder.join(&format!("block-{l}.safetensors"));
        write_block(&path, l, &random_block(&mut rng, *dims), &DType::F32).unwrap();
    }
    let (embedding, head) = (random(&mut rng, VOCAB, HIDDEN, 1.0), random(&mut rng, VOCAB, HIDDEN, 1.0));
    write_outer(&folder.join("outer.safetensors"), &embedding, &norm(&mut rng), Some(&head), &DType::F32).unwrap();
    let shard = |name: String| {
        let (names, bytes) = shard_contents(&folder.join(&name)).unwrap();
        (name, names, bytes)
    };
    let names = (0..3).map(|l| format!("block-{l}.safetensors")).chain(["outer.safetensors".to_owned()]);
    let index = hf_index(&names.map(shard).collect::<Vec<_>>());
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    fs::write(folder.join("config.json"), hf_config_with_biases(&config).to_string()).unwrap();
    Checkpoint::open_path(&folder.0).unwrap()
}

/// A token set of these sequences.
pub(super) fn token_set(sequences: Vec<Vec<u32>>) -> TokenSet {
    TokenSet::of(sequences, VOCAB)
}

/// Random sequences of [`LENGTHS`].
pub(super) fn tokens() -> TokenSet {
    let mut rng = Rng::new(3, "tokens");
    token_set(LENGTHS.iter().map(|&n| (0..n).map(|_| rng.below(VOCAB) as u32).collect()).collect())
}

/// What every run uses, but for one.
pub(super) const PARAMS: Params = Params {
    batch_tokens: 16,
    stream_dtype: StreamDtype::F32,
    compute_dtype: ComputeDtype::F32,
    per_sequence: true,
    curvature: true,
};

/// One run in `work`; the artifact so far and how it ended.
pub(super) fn run(model: &Checkpoint, tokens: &TokenSet, work: &Path, stop: Option<u64>) -> (Artifact, Result<()>) {
    run_spilling(&PARAMS, model, tokens, work, stop, false)
}

/// The same with other parameters, with streams on disk if `spill`.
pub(super) fn run_spilling(
    params: &Params,
    model: &Checkpoint,
    tokens: &TokenSet,
    work: &Path,
    stop: Option<u64>,
    spill: bool,
) -> (Artifact, Result<()>) {
    let cancel = AtomicBool::new(stop == Some(0));
    let progress = StopAfter { steps: AtomicU64::new(0), stop: stop.unwrap_or(u64::MAX), cancel: &cancel };
    let cx = Cx::new(0, Workdir::open(work).unwrap(), &progress, &cancel).spilling(spill);
    let outcome = pass(params, model, tokens, &cx);
    let finished = cx.work.finish();
    (Artifact { kind: Kind::Gradients, tree: finished.tree, paths: finished.fresh }, outcome)
}

/// Cancels once this many steps are done.
struct StopAfter<'a> {
    steps: AtomicU64,
    stop: u64,
    cancel: &'a AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn begin(&self, total: u64, _: &str) {
        assert_eq!(total, 7);
    }

    fn advance(&self, steps: u64) {
        let done = self.steps.fetch_add(steps, Ordering::Relaxed) + steps;
        assert!(done <= 7, "{done} steps of 7");
        self.cancel.store(done >= self.stop, Ordering::Relaxed);
    }

    fn warn(&self, _: &str) {}
}

/// L_b of one sequence through the model with `edit`ed blocks.
pub(super) fn loss(model: &Checkpoint, ids: &[u32], edit: impl Fn(usize, Block) -> Block) -> f64 {
    let decoder = Decoder::new(model.config(), ids.len()).unwrap();
    let mut x = decoder.embed(&model.embedding().unwrap(), ids).unwrap();
    for l in 0..model.config().dims.blocks.len() {
        let block = edit(l, model.block(l).unwrap());
        x = decoder.block(&block, &x, &[ids.len()], &mut |_, _| Ok(())).unwrap();
    }
    let logits = decoder.logits(&model.final_norm().unwrap(), &model.head().unwrap(), &x).unwrap();
    let rows = logits.narrow(0, 0, ids.len() - 1).unwrap();
    oops_model::cross_entropy(&rows, &ids[1..]).unwrap().iter().sum()
}

/// The block with its unit's mask at `m`: columns of the projection that reads the site are scaled.
pub(super) fn masked(mut block: Block, kind: UnitKind, unit: usize, m: f32) -> Block {
    let channels = kind.channels(&block.dims, unit);
    let layer = if kind.site() == Site::MlpDown { &mut block.down } else { &mut block.o };
    let (rows, width) = layer.weight.dims2().unwrap();
    let scale = |i: usize| if channels.contains(&(i % width)) { m } else { 1.0 };
    let weight = with_values(&layer.weight, |w| w.iter().enumerate().map(|(i, w)| w * scale(i)).collect()).unwrap();
    layer.weight = matrix(weight, rows, width).unwrap();
    block
}
