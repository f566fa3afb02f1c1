"""The ridge repair of `oops bench solve` through SciPy: right sides, Cholesky factor, solve; all in f64."""

import argparse
import json
import statistics
import time

import numpy as np
import scipy
import scipy.linalg


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=1536)
    parser.add_argument("--kept", type=int, default=1229)
    parser.add_argument("--outputs", type=int, default=576)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    n, k = args.channels, args.kept
    rng = np.random.default_rng(0)
    rows = min(n, 512)
    x = rng.uniform(-1, 1, (rows, n)).astype(np.float32)
    gram = x.T @ x / rows
    weight = rng.uniform(-1, 1, (n, args.outputs)).astype(np.float32)
    kept = np.arange(k) * n // k
    removed = np.setdiff1d(np.arange(n), kept)
    seconds = []
    for _ in range(args.runs):
        start = time.perf_counter()
        h = gram[np.ix_(kept, kept)].astype(np.float64)
        h[np.diag_indices(k)] += 1e-2 * np.trace(h) / k
        rhs = gram[np.ix_(kept, removed)].astype(np.float64) @ weight[removed].astype(np.float64)
        factor = scipy.linalg.cho_factor(h, lower=True, overwrite_a=True, check_finite=False)
        repaired = weight[kept] + scipy.linalg.cho_solve(factor, rhs, overwrite_b=True, check_finite=False)
        repaired.astype(np.float32)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({
        "peer": f"scipy {scipy.__version__}, numpy {np.__version__}", "channels": n, "kept": k, "outputs": args.outputs,
        "seconds": round(statistics.median(seconds), 3),
    }))


if __name__ == "__main__":
    main()
