//! Widths per block: the same everywhere, one entry each under our own key `block_widths`, or what differs from the whole
//! under transformers' `per_layer_config`. Ours wins where both are.

use std::ops::RangeInclusive;

use oops_core::{BlockDims, Fault, Result, bail_if};
use serde_json::{Map, Value};

use super::{
    super::json::{Keys, wrong},
    WIDTH,
};
use crate::family::Descriptor;

const BLOCKS: RangeInclusive<u64> = 1..=4096;
const HEAD_DIM: RangeInclusive<u64> = 2..=4096;
const NAMES: [&str; 3] = ["num_attention_heads", "num_key_value_heads", "intermediate_size"];

pub(super) fn blocks(keys: Keys<'_>, family: &Descriptor) -> Result<Vec<BlockDims>> {
    let n = keys.need_count("num_hidden_layers", BLOCKS)?;
    let heads = keys.need_count("num_attention_heads", WIDTH)?;
    let head_dim = match keys.count("head_dim", HEAD_DIM)?.or(family.head_dim) {
        Some(d) => d,
        None => keys.need_count("hidden_size", WIDTH)? / heads,
    };
    bail_if(head_dim == 0 || !head_dim.is_multiple_of(2), || {
        Fault::data(format!("{head_dim} channels per head; rotary encoding needs an even number"))
            .help("`head_dim` says it, or `hidden_size` / `num_attention_heads` where it is absent")
    })?;
    match (keys.get("block_widths"), keys.get("per_layer_config")) {
        (Some(listed), _) => each(listed, n, head_dim),
        (None, Some(differing)) => overridden(keys, differing, n, head_dim),
        (None, None) => Ok(vec![widths(keys, head_dim, 1, family.kv_heads)?; n]),
    }
}

/// `kv_default`: key/value heads where the key is absent; `None` = query heads, which `null` always means.
fn widths(keys: Keys<'_>, head_dim: usize, least: u64, kv_default: Option<usize>) -> Result<BlockDims> {
    let range = least..=*WIDTH.end();
    let query_heads = keys.need_count("num_attention_heads", range.clone())?;
    let kv_default = kv_default.filter(|_| !keys.0.contains_key("num_key_value_heads"));
    let kv_heads = keys.count("num_key_value_heads", range.clone())?.or(kv_default).unwrap_or(query_heads);
    let ffn = keys.need_count("intermediate_size", range)?;
    let divides = kv_heads == query_heads || (kv_heads > 0 && query_heads > 0 && query_heads.is_multiple_of(kv_heads));
    bail_if(!divides, || {
        let default = if kv_default.is_some() { ", the default of its absent key" } else { "" };
        Fault::data(format!("{query_heads} query heads cannot share {kv_heads} key/value heads{default}"))
            .help("`num_attention_heads` must be a multiple of `num_key_value_heads`")
    })?;
    Ok(BlockDims { query_heads, kv_heads, head_dim, ffn })
}

fn each(listed: &Value, n: usize, head_dim: usize) -> Result<Vec<BlockDims>> {
    let list = listed.as_array().filter(|l| l.len() == n);
    let list = list.ok_or_else(|| wrong("block_widths", listed, &format!("a list of {n} entries, one per block")))?;
    let entry = |(l, v): (usize, &Value)| {
        let object = v.as_object().ok_or_else(|| wrong("block_widths", v, "a list of objects"))?;
        widths(Keys(object), head_dim, 0, None).map_err(|f| f.at(format!("block_widths[{l}]")))
    };
    list.iter().enumerate().map(entry).collect()
}

/// Block numbers to what they have of their own; `skip` lists halves that are left out.
fn overridden(keys: Keys<'_>, differing: &Value, n: usize, head_dim: usize) -> Result<Vec<BlockDims>> {
    let kind = format!("an object whose keys are block numbers below {n} and whose values are objects");
    let refused = || wrong("per_layer_config", differing, &kind);
    let mut blocks = vec![widths(keys, head_dim, 1, None)?; n];
    for (number, own) in differing.as_object().ok_or_else(refused)? {
        let block = number.parse::<usize>().ok().and_then(|l| blocks.get_mut(l)).ok_or_else(refused)?;
        let own = own.as_object().ok_or_else(refused)?;
        *block = one(keys, own, head_dim).map_err(|f| f.at(format!("per_layer_config[{number}]")))?;
    }
    Ok(blocks)
}

fn one(whole: Keys<'_>, own: &Map<String, Value>, head_dim: usize) -> Result<BlockDims> {
    let mut all: Map<String, Value> =
        NAMES.iter().filter_map(|k| Some(((*k).to_owned(), whole.get(k)?.clone()))).collect();
    for (key, value) in own.iter().filter(|(k, _)| *k != "skip") {
        bail_if(!NAMES.contains(&key.as_str()), || {
            Fault::data(format!("`{key}` of its own"))
                .help(format!("a block may differ in {} and skip", NAMES.join(", ")))
        })?;
        all.insert(key.clone(), value.clone());
    }
    let mut block = widths(Keys(&all), head_dim, 0, None)?;
    let halves = || wrong("skip", &own["skip"], "a list of `attention` and `mlp`");
    for half in own.get("skip").map_or(Ok(&[][..]), |s| s.as_array().map(Vec::as_slice).ok_or_else(halves))? {
        match half.as_str() {
            Some("attention") => (block.query_heads, block.kv_heads) = (0, 0),
            Some("mlp") => block.ffn = 0,
            _ => return Err(halves()),
        }
    }
    Ok(block)
}
