"""Configuration of a decoder whose blocks have their own widths. Written by oops with the model."""

from transformers import @Base@Config


class OopsConfig(@Base@Config):
    """A @Base@ configuration and `block_widths`: one entry per block with `num_attention_heads`,
    `num_key_value_heads`, `intermediate_size` and `biases` (linear layers that have a bias although the family has none).
    Widths of the family's own names are those of the widest block."""

    model_type = "oops"

    def __init__(self, block_widths=None, **kwargs):
        self.block_widths = block_widths
        super().__init__(**kwargs)
