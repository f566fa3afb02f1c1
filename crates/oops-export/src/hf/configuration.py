"""Configuration of a decoder whose blocks have their own widths. Written by oops with the model."""

from transformers import @Base@Config


class Keys(dict):
    """A dictionary whose keys are attributes too: vLLM reads `block_configs` so."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class OopsConfig(@Base@Config):
    """A @Base@ configuration and `block_widths`: one entry per block with `num_attention_heads`,
    `num_key_value_heads`, `intermediate_size` and `biases` (linear layers that have a bias although the family has none).
    Widths of the family's own names are those of the widest block; `per_layer_config` has what differs from them, as
    transformers writes it. `block_configs`, where it is, has the widths as vLLM's DeciLMForCausalLM reads them."""

    model_type = "@model_type@"

    def __init__(self, block_widths=None, block_configs=None, per_layer_config=None, **kwargs):
        self.block_widths = block_widths
        if block_configs is not None:
            self.block_configs = [Keys({k: Keys(v) for k, v in block.items()}) for block in block_configs]
        super().__init__(**kwargs)
        # Programs that ask for one width of all blocks get the widest block's.
        self.allow_global_per_layer_attribute_access = True
        self.per_layer_config = per_layer_config
