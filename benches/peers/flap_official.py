"""Official FLAP on our protocol: statistics and metric from your own checkout of its repository (https://github.com/CASIA-IVA-Lab/FLAP).

`BiasGPT` and `metrics["WIFV"]` are imported from the checkout; calibration ids, held-out ids and the model are ours, so that the
figures stand beside `oops sweep pipelines/ablations/methods.yaml`. What the checkout hard-codes for LLaMA-7B is written here for
any LLaMA: a head of 128 channels becomes one KV group, and its price of 512/3 channels the weights that a group really takes.

  oops show PIPELINE text --out calibration; oops show PIPELINE heldout --out heldout
  python flap_official.py --flap CHECKOUT --model HF_FOLDER --calibration calibration/tokens.parquet --heldout heldout/tokens.parquet
"""

import argparse
import json
import math
import sys
import types

import pyarrow.parquet as parquet
import torch
from transformers import AutoModelForCausalLM


def sequences(path):
    """The token ids of every sequence of a token set."""
    table = parquet.read_table(path)
    found = {}
    for number, token in zip(table["sequence"].to_pylist(), table["token"].to_pylist()):
        found.setdefault(number, []).append(token)
    return [torch.tensor(found[number]) for number in sorted(found)]


def official(checkout):
    """`BiasGPT` and the metric of the checkout; its data loader needs the hub and is not used."""
    sys.path.insert(0, checkout)
    stub = types.ModuleType("lib.data")
    stub.get_loaders = None
    sys.modules["lib.data"] = stub
    from lib.layerwrapper import BiasGPT
    from lib.prune import metrics

    return BiasGPT, metrics["WIFV"]


def measure(model, ids, wrapper):
    """Per layer the wrapped o_proj and down_proj after all sequences went through the dense model."""
    wrapped, hooks = [], []
    for layer in model.model.layers:
        pair = {"self_attn.o_proj": layer.self_attn.o_proj, "mlp.down_proj": layer.mlp.down_proj}
        mine = {name: wrapper(module, "WIFV") for name, module in pair.items()}
        for name, module in pair.items():
            hooks.append(module.register_forward_hook(lambda _, i, o, w=mine[name]: w.add_batch(i[0].data, o.data)))
        wrapped.append((mine, pair))
    for row in ids:
        model(row[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return wrapped


def standardised(rows):
    x = torch.stack(rows)
    return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)


def choose(attention, ffn, price, remove):
    """Masks of what stays: one threshold, where the removed share of weights is nearest to the target."""
    both = torch.cat([attention.reshape(-1), ffn.reshape(-1)])
    value, index = torch.sort(both, descending=True)
    cost = torch.ones_like(value)
    cost[index < attention.numel()] = price
    at = torch.argmin((cost.cumsum(0) - cost.sum() * (1 - remove)).abs())
    return attention > value[at], ffn > value[at]


def perplexity(model, stream, tokens, windows):
    losses = []
    for start in range(0, windows * tokens, tokens):
        row = stream[start : start + tokens]
        logits = model(row[None], use_cache=False).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, row[1:]).item())
    return math.exp(sum(losses) / len(losses))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["--flap", "--model", "--calibration", "--heldout"]:
        parser.add_argument(name, required=True)
    parser.add_argument("--remove", type=float, nargs="+", default=[0.2, 0.3, 0.5])
    parser.add_argument("--window-tokens", type=int, default=1024)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--power", type=int, default=2, help="exponent of the attention metric; the official code has 2")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    wrapper, metric = official(args.flap)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    c = model.config
    dim = c.hidden_size // c.num_attention_heads
    group = dim * c.num_attention_heads // c.num_key_value_heads
    # Rows of q, k and v and columns of o that go with a group, over gate, up and down of a channel.
    price = (2 * group + 2 * dim) / 3
    wrapped = measure(model, sequences(args.calibration), wrapper)
    attention = standardised([metric(m, s, "self_attn.o_proj") ** args.power for m, s in wrapped])
    attention = attention.reshape(len(wrapped), -1, group).mean(2)
    ffn = standardised([metric(m, s, "mlp.down_proj") for m, s in wrapped])
    stream = torch.cat(sequences(args.heldout))
    sites = [(m[name].baseline_inp, s[name]) for m, s in wrapped for name in ["self_attn.o_proj", "mlp.down_proj"]]
    dense = [module.weight.data.clone() for _, module in sites]
    for remove in args.remove:
        kept_groups, kept_channels = choose(attention, ffn, price, remove)
        for i, ((mean, module), weight) in enumerate(zip(sites, dense)):
            mask = (kept_channels if i % 2 else kept_groups.repeat_interleave(group, 1))[i // 2]
            module.weight.data = weight * mask
            module.bias = torch.nn.Parameter((mean * ~mask) @ weight.T)
        figure = perplexity(model, stream, args.window_tokens, args.windows)
        kept = {"kv_groups": int(kept_groups.sum()), "channels": int(kept_channels.sum())}
        print(json.dumps({"method": "FLAP, official", "remove": remove, "perplexity": figure, "kept": kept}), flush=True)


if __name__ == "__main__":
    main()
