#!/usr/bin/env python3
"""Keeps the few inputs that reach the most.  usage: keep.py CONTROL DIR

CONTROL is what libFuzzer notes in a merge: the inputs, and the features (edges with counts) that each one has. DIR
holds afterwards at most MOST of them, none longer than LONGEST, chosen one by one by what it adds to those before.
"""
import hashlib
import pathlib
import sys

MOST, LONGEST = 40, 4096


def main():
    control, kept = sys.argv[1], pathlib.Path(sys.argv[2])
    lines = pathlib.Path(control).read_text().splitlines()
    count, names = int(lines[0]), lines[2:]
    paths = [pathlib.Path(name) for name in names[:count]]
    features = {}
    for line in names[count:]:
        kind, *numbers = line.split()
        if kind == "FT" and len(numbers) > 1:
            features[int(numbers[0])] = set(map(int, numbers[1:]))
    inputs = {i: paths[i].read_bytes() for i in features if paths[i].stat().st_size <= LONGEST}

    chosen, reached = [], set()
    while inputs and len(chosen) < MOST:
        best = max(inputs, key=lambda i: (len(features[i] - reached), -len(inputs[i]), inputs[i]))
        if not features[best] - reached:
            break
        reached |= features[best]
        chosen.append(inputs.pop(best))

    for old in kept.iterdir():
        old.unlink()
    for data in chosen:
        (kept / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main()
