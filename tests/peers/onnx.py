"""Decodes the prompts of verify.json greedily with an exported ONNX folder, in onnxruntime and, where the folder is made
for it, in onnxruntime-genai. Prints one line of JSON; fails if a token is not the one that verify.json has.

Usage: onnx.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from proof import compare


def decode(session, prompt, steps):
    """Greedy tokens after `prompt`: the prompt at once, then token by token with the cache."""
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    past = {
        i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), kinds[i.type])
        for i in session.get_inputs()
        if i.name.startswith("past_key_values.")
    }
    names = [o.name for o in session.get_outputs()]
    tokens, new = list(prompt), list(prompt)
    for _ in range(steps):
        feed = {"input_ids": np.array([new], np.int64), "attention_mask": np.ones((1, len(tokens)), np.int64), **past}
        wanted = {i.name for i in session.get_inputs()}
        out = dict(zip(names, session.run(None, {k: v for k, v in feed.items() if k in wanted})))
        past = {name: out[name.replace("past_key_values.", "present.")] for name in past}
        new = [int(out["logits"][0, -1].argmax())]
        tokens += new
    return tokens[len(prompt):]


def decode_genai(model, prompt, steps):
    """The same in onnxruntime-genai; ends early at an end-of-sequence token."""
    import onnxruntime_genai as og

    params = og.GeneratorParams(model)
    params.set_search_options(do_sample=False, max_length=len(prompt) + steps)
    generator = og.Generator(model, params)
    generator.append_tokens(np.array(prompt, np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return [int(t) for t in generator.get_sequence(0)][len(prompt):]


def main(folder):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    runs = {"onnxruntime": lambda p, n: decode(session, p, n)}
    if (folder / "genai_config.json").exists():
        import onnxruntime_genai as og

        model = og.Model(str(folder))
        runs["onnxruntime-genai"] = lambda p, n: decode_genai(model, p, n)
    return compare(folder, runs, runs=sorted(runs))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
