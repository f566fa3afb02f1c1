"""Decodes the prompts of verify.json greedily with an exported folder in vLLM, in its own class if it has one of that name.
Prints one line of JSON; fails if a token is not the one that verify.json has.

Usage: in_vllm.py FOLDER
"""

import json
import os
import sys
from pathlib import Path


def main(folder):
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams

    remote = (folder / "modeling_oops.py").exists()
    model = LLM(
        model=str(folder),
        trust_remote_code=remote,
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        skip_tokenizer_init=True,
    )
    proof = json.loads((folder / "verify.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    result = {"class": config["architectures"][0], "same": 0, "different": []}
    for sequence, prompt in zip(proof["sequences"], proof["prompt_tokens"]):
        asked = SamplingParams(
            temperature=0, max_tokens=len(sequence) - prompt, detokenize=False, ignore_eos=True
        )
        made = model.generate({"prompt_token_ids": sequence[:prompt]}, asked, use_tqdm=False)
        got = list(made[0].outputs[0].token_ids)
        if got == sequence[prompt:]:
            result["same"] += 1
        else:
            result["different"].append({"expected": sequence[prompt:], "got": got})
    print(json.dumps(result))
    return 1 if result["different"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
