"""What transformers computes for small models whose config.json is changed key by key.

The figures are kept in crates/oops-model/src/hf/config/figures.json, where a test holds our decoder to them: the same
figure, or a refusal that names the key. Weights and tokens come from a hash of name and place, so that both sides make the
same model. Run it twice and join:

    python config_figures.py figures.json                 # with transformers 5
    python config_figures.py figures.json --second        # with transformers 4: adds its figures to the same file

A row is {"base", "set", "drop", "tokens" if not the usual number, "biases": layers that have one, "v5", "v4"}; a figure is
[mean cross-entropy, first two logits of the last token], or the name of the exception.
"""

import argparse
import json
import math
import pathlib
import tempfile
import warnings

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS = 64
BASE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "vocab_size": 64, "rms_norm_eps": 1e-3, "hidden_act": "silu", "max_position_embeddings": 256,
    "rope_theta": 1000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
}
FAMILIES = {
    "llama": {}, "mistral": {"sliding_window": 16},
    "qwen2": {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0},
    "qwen3": {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0},
}
CLASS = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
ABSENT = object()
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}


def without(d, *keys):
    return {k: v for k, v in d.items() if k not in keys}


def values(family):
    """Key -> values to try; one row each."""
    windowed = family in ("qwen2", "qwen3")
    table = {
        "hidden_size": [ABSENT, None, 0, "32"],
        "intermediate_size": [ABSENT, 40, None],
        "num_hidden_layers": [ABSENT, 1, 3, None],
        "num_attention_heads": [ABSENT, 2, 8, 3, 6],
        "num_key_value_heads": [ABSENT, 1, 4, 3, 0, None],
        "head_dim": [ABSENT, 16, 4, 7, 0, None],
        "vocab_size": [ABSENT, 80],
        "rms_norm_eps": [ABSENT, 1e-2, 0.5, 1, 0.0, -0.1, None, "1e-5"],
        "hidden_act": [ABSENT, "swish", "gelu", "relu", "gelu_pytorch_tanh", "none", None],
        "max_position_embeddings": [ABSENT, 16, 4096, None],
        "rope_theta": [ABSENT, 10000, 1e6, None, 0, -5.0],
        "tie_word_embeddings": [ABSENT, True, None],
        "attention_bias": [False, True, None],
        "mlp_bias": [False, True, None],
        "is_causal": [True, False, None],
        "is_decoder": [True], "is_encoder_decoder": [False, True], "add_cross_attention": [True],
        "pretraining_tp": [1, 2, None], "use_cache": [False, True], "attention_dropout": [0.5], "initializer_range": [0.3],
        "chunk_size_feed_forward": [4], "pad_token_id": [0, -1, 63, 64, None], "bos_token_id": [ABSENT, 3, None],
        "eos_token_id": [ABSENT, [2, 3], None], "torch_dtype": ["float32"], "dtype": ["float32"],
        "architectures": [[CLASS[family]], ["LlamaModel"]],
        "partial_rotary_factor": [1.0, 0.5, None],
        "original_max_position_embeddings": [32],
        "sliding_window": [ABSENT, None, 8, 40, 4096, 0, -1, "8"],
        "layer_types": [["full_attention"] * 2, ["sliding_attention"] * 2, ["full_attention", "sliding_attention"],
                        ["full_attention"], ["none", "none"], None],
        "attention_chunk_size": [8], "attn_logit_softcapping": [5.0], "final_logit_softcapping": [5.0],
        "query_pre_attn_scalar": [4], "attention_multiplier": [2.0], "logits_scaling": [2.0], "embedding_multiplier": [3.0],
        "residual_multiplier": [0.5], "logit_scale": [0.5], "num_experts": [4], "num_local_experts": [4],
        "no_rope_layers": [[0, 1]], "use_qk_norm": [True], "qk_layernorm": [True], "rope_interleaved": [True],
        "use_mrope": [False], "pruned_heads": [{"0": [1]}], "text_config": [{"hidden_size": 16}], "flavour": ["new"],
        "per_layer_config": [{"0": {"intermediate_size": 40}}, {"1": {"skip": ["mlp"]}}, {"0": {"rms_norm_eps": 0.1}}, None],
        "rope_scaling": [
            None, {}, {"rope_type": "default"}, {"type": "linear", "factor": 4.0}, {"rope_type": "linear", "factor": 0.5},
            {"rope_type": "linear", "factor": 3}, {"rope_type": "linear"}, {"factor": 4.0}, {"type": "linear", "rope_type": "default", "factor": 4.0},
            {"rope_type": "linear", "factor": 4.0, "rope_theta": 50.0},
            {"rope_type": "linear", "factor": 4.0, "partial_rotary_factor": 0.5},
            {"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "dynamic"},
            YARN, without(YARN, "original_max_position_embeddings"), without(YARN, "factor"), YARN | {"factor": None},
            YARN | {"factor": 1.0}, YARN | {"factor": 0.5}, YARN | {"attention_factor": 1.5}, YARN | {"attention_factor": None},
            YARN | {"beta_fast": 8.0, "beta_slow": 2.0}, YARN | {"beta_fast": 0}, YARN | {"truncate": False},
            YARN | {"mscale": 0.7}, YARN | {"mscale": 0.7, "mscale_all_dim": 1.2}, YARN | {"mscale_all_dim": 1.2},
            YARN | {"mscale": 0, "mscale_all_dim": 1.2}, YARN | {"finetuned": True},
            LLAMA3, LLAMA3 | {"low_freq_factor": 2.0, "high_freq_factor": 8.0}, LLAMA3 | {"factor": 0.5},
            LLAMA3 | {"low_freq_factor": 4.0, "high_freq_factor": 2.0}, LLAMA3 | {"low_freq_factor": 4.0},
            without(LLAMA3, "original_max_position_embeddings"), without(LLAMA3, "factor"), without(LLAMA3, "low_freq_factor"),
            LLAMA3 | {"attention_factor": 2.0},
            {"rope_type": "longrope", "short_factor": [1.0, 2.0, 3.0, 5.5], "long_factor": [1.0, 2.0, 3.0, 5.5], "attention_factor": 1.25},
            {"rope_type": "longrope", "short_factor": [1.0, 2.0, 3.0, 5.5], "long_factor": [1.0, 2.0, 3.0, 5.5], "factor": 4.0},
            {"rope_type": "longrope", "short_factor": [1.0, 1.0, 1.0, 1.0], "long_factor": [1.0, 2.0, 3.0, 5.5], "factor": 4.0,
             "original_max_position_embeddings": 16},
            {"rope_type": "proportional", "factor": 2.0}, {"rope_type": "axial"}, {"rope_type": "su"}, {"type": "mrope"},
            {"full_attention": {"rope_type": "linear", "factor": 4.0}}, 4.0,
        ],
        "rope_parameters": [
            None, {}, {"rope_theta": 50.0}, {"rope_type": "default", "rope_theta": 50.0}, {"rope_type": "linear", "factor": 4.0},
            YARN, LLAMA3 | {"rope_theta": 50.0}, {"rope_type": "default", "partial_rotary_factor": 0.5},
            {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50.0}}, {"rope_type": "default", "factor": 4.0},
            {"rope_type": None},
        ],
    }
    if windowed:
        table |= {"use_sliding_window": [ABSENT, False, None], "max_window_layers": [ABSENT, 1, 2, 28, None]}
    else:
        table |= {"use_sliding_window": [True, False], "max_window_layers": [1]}
    return table


def together(family):
    """Changes of several keys at once: (set, drop)."""
    new = {"rope_type": "default", "rope_theta": 50.0}
    rows = [
        ({"rope_parameters": new}, ["rope_theta"]), ({"rope_parameters": LLAMA3 | {"rope_theta": 50.0}}, ["rope_theta"]),
        ({"rope_parameters": YARN | {"rope_theta": 50.0}}, ["rope_theta"]), ({"rope_parameters": LLAMA3}, ["rope_theta"]),
        ({"rope_parameters": new, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}, ["rope_theta"]),
        ({"rope_parameters": new, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}, []),
        ({"rope_parameters": new, "rope_scaling": None}, ["rope_theta"]), ({"rope_parameters": new, "rope_scaling": {}}, ["rope_theta"]),
        ({"rope_parameters": new | {"rope_theta": 1000.0}, "rope_scaling": {"type": "yarn", "factor": 4.0}}, []),
        ({"rope_scaling": without(LLAMA3, "original_max_position_embeddings"), "original_max_position_embeddings": 32}, []),
        ({"rope_scaling": LLAMA3, "original_max_position_embeddings": 64}, []),
        ({"rope_scaling": LLAMA3, "original_max_position_embeddings": None}, []),
        ({"rope_scaling": YARN, "original_max_position_embeddings": 64}, []),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "max_position_embeddings": 32}, []),
        ({"rope_scaling": without(YARN, "original_max_position_embeddings"), "max_position_embeddings": 32}, []),
        ({"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 8}, []),
        ({"num_attention_heads": 6, "num_key_value_heads": 3}, []), ({"num_key_value_heads": 4}, ["head_dim"]),
        ({"num_attention_heads": 8, "num_key_value_heads": 8}, []), ({"num_attention_heads": 8}, ["num_key_value_heads"]),
        ({"hidden_size": 48, "head_dim": 8}, []), ({"hidden_size": 30, "head_dim": 8}, []), ({"hidden_size": 64}, ["head_dim"]),
        ({"tie_word_embeddings": True, "attention_bias": True}, []),
    ]
    if family in ("qwen2", "qwen3"):
        rows += [
            ({"use_sliding_window": True, "sliding_window": 8}, ["max_window_layers"]),
            ({"max_window_layers": 0}, ["sliding_window"]), ({}, ["sliding_window", "max_window_layers"]),
            ({"use_sliding_window": False, "layer_types": ["sliding_attention"] * 2}, []),
            ({"layer_types": ["sliding_attention"] * 2}, ["max_window_layers"]),
            ({"layer_types": ["full_attention"] * 2, "rope_parameters": {"full_attention": new}}, ["rope_theta"]),
        ]
    if family == "mistral":
        rows += [({"layer_types": ["sliding_attention"] * 2}, ["sliding_window"]), ({"use_sliding_window": False, "sliding_window": 8}, [])]
    return rows


def cases():
    for family in FAMILIES:
        yield family, {}, [], TOKENS
        for key, tried in values(family).items():
            for value in tried:
                change, drop = ({}, [key]) if value is ABSENT else ({key: value}, [])
                yield family, change, drop, TOKENS
        for change, drop in together(family):
            yield family, change, drop, TOKENS
    # A window that is not there is 4096, which only a longer text can tell.
    small = {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "intermediate_size": 8}
    yield "mistral", small, ["sliding_window"], 4400
    yield "mistral", small | {"sliding_window": None}, [], 4400
    yield "qwen2", small, ["sliding_window"], 4400


def seed(text):
    h = 2166136261
    for b in text.encode():
        h = (h ^ b) * 16777619 % 2**32
    return h


def noise(name, n):
    """n numbers in [-1, 1), multiples of 2^-23."""
    x = (np.arange(n, dtype=np.uint64) * 2654435761 + seed(name)) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = ((x ^ (x >> np.uint64(shift))) * factor) & 0xFFFFFFFF
    return (x >> np.uint64(8)).astype(np.float64) / 2**23 - 1


def weight(name, shape):
    x = noise(name, math.prod(shape))
    if name.endswith("norm.weight"):
        x = 1 + 0.25 * x
    elif name.endswith(".bias"):
        x = 0.5 * x
    elif len(shape) == 2 and "embed" not in name:
        x = 3 * x / math.sqrt(shape[1])
    return torch.from_numpy(x.astype(np.float32)).reshape(shape)


def config_of(family, change, drop):
    config = {"model_type": family} | BASE | FAMILIES[family] | change
    return {k: v for k, v in config.items() if k not in drop}


def model_of(config):
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "config.json").write_text(json.dumps(config))
        loaded = AutoConfig.from_pretrained(folder)
    # Random values would be made in vain; they are all replaced.
    torch.nn.Linear.reset_parameters = torch.nn.Embedding.reset_parameters = lambda self: None
    model = AutoModelForCausalLM.from_config(loaded, attn_implementation="eager").float().eval()
    for name, p in model.named_parameters():
        p.data = weight(name, tuple(p.shape))
    return model


def figure(model, tokens):
    vocab = model.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([int((x + 1) / 2 * min(vocab, 64)) for x in noise("tokens", tokens)])
    with torch.no_grad():
        logits = model(ids[None]).logits[0].double()
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:]).item()
    if not math.isfinite(loss):
        return "not finite"
    return [round(x, 6) for x in (loss, logits[-1, 0].item(), logits[-1, 1].item())]


def row_of(family, change, drop, tokens):
    row = {"base": family, "set": change, "drop": drop}
    if tokens != TOKENS:
        row["tokens"] = tokens
    try:
        model = model_of(config_of(family, change, drop))
        result = figure(model, tokens)
    except Exception as e:  # noqa: BLE001: the name of whatever the reference says is the figure
        return row, type(e).__name__
    biases = sorted({n.split(".")[-2] for n, _ in model.named_parameters() if n.endswith(".bias")})
    if biases and family != "qwen2" or family == "qwen2" and biases != ["k_proj", "q_proj", "v_proj"]:
        row["biases"] = biases
    return row, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--second", action="store_true", help="add this version's figures to the file")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    version = "v" + transformers.__version__.split(".")[0]
    kept = json.loads(args.file.read_text()) if args.second else None
    rows = []
    for i, case in enumerate(cases()):
        row, result = row_of(*case)
        if kept:
            old = kept["rows"][i]
            assert all(old[k] == row[k] for k in ("base", "set", "drop")), "the file is of other cases"
            row = old | ({"biases": row["biases"]} if "biases" in row else {})
        row[version] = result
        if args.verbose:
            print(json.dumps(row), flush=True)
        rows.append(row)
    made = (kept or {}).get("made", []) + [f"transformers {transformers.__version__}, torch {torch.__version__}, f32, eager"]
    bases = {f: config_of(f, {}, []) for f in FAMILIES}
    text = ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows)
    args.file.write_text(f'{{"made":{json.dumps(made)},"bases":{json.dumps(bases)},\n"rows":[\n{text}\n]}}\n')
    print(f"{len(rows)} rows")


if __name__ == "__main__":
    main()
