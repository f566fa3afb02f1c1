//! The sliding window that a configuration asks for: the same in every block, or none at all.

use oops_core::{Fault, Result, bail_if};

use super::super::json::{Keys, wrong};
use crate::family::{Descriptor, WindowRule};

/// What transformers takes for keys that are absent.
const WINDOW: usize = 4096;
const FULL_BLOCKS: usize = 28;

/// Keys that a query sees, itself included; `None` = all before it.
pub(super) fn read(keys: Keys<'_>, family: &Descriptor, blocks: usize) -> Result<Option<usize>> {
    let stated = keys.count("sliding_window", 1..=1 << 32)?;
    let window = if keys.0.contains_key("sliding_window") { stated } else { Some(WINDOW) };
    let types = sliding_types(keys, blocks)?;
    match family.window {
        WindowRule::None => {
            bail_if(types.is_some_and(|n| n > 0), || {
                types_refused(keys, "`full_attention` only: llama has no window")
            })?;
            Ok(None)
        }
        WindowRule::Stated => {
            bail_if(types.is_some(), || {
                types_refused(keys, "absent: transformers 5 takes the model for another family")
            })?;
            Ok(window)
        }
        WindowRule::Enabled => {
            let window = window.filter(|_| keys.flag("use_sliding_window", false).unwrap_or(false));
            keys.flag("use_sliding_window", false)?;
            let from = keys.count("max_window_layers", 0..=1 << 32)?.unwrap_or(FULL_BLOCKS);
            let sliding = types.unwrap_or(if window.is_some() { blocks.saturating_sub(from) } else { 0 });
            same_everywhere(sliding, blocks)?;
            bail_if(sliding > 0 && window.is_none(), || {
                types_refused(
                    keys,
                    "without `sliding_attention` where `use_sliding_window` is false or `sliding_window` null",
                )
            })?;
            Ok(window.filter(|_| sliding > 0))
        }
    }
}

fn same_everywhere(sliding: usize, blocks: usize) -> Result<()> {
    bail_if(sliding != 0 && sliding != blocks, || {
        Fault::data(format!("{sliding} of {blocks} blocks have a sliding window")).help(
            "supported: a sliding window in all blocks or in none (`layer_types`, or else `max_window_layers`, 28 where absent)",
        )
    })
}

/// Blocks that slide by `layer_types`, if it is there.
fn sliding_types(keys: Keys<'_>, blocks: usize) -> Result<Option<usize>> {
    let Some(listed) = keys.get("layer_types") else { return Ok(None) };
    let list = listed.as_array().filter(|l| l.len() == blocks);
    let known = |v: &serde_json::Value| matches!(v.as_str(), Some("full_attention" | "sliding_attention"));
    let list = list.filter(|l| l.iter().all(known)).ok_or_else(|| {
        wrong("layer_types", listed, &format!("a list of {blocks} entries, each full_attention or sliding_attention"))
    })?;
    Ok(Some(list.iter().filter(|v| v.as_str() == Some("sliding_attention")).count()))
}

fn types_refused(keys: Keys<'_>, wanted: &str) -> Fault {
    wrong("layer_types", keys.get("layer_types").unwrap_or(&serde_json::Value::Null), wanted)
}
