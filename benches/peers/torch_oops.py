"""OOPS without training, written plainly in torch: activations, gradients, scores, counts per block, ridge repair.

A SmolLM2-135M shape with random weights. Whole model in memory, one backward pass per sequence for the mask gradients, dense
f64 solves by torch.linalg. Selection is a global threshold on the scores (the quadratic program's own time is not compared).
"""

import argparse
import json
import time

import torch
from transformers import LlamaForCausalLM

from torch_calibrate import config, observe


def gradients(model, ids):
    """Squared mask gradients of query heads and FFN channels, summed over sequences."""
    taken, sums = {}, {}

    def keep(name):
        def hook(_, inputs):
            inputs[0].retain_grad()
            taken[name] = inputs[0]

        return hook

    hooks = []
    for i, layer in enumerate(model.model.layers):
        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(keep((i, "o"))))
        hooks.append(layer.mlp.down_proj.register_forward_pre_hook(keep((i, "down"))))
    for p in model.parameters():
        p.requires_grad_(False)
    embed = model.get_input_embeddings()
    for row in ids:
        x = embed(row[None]).requires_grad_(True)
        logits = model(inputs_embeds=x, use_cache=False).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum").backward()
        for name, a in taken.items():
            g = (a * a.grad).sum(dim=(0, 1)).double()
            if name[1] == "o":
                g = g.view(-1, 64).sum(dim=1)
            sums[name] = sums.get(name, 0) + g.square()
    for hook in hooks:
        hook.remove()
    return sums


def repair(gram, weight, kept, damping):
    """Least squares on the kept channels, damped towards the plain cut; weight is [outputs, inputs]."""
    h = gram[kept][:, kept].double()
    removed = torch.ones(gram.shape[0], dtype=torch.bool)
    removed[kept] = False
    h.diagonal().add_(damping * h.diagonal().mean())
    rhs = gram[kept][:, removed].double() @ weight[:, removed].T.double()
    return weight[:, kept] + torch.cholesky_solve(rhs, torch.linalg.cholesky(h)).T.float()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--sequence-tokens", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = LlamaForCausalLM(config()).eval()
    ids = torch.randint(0, 49152, (args.sequences, args.sequence_tokens))
    parts, start = {}, time.perf_counter()

    def lap(name):
        nonlocal start
        parts[name] = round(time.perf_counter() - start, 2)
        start = time.perf_counter()

    grams = {}
    with torch.inference_mode():
        hooks = observe(model.model, grams)
        for i in range(0, args.sequences, args.batch):
            model.model(input_ids=ids[i : i + args.batch], use_cache=False)
        for hook in hooks:
            hook.remove()
    grams = {name: gram.clone() / ids.numel() for name, gram in grams.items()}
    lap("stats")
    fisher = gradients(model, ids)
    lap("gradients")
    obs = {}
    for (i, site), gram in grams.items():
        layer = model.model.layers[i]
        weight = (layer.self_attn.o_proj if site == "o" else layer.mlp.down_proj).weight.double()
        h = gram.double()
        h.diagonal().add_(1e-2 * h.diagonal().mean())
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(h))
        if site == "down":
            obs[i, site] = weight.square().sum(dim=0) / inverse.diagonal()
        else:
            heads = inverse.view(9, 64, 9, 64)
            blocks = [weight[:, 64 * u : 64 * u + 64] for u in range(9)]
            obs[i, site] = torch.stack([(w * torch.linalg.solve(heads[u, :, u], w.T).T).sum() for u, w in enumerate(blocks)])
    lap("scores")
    channels = torch.cat([fisher[i, "down"] for i in range(30)])
    threshold = channels.kthvalue(int(0.3 * channels.numel())).values
    counts = [int((fisher[i, "down"] > threshold).sum().clamp(min=64)) for i in range(30)]
    kept = {i: obs[i, "down"].topk(counts[i]).indices.sort().values for i in range(30)}
    lap("plan")
    with torch.inference_mode():
        for i in range(30):
            repair(grams[i, "down"], model.model.layers[i].mlp.down_proj.weight, kept[i], 1e-3)
            heads = torch.arange(576).view(9, 64)[:6].flatten()
            repair(grams[i, "o"], model.model.layers[i].self_attn.o_proj.weight, heads, 1e-3)
    lap("pruned")
    print(json.dumps({"peer": "torch " + torch.__version__, "seconds": round(sum(parts.values()), 2), "parts": parts}))


if __name__ == "__main__":
    main()
