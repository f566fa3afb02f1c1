//! Which linear layers have a bias: config.json's to say, as in transformers.
//!
//! A bias that the files have and the configuration denies is left out, as transformers leaves it out; one that the
//! configuration promises and the files lack is a fault (transformers would make one up). Configurations of our own
//! may say `"biases": "as_stored"`: repairs add biases to some layers of some blocks.

use oops_core::Result;
use serde_json::{Value, json};

use super::json::{Keys, wrong};
use crate::{Family, block::LINEARS};

/// Key and value of a configuration of ours whose files decide.
pub(crate) const KEY: &str = "biases";
const AS_STORED: &str = "as_stored";

/// What a configuration says of biases.
pub(crate) struct Biases {
    as_stored: bool,
    /// Layers that have one in every block.
    every: Vec<&'static str>,
    /// Layers that have one in some block beside those, by block.
    some: Vec<Vec<String>>,
}

/// Adds our own key to a configuration.
pub(crate) fn declare(config: &mut Value) {
    config[KEY] = json!(AS_STORED);
}

/// Layers that have a bias in the family's class whatever the configuration says.
pub(crate) fn of_class(family: Family) -> &'static [&'static str] {
    if family.descriptor().qkv_bias { &LINEARS[..3] } else { &[] }
}

/// Reads what `config` says.
pub(crate) fn read(config: Keys<'_>, family: Family) -> Result<Biases> {
    let stated = config.get(KEY);
    if let Some(value) = stated.filter(|v| *v != AS_STORED) {
        return Err(wrong(KEY, value, "`as_stored`, if it is there"));
    }
    let mut every = of_class(family).to_vec();
    // The only classes that ask; our own files over vLLM's class name both keys for every family.
    let own = config.get("block_widths").is_some();
    if (own || matches!(family, Family::Llama | Family::Qwen3)) && config.flag("attention_bias", false)? {
        every.extend(&LINEARS[..4]);
    }
    if (own || family == Family::Llama) && config.flag("mlp_bias", false)? {
        every.extend(&LINEARS[4..]);
    }
    let list = |block: &Value| {
        let names = block["biases"].as_array().map_or(&[][..], Vec::as_slice);
        names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()
    };
    let some = config.get("block_widths").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    Ok(Biases { as_stored: stated.is_some(), every, some: some.iter().map(list).collect() })
}

impl Biases {
    /// Those of a family's class alone; others count where the files have them.
    pub(crate) fn as_stored(family: Family) -> Self {
        Self { as_stored: true, every: of_class(family).to_vec(), some: Vec::new() }
    }

    /// Whether the bias of layer `part` in block `l` counts if the files have it.
    pub(crate) fn counts(&self, l: usize, part: &str) -> bool {
        self.as_stored || self.promises(l, part)
    }

    /// Whether there must be one.
    pub(crate) fn promises(&self, l: usize, part: &str) -> bool {
        self.every.contains(&part) || self.some.get(l).is_some_and(|list| list.iter().any(|b| b == part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: Value, family: Family) -> Biases {
        read(Keys(config.as_object().unwrap()), family).unwrap()
    }

    #[test]
    fn each_class_has_its_keys() {
        let both = json!({"attention_bias": true, "mlp_bias": true});
        let cases = [
            (Family::Llama, json!({}), [false, false, false]),
            (Family::Llama, both.clone(), [true, true, true]),
            (Family::Llama, json!({"mlp_bias": true}), [false, false, true]),
            (Family::Mistral, both.clone(), [false, false, false]),
            (Family::Qwen2, json!({"attention_bias": false}), [true, false, false]),
            (Family::Qwen3, both, [true, true, false]),
        ];
        for (family, config, wanted) in cases {
            let biases = of(config, family);
            let got = ["self_attn.v_proj", "self_attn.o_proj", "mlp.down_proj"].map(|p| biases.promises(1, p));
            assert_eq!(got, wanted, "{family:?}");
        }
    }

    #[test]
    fn configurations_of_ours_say_more() {
        let mut config = json!({});
        declare(&mut config);
        let stored = of(config, Family::Mistral);
        assert!(stored.counts(0, "mlp.up_proj") && !stored.promises(0, "mlp.up_proj"));
        let listed = of(json!({"block_widths": [{}, {"biases": ["mlp.down_proj"]}]}), Family::Mistral);
        assert!(listed.promises(1, "mlp.down_proj") && !listed.counts(0, "mlp.down_proj"));
        assert!(read(Keys(json!({"biases": true}).as_object().unwrap()), Family::Llama).is_err());
    }
}
