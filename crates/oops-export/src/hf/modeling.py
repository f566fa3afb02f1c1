"""A decoder whose blocks have their own widths. Written by oops with the model."""

import copy

import torch
from torch import nn
from transformers.models.@family@.modeling_@family@ import @Base@DecoderLayer, @Base@ForCausalLM

from .configuration_oops import OopsConfig


class NoAttention(nn.Module):
    """A block without heads adds nothing to the residual stream."""

    def forward(self, hidden_states, *args, **kwargs):
        return torch.zeros_like(hidden_states), None


class NoFeedForward(nn.Module):
    """A block without channels adds nothing to the residual stream."""

    def forward(self, hidden_states):
        return torch.zeros_like(hidden_states)


def build_layer(config, index):
    """The layer of block `index`: the family's own, built from a configuration with that block's widths."""
    widths = config.block_widths[index]
    own = copy.deepcopy(config)
    own.num_attention_heads = max(widths["num_attention_heads"], 1)
    own.num_key_value_heads = max(widths["num_key_value_heads"], 1)
    own.intermediate_size = max(widths["intermediate_size"], 1)
    layer = @Base@DecoderLayer(own, index)
    for name in widths.get("biases", []):
        linear = layer.get_submodule(name)
        linear.bias = nn.Parameter(torch.zeros(linear.out_features, dtype=linear.weight.dtype))
    if widths["num_attention_heads"] == 0:
        layer.self_attn = NoAttention()
    if widths["intermediate_size"] == 0:
        layer.mlp = NoFeedForward()
    return layer


class @Class@(@Base@ForCausalLM):
    """The family's model with blocks of their own widths."""

    config_class = OopsConfig

    def __init__(self, config):
        per_layer = config.to_dict().get("per_layer_config")
        config.per_layer_config = None  # the family's classes build from one width each
        super().__init__(config)
        self.model.layers = nn.ModuleList(build_layer(config, i) for i in range(config.num_hidden_layers))
        config.per_layer_config = per_layer
        self.post_init()
