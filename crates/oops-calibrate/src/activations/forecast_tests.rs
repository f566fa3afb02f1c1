//! Law of what a calibration is foretold to need.

use oops_core::{BlockDims, ModelDims};
use oops_stage::{Facts, PortFacts, Stage, TokensFacts};

use super::{Activations, MOMENT_BYTES, Params};

/// Memory for sequences of 8 tokens, one at a time, on a model of width 16 with sites of 16 and 24 channels.
fn memory(sequences: usize, heldout_fraction: f64) -> u64 {
    let block = BlockDims { query_heads: 4, kv_heads: 2, head_dim: 4, ffn: 24 };
    let dims = ModelDims { hidden: 16, vocab: 8, tied: false, gated: true, blocks: vec![block; 2] };
    let model = Facts { model: Some(dims), ..Facts::default() };
    let tokens = Facts { tokens: Some(TokensFacts { sequences, sequence_tokens: 8 }), ..Facts::default() };
    let ports = [("model", model), ("tokens", tokens)].map(|(port, facts)| (port.to_owned(), vec![facts]));
    let params = Params { gram: true, batch_tokens: 8, heldout_fraction, ..Params::default() };
    Activations::needs(&params, &PortFacts(ports.into())).memory_bytes.expect("all dimensions are known")
}

#[test]
fn only_splits_that_have_sequences_have_statistics() {
    let stream = 4 * 8 * 16;
    assert_eq!(memory(10, 0.0) - memory(9, 0.0), stream);
    // The tenth sequence is the first that is held out.
    let statistics = 4 * (16 * 16 + 24 * 24) + MOMENT_BYTES * 2 * 24;
    assert_eq!(memory(10, 0.1) - memory(9, 0.1), stream + statistics);
}
