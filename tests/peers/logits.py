"""Compares an export with the model that it was made from: transformers on the model's own folder is one side, the program that
the export is for the other. Both see the sequences of verify.json, 200 tokens of text among them; what is compared is the
logarithm of the probability of every token (at the last two positions and in the middle of a sequence in llama.cpp, which answers
for one position; at every position in the others). Texts of verify.json must have the same tokens, but those that it says have
others, and prompts must begin with the same token. Prints one line of JSON; fails if a difference is above 1e-4.

Usage: logits.py FOLDER MODEL
"""

import json
import sys
import urllib.request
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ALLOWED = 1e-4


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def transformers(folder):
    remote = (folder / "modeling_oops.py").exists()
    model = AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=remote, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=remote)
    ends = model.generation_config.eos_token_id

    def run(ids):
        with torch.no_grad():
            return dict(enumerate(log_softmax(model(torch.tensor([ids])).logits[0].numpy())))

    def cut(text, special):
        return tokenizer(text, add_special_tokens=special)["input_ids"]

    return run, cut, ends


def onnx(folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs, names = session.get_inputs(), [o.name for o in session.get_outputs()]

    def run(ids):
        past = {
            i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32)
            for i in inputs
            if i.name.startswith("past_key_values.")
        }
        feed = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, len(ids)), np.int64), **past}
        wanted = {i.name for i in inputs}
        out = dict(zip(names, session.run(None, {k: v for k, v in feed.items() if k in wanted})))
        return dict(enumerate(log_softmax(out["logits"][0])))

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    ends = None
    if (folder / "genai_config.json").exists():
        ends = json.loads((folder / "genai_config.json").read_text())["model"]["eos_token_id"]
    return run, lambda text, special: tokenizer(text, add_special_tokens=special)["input_ids"], ends


def llama_cpp(folder, vocabulary, context):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(folder / "model.gguf")
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.warmup = False
    # Keys, values and what attention does in f32: rounded to f16, which is llama.cpp's default, they alone cost up to 0.02.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type(0)
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)

    def after(ids):
        asked = {"prompt": ids, "max_tokens": 1, "temperature": 0, "top_k": 1, "logprobs": vocabulary, "n_probs": vocabulary}
        said = server.handle_completions(asked)
        said = json.loads(said) if isinstance(said, (str, bytes)) else said
        # It needs room for the token that it predicts, and gives no logits where the likeliest token ends the text.
        if said.get("error", {}).get("type") == "exceed_context_size_error" and len(ids) == said["error"]["n_ctx"]:
            return None
        if said["choices"][0]["logprobs"] is None:
            return None
        row = np.full(vocabulary, -np.inf)
        for token in said["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            row[token["id"]] = token["logprob"]
        return row

    def run(ids):
        rows = {n - 1: after(ids[:n]) for n in {max(1, len(ids) // 2), max(1, len(ids) - 1), len(ids)}}
        return {at: row for at, row in rows.items() if row is not None}

    def cut(text, special):
        asked = json.dumps({"content": text, "add_special": special, "parse_special": True}).encode()
        request = urllib.request.Request(
            server.listening_address + "/tokenize", asked, {"Content-Type": "application/json"}
        )
        return json.loads(urllib.request.urlopen(request, timeout=60).read())["tokens"]

    return run, cut, None


def main(folder, model):
    proof = json.loads((folder / "verify.json").read_text())
    reference, cut, ends = transformers(model)
    config = json.loads((model / "config.json").read_text())
    if (folder / "model.gguf").exists():
        run, theirs, their_ends = llama_cpp(folder, config["vocab_size"], config["max_position_embeddings"])
    elif (folder / "model.onnx").exists():
        run, theirs, their_ends = onnx(folder)
    else:
        run, theirs, their_ends = transformers(folder)
    worst, positions, longest = 0.0, 0, 0
    for ids in proof["sequences"]:
        expected = reference(ids)
        for at, row in run(ids).items():
            # Tokens of no weight are where the runtime says nothing.
            likely = expected[at] > -16
            worst = max(worst, float(np.abs(row - expected[at])[likely].max()))
            positions, longest = positions + 1, max(longest, at + 1)
    texts = [t for t in proof["texts"] if t and t not in proof["other_tokens"]]
    other = [t for t in texts if theirs(t, False) != cut(t, False)]
    first = theirs("Hello", True)[:1] == cut("Hello", True)[:1]
    result = {
        "worst": worst,
        "sequences": len(proof["sequences"]),
        "positions": positions,
        "longest": longest,
        "other_tokens": other,
        "first_token": first,
        "ends": their_ends,
        "model_ends": ends,
        "notes": proof["notes"],
    }
    print(json.dumps(result))
    same_ends = their_ends is None or their_ends == ends
    return 0 if worst <= ALLOWED and not other and first and same_ends else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
