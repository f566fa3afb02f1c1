"""Reads an exported GGUF file with the gguf package and checks that widths in the metadata are those of the tensors.
Prints one line of JSON; fails if something does not fit.

Usage: gguf_reader.py FOLDER
"""

import json
import sys
from pathlib import Path

import gguf


def main(folder):
    reader = gguf.GGUFReader(str(folder / "model.gguf"))
    field = {name: f.contents() for name, f in reader.fields.items()}
    arch = field["general.architecture"]
    blocks = field[f"{arch}.block_count"]
    shapes = {t.name: [int(n) for n in t.shape] for t in reader.tensors}
    head = field[f"{arch}.attention.key_length"]
    wrong = []

    def per_block(name):
        value = field[f"{arch}.{name}"]
        return value if isinstance(value, list) else [value] * blocks

    names = ["attention.head_count", "attention.head_count_kv", "feed_forward_length"]
    for block, (query, kv, ffn) in enumerate(zip(*map(per_block, names))):
        rows = {"attn_q": query * head, "attn_k": kv * head, "attn_v": kv * head, "ffn_gate": ffn, "ffn_up": ffn}
        for module, width in rows.items():
            found = shapes.get(f"blk.{block}.{module}.weight", [0, 0])[1]
            if found != width:
                wrong.append([block, module, found, width])
        if query and not ffn:
            wrong.append([block, "attention without FFN"])
    vocabulary = len(field["tokenizer.ggml.tokens"])
    if shapes["token_embd.weight"][1] != vocabulary:
        wrong.append(["token_embd", shapes["token_embd.weight"][1], vocabulary])
    print(json.dumps({"architecture": arch, "blocks": blocks, "tensors": len(shapes), "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
