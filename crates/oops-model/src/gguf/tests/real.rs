//! A published model: shape, tokens, next token.

use std::{fs, path::Path};

use candle_core::Tensor;

use crate::{
    Block, Checkpoint, Decoder,
    fixtures::fixture,
    gguf::{GgufModel, open_gguf},
};

const SMOLLM2: &str = "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";

fn smollm2(root: &Path) -> GgufModel {
    open_gguf(&root.join(SMOLLM2)).unwrap()
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn smollm2_has_its_published_shape() {
    let root = fixture("");
    let m = smollm2(&root);
    let (c, b) = (&m.config, m.config.dims.blocks[29]);
    assert_eq!((c.dims.hidden, c.dims.vocab, c.dims.tied, c.dims.blocks.len()), (576, 49152, true, 30));
    assert_eq!((b.query_heads, b.kv_heads, b.head_dim, b.ffn), (9, 3, 64, 1536));
    assert_eq!((c.norm_eps, c.rope.theta, c.max_position, c.bos), (1e-5, 1e5, 8192, Some(1)));
    assert_eq!(c.dims.decoder_params() + 49152 * 576 + 61 * 576, 134_515_008);
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn smollm2_encodes_as_the_original_tokenizer_does() {
    let root = fixture("");
    let t: tokenizers::Tokenizer = smollm2(&root).tokenizer_json.parse().unwrap();
    let encode = |text: &str| t.encode_fast(text, false).unwrap().get_ids().to_vec();
    assert_eq!(encode("The capital of France is"), [504, 3575, 282, 4649, 314]);
    assert_eq!(encode("<|im_start|>"), [1]);
    let text = fs::read_to_string(root.join("text/wikitext2-test.txt")).unwrap();
    let ids = encode(&text);
    assert_eq!(ids.len(), 304_978);
    assert_eq!(t.decode(&ids, true).unwrap(), text);
}

/// The reference was computed with weights rounded to binary16.
fn halved(t: &Tensor) -> Tensor {
    t.to_dtype(candle_core::DType::F16).unwrap().to_dtype(candle_core::DType::F32).unwrap()
}

fn halved_block(mut b: Block) -> Block {
    for layer in [&mut b.q, &mut b.k, &mut b.v, &mut b.o, &mut b.gate, &mut b.up, &mut b.down] {
        layer.weight = halved(&layer.weight);
    }
    (b.input_norm, b.ffn_norm) = (halved(&b.input_norm), halved(&b.ffn_norm));
    b
}

/// The whole way: file, un-permuted weights, forward pass. Top token and logit as in the reference.
#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn smollm2_knows_the_capital_of_france() {
    let root = fixture("");
    let model = Checkpoint::open_path(&root.join(SMOLLM2)).unwrap();
    let ids = model.tokenizer().unwrap().encode("The capital of France is").unwrap();
    let decoder = Decoder::new(model.config(), ids.len()).unwrap();
    let embedding = halved(&model.embedding().unwrap());
    let mut x = decoder.embed(&embedding, &ids).unwrap();
    for l in 0..model.config().dims.blocks.len() {
        let block = halved_block(model.block(l).unwrap());
        x = decoder.block(&block, &x, &[ids.len()], &mut |_, _| Ok(())).unwrap();
    }
    let logits = decoder.logits(&halved(&model.final_norm().unwrap()), &embedding, &x).unwrap();
    let last = logits.get(ids.len() - 1).unwrap().to_vec1::<f32>().unwrap();
    let (top, logit) = last.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    assert_eq!(top, 7042, "the id of ` Paris`");
    assert!((logit - 17.3786).abs() < 1e-3, "{logit}");
}

#[test]
#[ignore = "needs OOPS_FIXTURES"]
fn a_folder_with_a_single_gguf_is_a_checkpoint() {
    let root = fixture("");
    let file = root.join(SMOLLM2);
    let of_folder = Checkpoint::files(file.parent().unwrap()).unwrap();
    assert_eq!(of_folder, Checkpoint::files(&file).unwrap());
    assert_eq!(of_folder.len(), 1);
    assert_eq!(of_folder[0].1, file);
}
