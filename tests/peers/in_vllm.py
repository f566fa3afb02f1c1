"""Decodes the prompts of verify.json greedily with an exported folder in vLLM, in its own class if it has one of that name.
Prints one line of JSON; fails if a token is not the one that verify.json has.

Usage: in_vllm.py FOLDER
"""

import json
import os
import sys
from pathlib import Path

from proof import compare


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
    config = json.loads((folder / "config.json").read_text())

    def decode(prompt, steps):
        asked = SamplingParams(temperature=0, max_tokens=steps, detokenize=False, ignore_eos=True)
        made = model.generate({"prompt_token_ids": prompt}, asked, use_tqdm=False)
        return list(made[0].outputs[0].token_ids)

    return compare(folder, {"vllm": decode}, whole=True, **{"class": config["architectures"][0]})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
