"""Decodes the prompts of verify.json greedily with an exported GGUF file in llama.cpp (package xllamacpp). Prints one line
of JSON; fails if a token is not the one that verify.json has.

Usage: llama_cpp.py FOLDER
"""

import json
import sys
from pathlib import Path

import xllamacpp
from proof import compare


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

    def decode(prompt, steps):
        ask = {"prompt": prompt, "max_tokens": steps, "temperature": 0, "top_k": 1, "logprobs": 1}
        choice = answer(server.handle_completions(ask))["choices"][0]
        return [token["id"] for token in choice["logprobs"]["content"]]

    return compare(folder, {"llama.cpp": decode})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
