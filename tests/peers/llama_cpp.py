"""Decodes the prompts of verify.json greedily with an exported GGUF file in llama.cpp (package xllamacpp). Prints one line
of JSON; fails if a token is not the one that verify.json has.

Usage: llama_cpp.py FOLDER
"""

import json
import sys
from pathlib import Path

import xllamacpp


def answer(text):
    return json.loads(text) if isinstance(text, (str, bytes)) else text


def main(folder):
    params = xllamacpp.CommonParams()
    params.model.path = str(folder / "model.gguf")
    params.n_ctx = 256
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.warmup = False
    server = xllamacpp.Server(params)
    proof = json.loads((folder / "verify.json").read_text())
    result = {"same": 0, "different": []}
    for sequence, prompt in zip(proof["sequences"], proof["prompt_tokens"]):
        expected = sequence[prompt:]
        steps = len(expected)
        ask = {"prompt": sequence[:prompt], "max_tokens": steps, "temperature": 0, "top_k": 1, "logprobs": 1}
        choice = answer(server.handle_completions(ask))["choices"][0]
        got = [token["id"] for token in choice["logprobs"]["content"]]
        if got and got == expected[: len(got)]:
            result["same"] += 1
        else:
            result["different"].append({"expected": expected, "got": got})
    print(json.dumps(result))
    return 1 if result["different"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
