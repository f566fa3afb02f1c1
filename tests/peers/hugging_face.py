"""Decodes the prompts of verify.json greedily with an exported folder in transformers. Prints one line of JSON; fails if a
token is not the one that verify.json has.

Usage: hugging_face.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM


def main(folder):
    remote = (folder / "modeling_oops.py").exists()
    model = AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=remote, dtype=torch.float32)
    proof = json.loads((folder / "verify.json").read_text())
    result = {"class": type(model).__name__, "same": 0, "different": []}
    for sequence, prompt in zip(proof["sequences"], proof["prompt_tokens"]):
        steps = len(sequence) - prompt
        ids = torch.tensor([sequence[:prompt]])
        with torch.no_grad():
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=steps, pad_token_id=0
            )
        got = made[0, prompt:].tolist()
        if got and got == sequence[prompt:][: len(got)]:
            result["same"] += 1
        else:
            result["different"].append({"expected": sequence[prompt:], "got": got})
    print(json.dumps(result))
    return 1 if result["different"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
