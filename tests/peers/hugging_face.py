"""Decodes the prompts of verify.json greedily with an exported folder in transformers. Prints one line of JSON; fails if a
token is not the one that verify.json has, if `block_configs` (read as vLLM does) or transformers' `per_layer_config` have not
the widths of the layers, or if the model is another once transformers has saved and loaded it.

Usage: hugging_face.py FOLDER
"""

import sys
import tempfile
from pathlib import Path

import torch
from proof import compare
from transformers import AutoModelForCausalLM


def block_configs(model):
    """How many blocks have the widths that vLLM's DeciLMForCausalLM would build them with."""
    blocks = getattr(model.config, "block_configs", None) or []
    heads, width = model.config.num_attention_heads, model.config.head_dim
    for block, layer in zip(blocks, model.model.layers, strict=True) if blocks else []:
        assert not block.attention.no_op and not block.ffn.no_op and not hasattr(block.ffn, "ffn_mult")
        assert layer.self_attn.q_proj.out_features == heads * width
        assert layer.self_attn.k_proj.out_features == heads // block.attention.n_heads_in_group * width
        assert layer.mlp.gate_proj.out_features == block.ffn.intermediate_size
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            assert (getattr(layer.self_attn, name).bias is not None) == getattr(model.config, "attention_bias", False)
    return len(blocks)


def per_layer(model):
    """How many layers have the widths that `config.per_layer_config` says; none where this transformers does not know it, or
    where layers do not differ."""
    if not getattr(model.config, "is_heterogeneous", False):
        return 0
    for own, layer in zip(model.config.per_layer_config, model.model.layers, strict=True):
        assert own.num_attention_heads * own.head_dim == layer.self_attn.q_proj.out_features
        assert own.num_key_value_heads * own.head_dim == layer.self_attn.k_proj.out_features
        assert own.intermediate_size == layer.mlp.gate_proj.out_features
    return len(model.model.layers)


def saved_again(model, remote):
    """The model after a way through transformers' own files."""
    with tempfile.TemporaryDirectory() as copy:
        model.save_pretrained(copy)
        again = AutoModelForCausalLM.from_pretrained(copy, trust_remote_code=remote, dtype=torch.float32)
    assert again.config.to_dict().get("per_layer_config") == model.config.to_dict().get("per_layer_config")
    return again


def main(folder):
    remote = (folder / "modeling_oops.py").exists()
    model = AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=remote, dtype=torch.float32)

    def decoder(model):
        def decode(prompt, steps):
            ids = torch.tensor([prompt])
            with torch.no_grad():
                made = model.generate(
                    ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=steps, pad_token_id=0
                )
            return made[0, len(prompt):].tolist()

        return decode

    found = {"class": type(model).__name__, "block_configs": block_configs(model), "per_layer": per_layer(model)}
    decoders = {"transformers": decoder(model), "saved again": decoder(saved_again(model, remote))}
    return compare(folder, decoders, **found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
