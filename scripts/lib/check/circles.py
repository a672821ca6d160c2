#!/usr/bin/env python3
"""Circles of files: files that can only be understood together.  usage: circles.py [ROOT]

A file uses another one when its code, tests apart, names something that is defined there. What a module passes on by `pub use`
counts as the file that it comes from; methods and macros are not seen. `foo.rs` and the files in `foo/` are one subject: that
these use what stands in `foo.rs` is no circle. Exits 1 if there is any.
"""
import os
import re
import sys

from rules import Source, files, leaves

PASSED_ON = re.compile(r"\bpub(?:\s*\([^)]*\))?\s+use\s+([^;]*);")
# A name that is passed on from one module to the next and back would be followed for ever.
MOST_STEPS = 16


class Tree:
    def __init__(self, sources):
        self.modules = {source.module: source for source in sources}
        self.passed_on = {source.name: dict(passed_on(source)) for source in sources}

    def file_of(self, path, steps=0):
        """The file that defines what `path` names; None if that is not known, or is a module."""
        path = path[1:]
        module = next((path[:n] for n in range(len(path), -1, -1) if path[:n] in self.modules), None)
        if module is None or module == path or steps > MOST_STEPS:
            return None
        source, name = self.modules[module], path[len(module)]
        origin = self.passed_on[source.name].get(name)
        if origin is None:
            return source.name
        return self.file_of(origin + path[len(module) + 1 :], steps + 1)


def passed_on(source):
    for statement in PASSED_ON.finditer(source.code):
        for at, path, name in leaves(statement[1], statement.start(1)):
            # `pub use child::X` names a module of its own without saying so.
            path = source.absolute(path, at)
            yield name, path if path[0] == "crate" else ("crate", *source.module, *path)


def uses(source, tree):
    """The files that a file uses, each with a name for which it does."""
    ranges = [m.span() for m in PASSED_ON.finditer(source.code)]
    found = {}
    for at, path in source.paths():
        if source.in_test(at) or any(start <= at < stop for start, stop in ranges):
            continue
        if path[0] == "crate" and "(inline)" not in path:
            file = tree.file_of(path)
            if file is not None and file != source.name and not source.name.startswith(file.removesuffix(".rs") + "/"):
                found.setdefault(file, path[-1])
    return found


def circles(graph):
    """Strongly connected components of more than one file (Tarjan)."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on_stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            component = stack[at:]
            del stack[at:]
            on_stack.difference_update(component)
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def main():
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../../.."))
    sources = []
    for name in files():
        if name.startswith("src/") and name.endswith(".rs"):
            with open(name, encoding="utf-8") as f:
                sources.append(Source(name, f.read()))
    tree = Tree(sources)
    graph = {source.name: uses(source, tree) for source in sources}
    found = circles(graph)
    for circle in found:
        print(f"{circle[0]}:1: a circle of {len(circle)} files — put what they share below them")
        for file in circle:
            for other in sorted(set(graph[file]) & set(circle)):
                print(f"  {file} uses {other}: {graph[file][other]}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
