"""The comparison that the scripts beside it share: greedy tokens of another program against those of verify.json."""

import json


def compare(folder, decoders, whole=False, **found):
    """Asks each of `decoders` (a name, and a function of prompt and number of steps that gives tokens) about every prompt of
    verify.json. Fewer tokens than asked for, but some, are an early end, unless the `whole` is wanted. Prints `found` and what
    came of it as one line of JSON; gives the exit code, 1 if a token is not the one that verify.json has."""
    proof = json.loads((folder / "verify.json").read_text())
    result = {**found, "same": 0, "different": []}
    for sequence, prompt in zip(proof["sequences"], proof["prompt_tokens"]):
        expected = sequence[prompt:]
        for name, decode in decoders.items():
            got = decode(sequence[:prompt], len(expected))
            if got and got == (expected if whole else expected[: len(got)]):
                result["same"] += 1
            else:
                result["different"].append({"run": name, "expected": expected, "got": got})
    print(json.dumps(result))
    return 1 if result["different"] else 0
