//! The law of this module: a config.json that is changed in any key gives the reference's figure or a refusal that names
//! the key. `figures.json` holds what transformers computes (`benches/peers/config_figures.py` made it, and says how); the
//! same small models are made here.

use std::{collections::BTreeMap, fs};

use rayon::prelude::*;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value};

use super::*;
use crate::{
    Checkpoint,
    block::{LINEARS, NORMS, linear_shapes},
    fixtures, values,
};

const TOKENS: usize = 64;
const TOLERANCE: f64 = 1e-4;

/// n numbers in [−1, 1), multiples of 2^−23, from a hash of name and place.
fn noise(name: &str, n: usize) -> Vec<f64> {
    let seed = name.bytes().fold(2_166_136_261_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(16_777_619));
    let one = |i: usize| {
        let mut x = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed);
        for (shift, factor) in [(16, 0x7FEB_352D), (15, 0x846C_A68B), (16, 1)] {
            x = (x ^ (x >> shift)).wrapping_mul(factor);
        }
        f64::from(x >> 8) / f64::from(1 << 23) - 1.0
    };
    (0..n).map(one).collect()
}

fn weight(name: &str, shape: &[usize]) -> Vec<u8> {
    let scaled = |x: f64| match shape {
        _ if name.ends_with("norm.weight") => 1.0 + 0.25 * x,
        _ if name.rsplit('.').next() == Some("bias") => 0.5 * x,
        [_, width] if !name.contains("embed") => 3.0 * x / (*width as f64).sqrt(),
        _ => x,
    };
    noise(name, shape.iter().product()).into_iter().flat_map(|x| (scaled(x) as f32).to_le_bytes()).collect()
}

/// Names and shapes of what the file holds; `biased`: the layers that have a bias in the reference.
fn tensors(config: &ModelConfig, biased: &[&str]) -> Vec<(String, Vec<usize>)> {
    let (dims, family) = (&config.dims, config.family.descriptor());
    let mut all = vec![
        ("model.embed_tokens.weight".to_owned(), vec![dims.vocab, dims.hidden]),
        ("model.norm.weight".to_owned(), vec![dims.hidden]),
    ];
    if !dims.tied {
        all.push(("lm_head.weight".to_owned(), vec![dims.vocab, dims.hidden]));
    }
    for (l, block) in dims.blocks.iter().enumerate() {
        let name = |part: &str, kind: &str| format!("model.layers.{l}.{part}.{kind}");
        for (part, shape) in LINEARS.iter().zip(linear_shapes(block, dims.hidden)) {
            all.push((name(part, "weight"), shape.to_vec()));
            if biased.iter().any(|b| part.ends_with(b)) {
                all.push((name(part, "bias"), vec![shape[0]]));
            }
        }
        let norms = NORMS.iter().zip([dims.hidden, dims.hidden, block.head_dim, block.head_dim]);
        all.extend(norms.take(if family.qk_norm { 4 } else { 2 }).map(|(n, width)| (name(n, "weight"), vec![width])));
    }
    all
}

/// The figure of our decoder on the folder that a user would have: [mean cross-entropy, two logits of the last token].
fn figure(config: &Map<String, Value>, biased: &[&str], tokens: usize) -> Result<([f64; 3], Vec<String>)> {
    let parsed = read(config, &Map::new(), DType::F32)?;
    let stored: Vec<_> = tensors(&parsed.config, biased);
    let stored: Vec<_> = stored.into_iter().map(|(name, shape)| (weight(&name, &shape), name, shape)).collect();
    let views = stored
        .iter()
        .map(|(bytes, name, shape)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    fs::write(folder.path().join("config.json"), Value::Object(config.clone()).to_string()).unwrap();
    let model = Checkpoint::open_path(folder.path())?;
    let vocab = parsed.config.dims.vocab;
    let id = |x: f64| ((x.midpoint(1.0) * vocab.min(64) as f64) as u32, vocab);
    let ids: Vec<u32> = noise("tokens", tokens).into_iter().map(|x| id(x).0).collect();
    model.config().rope.check_length(tokens)?;
    let logits = values(&fixtures::logits(&model, &ids, &[tokens], |_, block| block))?;
    let rows: Vec<&[f32]> = logits.chunks_exact(vocab).collect();
    let loss = |(row, next): (&&[f32], &u32)| {
        let total: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        total.ln() - f64::from(row[*next as usize])
    };
    let mean = rows.iter().zip(&ids[1..]).map(loss).sum::<f64>() / (tokens - 1) as f64;
    let last = rows[tokens - 1];
    Ok(([mean, last[0].into(), last[1].into()], parsed.warnings))
}

/// Changed keys of a row, those inside objects included.
fn keys(row: &Value) -> Vec<String> {
    let mut keys: Vec<String> = row["drop"].as_array().unwrap().iter().map(|k| k.as_str().unwrap().into()).collect();
    for (key, value) in row["set"].as_object().unwrap() {
        keys.push(key.clone());
        keys.extend(value.as_object().into_iter().flatten().map(|(k, _)| k.clone()));
    }
    keys
}

fn close(ours: &[f64; 3], figure: &Value) -> bool {
    let pairs = figure.as_array().map(|f| f.iter().zip(ours));
    pairs.is_some_and(|mut p| p.all(|(x, ours)| (x.as_f64().unwrap() - ours).abs() <= TOLERANCE))
}

/// Whether both versions of the reference have a figure, and not the same.
fn versions_differ(row: &Value) -> bool {
    let (new, old) = (row["v5"].as_array(), row["v4"].as_array());
    let differ = |(a, b): (&Value, &Value)| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() > TOLERANCE;
    new.zip(old).is_some_and(|(a, b)| a.iter().zip(b).any(differ))
}

/// What is wrong with a row's outcome; `None` = it is as the law says.
fn breach(row: &Value, config: &Map<String, Value>, outcome: &Result<([f64; 3], Vec<String>)>) -> Option<String> {
    let named = |text: &str| keys(row).iter().any(|k| text.contains(&format!("`{k}`")));
    let (ours, warnings) = match outcome {
        Err(fault) if keys(row).is_empty() || !named(&fault.to_string()) => return Some(format!("{fault}")),
        Err(_) => return None,
        Ok(outcome) => outcome,
    };
    let told = warnings.iter().any(|w| named(w));
    // A file of version 5 alone says nothing to version 4, and that is not told each time.
    let old_keys = Keys(config).get("rope_theta").is_some() || Keys(config).get("rope_scaling").is_some();
    if close(ours, &row["v5"]) {
        let must_tell = versions_differ(row) && old_keys;
        return (must_tell && !told).then(|| "versions differ and no warning names the key".to_owned());
    }
    (row["v5"].is_array() || !close(ours, &row["v4"]) || !told).then(|| format!("silent: {ours:?}, told {warnings:?}"))
}

#[test]
fn every_changed_key_gives_the_references_figure_or_is_named() {
    let figures: Value = serde_json::from_str(include_str!("figures.json")).unwrap();
    let rows = figures["rows"].as_array().unwrap();
    let one = |row: &Value| {
        let mut config = figures["bases"][row["base"].as_str().unwrap()].as_object().unwrap().clone();
        config.extend(row["set"].as_object().unwrap().clone());
        row["drop"].as_array().unwrap().iter().for_each(|k| drop(config.remove(k.as_str().unwrap())));
        let own: Vec<&str> = if row["base"] == "qwen2" { vec!["q_proj", "k_proj", "v_proj"] } else { Vec::new() };
        let listed = row["biases"].as_array().map(|l| l.iter().map(|b| b.as_str().unwrap()).collect());
        let tokens = row["tokens"].as_u64().map_or(TOKENS, |n| n as usize);
        let outcome = figure(&config, &listed.unwrap_or(own), tokens);
        let place = |what: String| format!("{} set {} drop {}: {what}", row["base"], row["set"], row["drop"]);
        (outcome.is_ok(), breach(row, &config, &outcome).map(place))
    };
    let results: Vec<(bool, Option<String>)> = rows.par_iter().map(one).collect();
    let breaches: Vec<&String> = results.iter().filter_map(|r| r.1.as_ref()).collect();
    assert!(breaches.is_empty(), "{} of {}:\n{breaches:#?}", breaches.len(), rows.len());
    let mut counts = BTreeMap::<bool, usize>::new();
    results.iter().for_each(|r| *counts.entry(r.0).or_default() += 1);
    assert!(rows.len() >= 300 && counts[&true] >= 400, "{counts:?}: most rows must be compared, not refused");
}
