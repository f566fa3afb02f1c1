//! The action key: everything that a result depends on, and nothing else.
//!
//! Not in the key, because results must not depend on them: names of instances, paths, thread count, machine, time.
//!
//! Nor is the kind of the CPU's vectors, on which the last bits of sums depend: with it, no result could be shared between
//! machines, and everything would be made again after a move to another one, for differences far below those between
//! methods. It is recorded with every result (`Provenance::vectors`) and told where it matters: when the same action gives
//! other bytes, when results of another kind are imported, and by `status --explain` and `diff`.

use std::collections::BTreeMap;

use oops_core::{Device, Digest, Fault, Result};
use oops_pipeline::{Graph, Node};
use oops_stage::SourceFile;
use serde::Serialize;
use serde_json::Value;

/// Raised when the meaning of the preimage changes; then no old result is found any more.
///
/// 1: first form.
const DOMAIN: &str = "oops.action/1";

/// What the key is the digest of.
#[derive(Serialize)]
struct Preimage<'a> {
    domain: &'static str,
    stage: &'static str,
    version: u32,
    params: Value,
    inputs: BTreeMap<&'static str, Vec<Digest>>,
    sources: BTreeMap<&'a str, Digest>,
    output: Output,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    device: &'static str,
}

#[derive(Serialize)]
struct Output {
    kind: &'static str,
    schema: u32,
}

/// Canonical text whose digest is the key of `node`. `inputs` are the digests of artifacts by port.
pub(crate) fn preimage(
    node: &Node<'_>,
    graph: &Graph<'_>,
    inputs: BTreeMap<&'static str, Vec<Digest>>,
    sources: &[SourceFile],
) -> Result<String> {
    let kind = node.stage.output();
    let preimage = Preimage {
        domain: DOMAIN,
        stage: node.stage.name(),
        version: node.stage.version(),
        params: node.stage.keyed(&node.params),
        inputs,
        sources: sources.iter().map(|s| (s.name.as_str(), s.entry.digest)).collect(),
        output: Output { kind: kind.name(), schema: kind.schema_version() },
        seed: node.stage.seeded().then_some(graph.seed),
        device: if node.stage.on_device() { graph.device } else { Device::Cpu }.name(),
    };
    let value = serde_json::to_value(&preimage).map_err(|e| Fault::internal(format!("action key: {e}")))?;
    Ok(canonical(&value))
}

/// JSON with sorted keys and no blanks. Numbers are written so that they read back to the same bits.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let fields = sorted.iter().map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical(v)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_text_sorts_keys_and_keeps_bits() {
        let value = json!({ "b": [1, 0.1, -0.0], "a": { "z": null, "y": "é\"" } });
        assert_eq!(canonical(&value), r#"{"a":{"y":"é\"","z":null},"b":[1,0.1,-0.0]}"#);
    }
}
