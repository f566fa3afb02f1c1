//! Weights that are not what they look like: quantised, or pruned and said to be so.
//!
//! What config.json and the files beside it say is looked at before any tensor, so that a refusal names the method and
//! not the first tensor that happens to be strange.

use std::path::Path;

use oops_core::{Fault, Result};
use serde_json::Value;

use super::json::{Keys, read_object};

/// Keys of config.json under which tools describe how they compressed the weights.
const KEYS: [&str; 3] = ["quantization_config", "compression_config", "quantization"];
/// Files beside the weights that say the same, and whose they are.
const FILES: [(&str, &str); 3] =
    [("hf_quant_config.json", "ModelOpt"), ("quantize_config.json", "GPTQ"), ("quant_config.json", "AWQ")];
/// What the names of tensors end with that belong to quantised weights.
const TENSORS: [&str; 16] = [
    "qweight",
    "qzeros",
    "scales",
    "g_idx",
    "weight_scale",
    "weight_scale_2",
    "weight_scale_inv",
    "weight_zero_point",
    "weight_packed",
    "weight_shape",
    "input_scale",
    "input_global_scale",
    "weight_global_scale",
    "absmax",
    "quant_map",
    "SCB",
];

fn refused(method: &str, from: &str) -> Fault {
    Fault::data(format!("the weights are quantised by {method} (`{from}`)"))
        .help("use the checkpoint before quantisation in f32, f16 or bf16, or a GGUF file")
}

/// Refuses a configuration of quantised weights. Dense weights that were pruned give a sentence that says so.
pub(crate) fn check(config: Keys<'_>) -> Result<Option<String>> {
    for key in KEYS {
        let Some(value) = config.get(key) else { continue };
        let method =
            value["quant_method"].as_str().unwrap_or(if key == "quantization" { "MLX" } else { "some method" });
        if !is_dense(value) {
            return Err(refused(method, key));
        }
        let structure = value["sparsity_config"]["sparsity_structure"].as_str().unwrap_or("unknown");
        return Ok(Some(format!(
            "config.json says that the weights were pruned (`sparsity_config`, structure {structure}) and are stored dense: \
             they are read as they are, and what is made of them need not keep their zeros"
        )));
    }
    Ok(None)
}

/// Whether a description is of plain weights: no group is quantised, and zeros are stored.
fn is_dense(value: &Value) -> bool {
    let stored = |v: &Value| v.is_null() || v == "dense";
    let empty = |v: &Value| v.is_null() || v.as_object().is_some_and(serde_json::Map::is_empty);
    value["quant_method"] == "compressed-tensors"
        && stored(&value["format"])
        && empty(&value["config_groups"])
        && value["sparsity_config"].is_object()
        && stored(&value["sparsity_config"]["format"])
}

/// Refuses a folder in which a file says that the weights are quantised.
pub(crate) fn check_folder(folder: &Path) -> Result<()> {
    for (file, method) in FILES {
        let path = folder.join(file);
        if path.is_file() && !is_idle(&read_object(&path)?) {
            return Err(refused(method, file));
        }
    }
    Ok(())
}

/// Whether ModelOpt says that it left the weights alone.
fn is_idle(object: &serde_json::Map<String, Value>) -> bool {
    object.get("quantization").is_some_and(|q| q.is_object() && q["quant_algo"].is_null())
}

/// Refuses the tensors of quantised weights.
pub(crate) fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let strange = |name: &&str| {
        name.rsplit('.').next().is_some_and(|last| TENSORS.contains(&last)) || name.contains(".quant_state.")
    };
    let found: Vec<&str> = names.filter(strange).collect();
    match found.first() {
        None => Ok(()),
        Some(first) => Err(Fault::data(format!(
            "the weights are quantised: {} tensors like `{first}` hold scales or packed values",
            found.len()
        ))
        .help("use the checkpoint before quantisation in f32, f16 or bf16, or a GGUF file")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(value: Value) -> Result<Option<String>> {
        check(Keys(value.as_object().unwrap()))
    }

    #[test]
    fn methods_are_named() {
        for (config, word) in [
            (json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}), "`gptq`"),
            (json!({"quantization_config": {"quant_method": "fp8"}}), "fp8"),
            (json!({"quantization_config": {}}), "some method"),
            (json!({"quantization": {"group_size": 64, "bits": 4}}), "MLX"),
            (json!({"compression_config": {"format": "pack-quantized"}}), "compression_config"),
            (
                json!({"quantization_config": {"quant_method": "compressed-tensors", "format": "dense"}}),
                "compressed-tensors",
            ),
        ] {
            let fault = with(config).unwrap_err().to_string();
            assert!(fault.contains(word.trim_matches('`')) && fault.contains("quantised"), "{fault}");
        }
        assert_eq!(with(json!({"quantization_config": null})).unwrap(), None);
    }

    #[test]
    fn dense_weights_of_a_pruner_are_read_and_told() {
        let config = |format: &str, groups: Value| {
            json!({"quantization_config": {
                "quant_method": "compressed-tensors",
                "config_groups": groups,
                "sparsity_config": {"format": format, "sparsity_structure": "2:4"},
            }})
        };
        assert!(with(config("dense", json!({}))).unwrap().unwrap().contains("2:4"));
        assert!(with(config("sparse-24-bitmask", json!({}))).is_err());
        assert!(with(config("dense", json!({"group_0": {}}))).is_err());
    }

    #[test]
    fn files_and_tensors_tell_too() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("hf_quant_config.json"), text).unwrap();
        assert!(check_folder(folder.path()).is_ok());
        write(r#"{"quantization": {"quant_algo": null}}"#);
        assert!(check_folder(folder.path()).is_ok());
        write(r#"{"quantization": {"quant_algo": "FP8"}}"#);
        let fault = check_folder(folder.path()).unwrap_err().to_string();
        assert!(fault.contains("ModelOpt") && fault.contains("hf_quant_config.json"), "{fault}");
        let fault =
            check_names(["a.q_proj.weight", "a.q_proj.weight_scale_inv", "b.q_proj.weight_scale_inv"].into_iter());
        assert!(fault.unwrap_err().to_string().contains("2 tensors like `a.q_proj.weight_scale_inv`"));
        assert!(check_names(["a.q_proj.weight", "a.k_scale"].into_iter()).is_ok());
    }
}
