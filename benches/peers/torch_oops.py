"""OOPS without training, written plainly in torch: activations, gradients, scores, counts per block, ridge repair.

A SmolLM2-135M shape with random weights. Whole model in memory, one backward pass per sequence for mask gradients and
curvature, backward elimination unit by unit, dense f64 solves by torch.linalg. Selection is a threshold on the scores; outlier
protection and the quadratic program are left out, which is to torch's advantage.
"""

import argparse
import json
import time

import torch
from transformers import LlamaForCausalLM

from torch_calibrate import config, observe

# Channels of a KV group in front of o_proj: three query heads of 64.
GROUP = 192


def gradients(model, ids):
    """Squared mask gradients of KV groups and FFN channels, one mask per sequence, and the curvature G = sum of y y' of the
    gradients y behind each module."""
    taken, behind, sums, curvature = {}, {}, {}, {}

    def keep(name):
        def hook(_, inputs, output):
            inputs[0].retain_grad()
            output.retain_grad()
            taken[name], behind[name] = inputs[0], output

        return hook

    hooks = []
    for i, layer in enumerate(model.model.layers):
        hooks.append(layer.self_attn.o_proj.register_forward_hook(keep((i, "o"))))
        hooks.append(layer.mlp.down_proj.register_forward_hook(keep((i, "down"))))
    for p in model.parameters():
        p.requires_grad_(False)
    embed = model.get_input_embeddings()
    for row in ids:
        x = embed(row[None]).requires_grad_(True)
        logits = model(inputs_embeds=x, use_cache=False).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum").backward()
        for name, a in taken.items():
            g = (a.detach() * a.grad).sum(dim=(0, 1)).double()
            if name[1] == "o":
                g = g.view(-1, GROUP).sum(dim=1)
            sums[name] = sums.get(name, 0) + g.square()
            y = behind[name].grad[0]
            curvature[name] = curvature.get(name, 0) + y.T @ y
    for hook in hooks:
        hook.remove()
    return sums, {name: g / ids.numel() for name, g in curvature.items()}


def damped(matrix, damping):
    matrix = matrix.double()
    return matrix + damping * matrix.diagonal().mean() * torch.eye(matrix.shape[0], dtype=torch.float64)


def eliminate(gram, weight, curvature, size):
    """Costs of groups of `size` channels at their turn, cheapest first: 1/2 tr(V_g' ((A^-1)_gg)^-1 V_g G). A group that
    goes has its loss spread over what stays, in the inverse and in the weights [outputs, inputs]."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped(gram, 1e-3)))
    # In the metric's own coordinates the trace is a plain sum of squares.
    v = torch.linalg.cholesky(damped(curvature, 1e-2)).T @ weight.double()
    groups = v.shape[1] // size
    costs, left = torch.zeros(groups, dtype=torch.float64), torch.ones(groups, dtype=torch.bool)
    for _ in range(groups):
        if size == 1:
            cost = v.square().sum(dim=0) / inverse.diagonal()
        else:
            parts = v.view(-1, groups, size).transpose(0, 1)
            own = torch.stack([inverse[u * size : (u + 1) * size, u * size : (u + 1) * size] for u in range(groups)])
            own[~left] = torch.eye(size, dtype=torch.float64)
            cost = (parts * torch.linalg.solve(own, parts.transpose(1, 2)).transpose(1, 2)).sum(dim=(1, 2))
        cost[~left] = torch.inf
        u = int(cost.argmin())
        costs[u], left[u] = cost[u] / 2, False
        g = slice(u * size, (u + 1) * size)
        spread = torch.linalg.solve(inverse[g, g], inverse[g])
        v -= v[:, g] @ spread
        inverse -= inverse[:, g] @ spread
        # Rounding leaves traces where zeros belong.
        inverse[g], inverse[:, g], v[:, g] = 0, 0, 0
        inverse[g, g] = torch.eye(size, dtype=torch.float64)
    return costs


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
    fisher, curvature = gradients(model, ids)
    lap("gradients")
    scores = {}
    with torch.inference_mode():
        for (i, site), gram in grams.items():
            layer = model.model.layers[i]
            weight = (layer.self_attn.o_proj if site == "o" else layer.mlp.down_proj).weight
            kfac = eliminate(gram, weight, curvature[i, site], GROUP if site == "o" else 1)
            scores[i, site] = (fisher[i, site] * kfac).sqrt()
    lap("scores")
    channels = torch.cat([scores[i, "down"] for i in range(30)])
    threshold = channels.kthvalue(int(0.3 * channels.numel())).values
    counts = [int((scores[i, "down"] > threshold).sum().clamp(min=64)) for i in range(30)]
    kept = {i: scores[i, "down"].topk(counts[i]).indices.sort().values for i in range(30)}
    groups = {i: scores[i, "o"].topk(2).indices.sort().values for i in range(30)}
    lap("plan")
    with torch.inference_mode():
        for i in range(30):
            repair(grams[i, "down"], model.model.layers[i].mlp.down_proj.weight, kept[i], 1e-3)
            heads = (groups[i][:, None] * GROUP + torch.arange(GROUP)).flatten()
            repair(grams[i, "o"], model.model.layers[i].self_attn.o_proj.weight, heads, 1e-3)
    lap("pruned")
    print(json.dumps({"peer": "torch " + torch.__version__, "seconds": round(sum(parts.values()), 2), "parts": parts}))


if __name__ == "__main__":
    main()
