"""Forward passes of a SmolLM2-135M-shaped model with random weights in torch, with and without Gram matrices.

The head is left out, as in calibration: only the blocks run. Medians of RUNS repetitions.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaModel


def config():
    return LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=49152, max_position_embeddings=8192, attn_implementation="sdpa",
    )


def observe(model, grams):
    """Adds X'X of the inputs of o_proj and down_proj, in f32, whenever they are called."""

    def hook(name):
        def add(_, inputs):
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
            grams[name] = grams.get(name, 0) + x.T @ x

        return add

    hooks = []
    for i, layer in enumerate(model.layers):
        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(hook((i, "o"))))
        hooks.append(layer.mlp.down_proj.register_forward_pre_hook(hook((i, "down"))))
    return hooks


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--sequence-tokens", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    args = parser.parse_args()
    torch.manual_seed(0)
    ids = torch.randint(0, 49152, (args.sequences, args.sequence_tokens))
    for dtype in args.dtypes.split(","):
        model = LlamaModel(config()).to(getattr(torch, dtype)).eval()
        for with_grams in (False, True):
            grams = {}
            hooks = observe(model, grams) if with_grams else []
            seconds = []
            for _ in range(args.runs):
                grams.clear()
                start = time.perf_counter()
                for i in range(0, args.sequences, args.batch):
                    model(input_ids=ids[i : i + args.batch], use_cache=False)
                seconds.append(time.perf_counter() - start)
            for hook in hooks:
                hook.remove()
            median = statistics.median(seconds)
            tokens = args.sequences * args.sequence_tokens
            print(json.dumps({
                "peer": "torch " + torch.__version__, "dtype": dtype, "grams": with_grams, "threads": torch.get_num_threads(),
                "tokens": tokens, "seconds": round(median, 2), "tokens_per_s": round(tokens / median, 1),
            }), flush=True)


if __name__ == "__main__":
    main()
