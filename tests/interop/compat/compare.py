#!/usr/bin/env python3
"""Compare our verdicts with the oracle's: compare.py PAIRS ORACLE OURS EXPLAINED. Fails on any difference that is not explained, on an
explanation that nothing needs, and when a kind of verdict did not occur at all (then the corpus would prove nothing)."""
import collections
import json
import re
import sys


def rows(path):
    with open(path, encoding="utf-8") as f:
        return f.read().split("\n")[:-1]


def main():
    pairs, oracle, ours = rows(sys.argv[1]), rows(sys.argv[2]), rows(sys.argv[3])
    explained = json.load(open(sys.argv[4], encoding="utf-8"))
    if not len(pairs) == len(oracle) == len(ours):
        sys.exit(f"not the same number of lines: {len(pairs)} pairs, {len(oracle)} of the oracle, {len(ours)} of ours")
    used, unexplained, counts = collections.Counter(), [], collections.Counter()
    for pair, theirs, mine in zip(pairs, oracle, ours):
        word, _, message = mine.partition("\t")
        counts[theirs] += 1
        if word == theirs:
            continue
        for i, e in enumerate(explained):
            if re.search(e["oracle"], theirs) and re.search(e["ours"], word) and re.search(e["message"], message):
                used[i] += 1
                break
        else:
            unexplained.append((theirs, mine, pair))
    for theirs, mine, pair in unexplained[:10]:
        print(f"DIFFERS oracle: {theirs}\n        ours:   {mine}\n        pair:   {pair}", file=sys.stderr)
    missing = [k for k in ("compatible", "incompatible", "ambiguous", "invalid-reader", "invalid-writer") if counts[k] < 50]
    stale = [e["why"] for i, e in enumerate(explained) if used[i] == 0]
    print(f"{len(pairs)} pairs, {len(unexplained)} unexplained differences, {sum(used.values())} explained; oracle: "
          + ", ".join(f"{n} {k}" for k, n in sorted(counts.items())))
    if unexplained or missing or stale:
        sys.exit(f"failed: unexplained={len(unexplained)} too-rare={missing} stale-explanations={stale}")


if __name__ == "__main__":
    main()
