//! Which of transformers' classes can hold a model, and the files that say so.

use oops_core::{BlockDims, Fault, Result, bail_if};
use oops_model::{Block, Checkpoint, Family, ModelConfig, hf_config, hf_widths, vector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::per_layer::per_layer_config;

/// How the folder is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// `stock` where it can be, else `remote`.
    #[default]
    Auto,
    /// One of transformers' own classes.
    Stock,
    /// Our modelling file in the folder.
    Remote,
    /// Padded to the widest block, for a stock class.
    Padded,
}

/// Linear layers by what config.json calls their biases.
const ATTENTION: [&str; 4] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
const MLP: [&str; 3] = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

/// What is written.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Never `Auto`.
    pub(crate) form: Form,
    /// Widths as written.
    pub(crate) blocks: Vec<BlockDims>,
    family: Family,
    /// Remote code under the names that vLLM's class reads.
    deci: bool,
    /// The class's biases over attention and FFN: they are written as zeros where the model has none.
    attention_bias: bool,
    mlp_bias: bool,
    /// Biases per block as they are, for remote code.
    biases: Vec<Vec<&'static str>>,
}

impl Plan {
    /// How `model` is written as `form`; a fault that says why if it cannot be.
    pub(crate) fn of(model: &Checkpoint, form: Form) -> Result<Self> {
        let dims = &model.config().dims;
        let biases = |l: usize| -> Vec<&'static str> {
            let has = |part: &&str| model.has(&format!("model.layers.{l}.{part}.bias"));
            ATTENTION.into_iter().chain(MLP).filter(has).collect()
        };
        let biases: Vec<_> = (0..dims.blocks.len()).map(biases).collect();
        let any = |list: &[&str]| any_bias(&biases, list);
        let family = model.config().family;
        let plan = Self {
            form,
            blocks: dims.blocks.clone(),
            family,
            deci: false,
            attention_bias: family == Family::Llama && any(&ATTENTION),
            mlp_bias: family == Family::Llama && any(&MLP),
            biases,
        };
        let stock = || plan.stock(dims.hidden);
        match form {
            Form::Remote => Ok(plan.remote(model.config())),
            Form::Auto => match stock() {
                Ok(family) => Ok(Self { form: Form::Stock, family, ..plan }),
                Err(_) => Ok(plan.remote(model.config())),
            },
            Form::Stock => Ok(Self { family: stock()?, ..plan }),
            Form::Padded => {
                let padded = Self { blocks: vec![widest(&dims.blocks)?; dims.blocks.len()], ..plan };
                Ok(Self { family: padded.stock(dims.hidden)?, ..padded })
            }
        }
    }

    /// The family under whose class the model can be loaded without remote code.
    fn stock(&self, hidden: usize) -> Result<Family> {
        let refused = |why: String| {
            Err(Fault::data(format!("no stock class of transformers can hold this model: {why}"))
                .help("form `remote` writes its own class; select.uniform gives every block the same widths"))
        };
        let Some(first) = self.blocks.first() else { return refused("it has no blocks".to_owned()) };
        if let Some(l) = self.blocks.iter().position(|b| b != first) {
            return refused(format!("block {l} has other widths than block 0"));
        }
        if first.kv_heads == 0 || first.ffn == 0 {
            return refused("its blocks have no attention or no FFN".to_owned());
        }
        let extra = self.biases.iter().flatten();
        let extra = extra.copied().find(|b| self.family != Family::Llama && !self.own_biases().contains(b));
        if let Some(name) = extra {
            return refused(format!("`{name}` has a bias, which {:?} has no place for", self.family));
        }
        if self.family == Family::Llama && !hidden.is_multiple_of(first.query_heads) {
            let heads = first.query_heads;
            if self.attention_bias || self.mlp_bias {
                return refused(format!("{heads} heads do not divide the hidden width {hidden}, and it has biases"));
            }
            return Ok(Family::Mistral);
        }
        Ok(self.family)
    }

    /// Remote code: a first block without attention gets one head of zeros, since caches count tokens there.
    fn remote(mut self, config: &ModelConfig) -> Self {
        if let Some(first) = self.blocks.first_mut().filter(|b| b.kv_heads == 0) {
            (first.query_heads, first.kv_heads) = (1, 1);
        }
        let deci = self.is_deci(config);
        let any = |list: &[&str]| deci && any_bias(&self.biases, list);
        let (attention_bias, mlp_bias) = (any(&ATTENTION), any(&MLP));
        Self { form: Form::Remote, deci, attention_bias, mlp_bias, ..self }
    }

    /// Whether vLLM's `DeciLMForCausalLM` computes the same: it has one number of query heads, norms and residuals of
    /// every attention and FFN, no sliding window and no normalised heads.
    fn is_deci(&self, config: &ModelConfig) -> bool {
        let heads = self.blocks.first().map_or(0, |b| b.query_heads);
        let whole = |b: &BlockDims| b.query_heads == heads && b.kv_heads > 0 && b.ffn > 0;
        let plain = self.family != Family::Qwen3 && config.sliding_window.is_none();
        plain && heads > 0 && config.dims.hidden.is_multiple_of(heads) && self.blocks.iter().all(whole)
    }

    /// The class of the remote code, and its `model_type`.
    fn class(&self) -> (&'static str, &'static str) {
        if self.deci { ("DeciLMForCausalLM", "nemotron-nas") } else { ("OopsForCausalLM", "oops") }
    }

    /// Whether vLLM has a class for what is written.
    pub(crate) fn is_served(&self) -> bool {
        self.form != Form::Remote || self.deci
    }

    /// Whether block `l` of `model` is written as it is.
    pub(crate) fn keeps(&self, model: &Checkpoint, l: usize) -> bool {
        let has = |list: &[&str]| list.iter().all(|p| self.biases[l].contains(p));
        model.config().dims.blocks[l] == self.blocks[l]
            && (!self.attention_bias || has(&ATTENTION))
            && (!self.mlp_bias || has(&MLP))
    }

    /// The block with the biases that the class has.
    pub(crate) fn with_biases(&self, mut block: Block) -> Result<Block> {
        let attention =
            [&mut block.q, &mut block.k, &mut block.v, &mut block.o].into_iter().zip([self.attention_bias; 4]);
        let mlp = [&mut block.gate, &mut block.up, &mut block.down].into_iter().zip([self.mlp_bias; 3]);
        for (layer, _) in attention.chain(mlp).filter(|(layer, wanted)| *wanted && layer.bias.is_none()) {
            layer.bias = Some(vector(vec![0.0; layer.weight.dims()[0]])?);
        }
        Ok(block)
    }

    /// Configuration and code.
    pub(crate) fn texts(&self, config: &ModelConfig) -> Vec<(&'static str, String)> {
        let mut out = hf_config(&ModelConfig { family: self.family, ..config.clone() });
        if self.attention_bias || self.mlp_bias {
            out["attention_bias"] = json!(self.attention_bias);
            out["mlp_bias"] = json!(self.mlp_bias);
        }
        if self.form != Form::Remote {
            return vec![("config.json", format!("{out:#}\n"))];
        }
        self.remote_keys(&mut out, config);
        let (family, base) = self.python();
        let (class, model_type) = self.class();
        let names = [("@family@", family), ("@Base@", base), ("@Class@", class), ("@model_type@", model_type)];
        let fill = |text: &str| names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        vec![
            ("config.json", format!("{out:#}\n")),
            ("configuration_oops.py", fill(include_str!("configuration.py"))),
            ("modeling_oops.py", fill(include_str!("modeling.py"))),
        ]
    }

    fn remote_keys(&self, out: &mut Value, config: &ModelConfig) {
        let (family, _) = self.python();
        let dims = &config.dims;
        let (class, model_type) = self.class();
        out["model_type"] = json!(model_type);
        out["base_model_type"] = json!(family);
        out["architectures"] = json!([class]);
        out["auto_map"] = json!({
            "AutoConfig": "configuration_oops.OopsConfig",
            "AutoModelForCausalLM": format!("modeling_oops.{class}"),
        });
        // LlamaConfig insists that heads divide the hidden width; no block is built from this number.
        let widest = dims.blocks.iter().map(|b| b.query_heads).max().unwrap_or(1);
        let head_dim = dims.blocks.first().map_or(1, |b| b.head_dim);
        let heads = [widest, dims.hidden / head_dim.max(1), 1];
        let heads = heads.into_iter().find(|h| *h > 0 && dims.hidden.is_multiple_of(*h));
        out["num_attention_heads"] = json!(heads);
        let widths = |(l, b): (usize, &BlockDims)| {
            let mut entry = hf_widths(b);
            entry.insert("biases".to_owned(), json!(self.added_biases(l)));
            Value::Object(entry)
        };
        out["block_widths"] = dims.blocks.iter().enumerate().map(widths).collect();
        out["per_layer_config"] = per_layer_config(out, &dims.blocks);
        if self.deci {
            // With `ffn_mult` in its place, the class would round widths up to multiples of 256.
            let block = |b: &BlockDims| {
                json!({
                    "attention": { "no_op": false, "replace_with_linear": false, "n_heads_in_group": b.group_size() },
                    "ffn": { "no_op": false, "replace_with_linear": false, "intermediate_size": b.ffn },
                })
            };
            out["block_configs"] = dims.blocks.iter().map(block).collect();
        }
    }

    /// Linear layers of block `l` that are written with a bias although the family's class has none.
    fn added_biases(&self, l: usize) -> Vec<&'static str> {
        let forced =
            |name: &&str| self.attention_bias && ATTENTION.contains(name) || self.mlp_bias && MLP.contains(name);
        let written = |name: &&'static str| forced(name) || self.biases[l].contains(name);
        let all = ATTENTION.into_iter().chain(MLP);
        all.filter(|name| written(name) && !self.own_biases().contains(name)).collect()
    }

    /// Linear layers that have a bias in the family's class without being asked for.
    fn own_biases(&self) -> &'static [&'static str] {
        if self.family == Family::Qwen2 { &ATTENTION[..3] } else { &[] }
    }

    /// The family's module and class prefix in transformers.
    fn python(&self) -> (&'static str, &'static str) {
        match self.family {
            Family::Llama => ("llama", "Llama"),
            Family::Mistral => ("mistral", "Mistral"),
            Family::Qwen2 => ("qwen2", "Qwen2"),
            Family::Qwen3 => ("qwen3", "Qwen3"),
        }
    }

    /// The form in words.
    pub(crate) fn described(&self) -> String {
        match self.form {
            Form::Remote => format!("`{}` (remote code over `{}`)", self.class().0, self.python().1),
            Form::Padded => format!("stock `{}ForCausalLM`, padded", self.python().1),
            Form::Stock | Form::Auto => format!("stock `{}ForCausalLM`", self.python().1),
        }
    }
}

/// Whether a layer of `list` has a bias in some block.
fn any_bias(biases: &[Vec<&str>], list: &[&str]) -> bool {
    biases.iter().flatten().any(|b| list.contains(b))
}

/// The least widths that every block can be padded to.
fn widest(blocks: &[BlockDims]) -> Result<BlockDims> {
    let group = blocks.iter().map(BlockDims::group_size).filter(|g| *g > 0).collect::<Vec<_>>();
    bail_if(group.windows(2).any(|w| w[0] != w[1]), || {
        Fault::data("blocks differ in query heads per KV head, so they cannot be padded to one width")
    })?;
    let most = |width: fn(&BlockDims) -> usize| blocks.iter().map(width).max().unwrap_or(0);
    Ok(BlockDims {
        query_heads: most(|b| b.query_heads),
        kv_heads: most(|b| b.kv_heads),
        head_dim: most(|b| b.head_dim),
        ffn: most(|b| b.ffn),
    })
}
