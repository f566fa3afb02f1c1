"""Prefill and decoding of exported ONNX folders in ONNX Runtime, models in turn: medians, and the ratio to the first folder.

    python onnx_speed.py DENSE PRUNED… [--prompt 512] [--decode 32] [--rounds 5] [--threads 2]

Folders are what export.onnx makes. One sequence of fixed tokens; every round measures every model once, one after another, and
ratios are taken within a round. Prints one JSON object per folder.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy
import onnxruntime


class Model:
    def __init__(self, folder, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.folder = folder
        self.session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"), options, ["CPUExecutionProvider"])
        self.past = [i for i in self.session.get_inputs() if i.name.startswith("past_key_values")]
        self.floats = numpy.float16 if self.past and "float16" in self.past[0].type else numpy.float32

    def step(self, ids, past):
        total = ids.shape[1] + (past[0].shape[2] if past else 0)
        feed = {"input_ids": ids, "attention_mask": numpy.ones((1, total), dtype=numpy.int64)}
        for i, slot in enumerate(self.past):
            empty = (1, slot.shape[1], 0, slot.shape[3])
            feed[slot.name] = past[i] if past else numpy.zeros(empty, dtype=self.floats)
        return self.session.run(None, feed)[1:]

    def measure(self, prompt, decode):
        start = time.perf_counter()
        past = self.step(prompt, None)
        middle = time.perf_counter()
        for _ in range(decode):
            past = self.step(prompt[:, :1], past)
        end = time.perf_counter()
        return prompt.shape[1] / (middle - start), decode / (end - middle)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    models = [Model(folder, args.threads) for folder in args.folders]
    prompt = (numpy.arange(args.prompt, dtype=numpy.int64) * 7919 % 251)[None]
    rounds = []
    for round_ in range(args.rounds + 1):
        rates = [model.measure(prompt, args.decode) for model in models]
        if round_:  # The first warms up.
            rounds.append(rates)
    for i, model in enumerate(models):
        figure = lambda part: statistics.median(r[i][part] for r in rounds)
        ratios = lambda part: sorted(r[i][part] / r[0][part] for r in rounds)
        out = {"model": model.folder, "prompt": args.prompt, "threads": args.threads, "onnxruntime": onnxruntime.__version__}
        for part, name in enumerate(["prefill", "decode"]):
            out[f"{name}_tokens_per_s"] = figure(part)
            out[f"{name}_ratio"] = statistics.median(ratios(part))
            out[f"{name}_ratio_range"] = [ratios(part)[0], ratios(part)[-1]]
        print(json.dumps(out))


if __name__ == "__main__":
    main()
