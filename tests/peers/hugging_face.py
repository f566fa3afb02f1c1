"""Decodes the prompts of verify.json greedily with an exported folder in transformers. Prints one line of JSON; fails if a
token is not the one that verify.json has, or if `block_configs` (read as vLLM does) has not the widths of the layers.

Usage: hugging_face.py FOLDER
"""

import sys
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


def main(folder):
    remote = (folder / "modeling_oops.py").exists()
    model = AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=remote, dtype=torch.float32)

    def decode(prompt, steps):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=steps, pad_token_id=0
            )
        return made[0, len(prompt):].tolist()

    found = {"class": type(model).__name__, "block_configs": block_configs(model)}
    return compare(folder, {"transformers": decode}, **found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
