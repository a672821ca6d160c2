#!/usr/bin/env python3
"""The rules of this tree that rustc and clippy do not know.  usage: rules.py [ROOT]

One line per violation: `path:line: what — what would be right`. Exits 1 if there is any.

It reads tokens, not types: a path is followed through the `use` declarations of its own file and no further.
Code under `#[cfg(test)]` may use any outside crate and do I/O; the arrows between modules hold there too.
"""
import bisect
import os
import re
import subprocess
import sys

# A module family is src/X.rs and everything in src/X/. What each may use beside itself:
BASE = ["error"]
CODECS = ["format", "io", *BASE]
ARROWS = {
    "error": [],
    "manual": [],
    "io": BASE,
    "format": BASE,
    "crypto": CODECS,
    "postgresql": ["io", *BASE],
    "store": ["crypto", "postgresql", *CODECS],
    "artifact": ["crypto", *CODECS],
    "export": ["store", "artifact", "crypto", "postgresql", *CODECS],
    "record": ["export", "artifact", "store", "crypto", *CODECS],
    "tree": ["record", "artifact", "export", "store", "crypto", *CODECS],
    "mount": ["tree", "record", "artifact", "export", "store", "crypto", *CODECS],
    "cli": ["mount", "tree", "record", "artifact", "export", "store", "crypto", "manual", *CODECS],
    "main": ["cli", *BASE],
    "lib": [],
}
# The modules that an outside crate may be used in, with all that is below them; one that is not listed is free.
HOMES = {
    "fuser": ["mount"],
    "rusqlite": ["store/catalogue/sqlite", "export/source/sqlite", "export/sample"],
    "openssl": ["crypto", "postgresql/tls"],
    "postgres_openssl": ["postgresql"],
    "tokio_postgres": ["postgresql", "store/catalogue/postgres", "export/source/postgres", "export/sample"],
    **dict.fromkeys(["bzip2", "deflate64", "lzma_rust2", "ppmd_rust", "zstd"], ["artifact"]),
    "clap": ["cli", "main"],
    **dict.fromkeys(["pulldown_cmark", "textwrap", "comfy_table"], ["cli"]),
    "notify": ["store/parts/local"],
    **dict.fromkeys(
        ["object_store", "reqwest", "native_tls", "http_body_util", "quick_xml", "async_trait", "url"],
        ["store/parts/object"],
    ),
    **dict.fromkeys(["tokio", "futures_util"], ["store/parts/object", "postgresql"]),
}
# `format` has no I/O: bytes come in as slices. (Writing into a Vec<u8> is none.)
IO = re.compile(r"(std|core)::(fs|net|process|env|os|io::(Read|Seek|BufRead|BufReader|copy|stdin|prelude|\*))(?!\w)")
CODE_LINES, ALL_LINES = 400, 600

TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)"""
    r"""|(?P<text>\b[bc]?r(?P<hashes>\#*)".*?"(?P=hashes)|\b[bc]?"(?:\\.|[^"\\])*"|"(?:\\.|[^"\\])*")"""
    r"""|(?P<char>'(?:\\u\{[^}]*\}|\\x..|\\.|[^\\'\n])')""",
    re.S | re.X,
)


def blank(text):
    return re.sub(r"[^\n]", " ", text)


def close(code, start):
    """Position after the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(code)):
        depth += (code[i] in "{[(") - (code[i] in "}])")
        if depth == 0:
            return i + 1
    return len(code)


def split_tree(tree):
    """Splits `a, b::{c, d}` at its outer commas."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(tree):
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            parts.append((start, tree[start:i]))
            start = i + 1
    return parts + [(start, tree[start:])]


def leaves(tree, at, prefix=()):
    """Yields (position, path, name it is known by) for everything that a `use` tree names."""
    for offset, item in split_tree(tree):
        offset += len(item) - len(item.lstrip())
        item = item.strip()
        if not item:
            continue
        head, brace, _ = item.partition("{")
        name, _, alias = head.partition(" as ")
        path = prefix + tuple(s.strip() for s in name.split("::") if s.strip())
        if brace:
            yield from leaves(item[len(head) + 1 : item.rindex("}")], at + offset + len(head) + 1, path)
        else:
            if path[-1] == "self":
                path = path[:-1]
            yield at + offset, path, alias.strip() or path[-1]


class Source:
    def __init__(self, name, text):
        self.name = name
        self.starts = [0] + [m.end() for m in re.finditer("\n", text)]
        self.lines = text.count("\n") + (not text.endswith("\n"))
        self.no_comments = TOKEN.sub(lambda m: blank(m[0]) if m["comment"] else m[0], text)
        self.code = TOKEN.sub(lambda m: blank(m[0]), text)
        self.tests = self.find_tests()
        module = name.removeprefix("src/").removesuffix(".rs").split("/")
        self.family = module[0]
        self.module = tuple(module) if self.family not in ("lib", "main") else ()
        blocks = re.finditer(r"\bmod\s+\w+\s*\{", self.code)
        self.inline = [(m.start(), close(self.code, m.end() - 1)) for m in blocks]

    def is_in(self, module):
        return self.name == f"src/{module}.rs" or self.name.startswith(f"src/{module}/")

    def line(self, at):
        return bisect.bisect_right(self.starts, at)

    def find_tests(self):
        if os.path.basename(self.name) == "tests.rs":
            return [(0, len(self.code))]
        marks = re.finditer(r"#\[cfg\((?:all\()?test\b", self.code)
        return [(m.start(), self.end_of_item(close(self.code, m.start() + 1))) for m in marks]

    def end_of_item(self, at):
        """An item ends with its first block, or with a semicolon before any block."""
        while at < len(self.code):
            c = self.code[at]
            if c == ";":
                return at + 1
            if c in "{[(":
                at = close(self.code, at)
                if c == "{":
                    return at
            else:
                at += 1
        return at

    def in_test(self, at):
        return any(start <= at < stop for start, stop in self.tests)

    def absolute(self, path, at):
        """Turns a path as written at `at` into one that starts with `crate` or with an outside crate."""
        here = ("crate", *self.module, *("(inline)" for a, b in self.inline if a < at < b))
        if path[0] not in ("self", "super"):
            return path
        path = path[1:] if path[0] == "self" else path
        while path and path[0] == "super":
            here, path = here[:-1] or ("crate",), path[1:]
        return here + path

    def paths(self):
        """Yields (position, absolute path) of everything that is named by a path."""
        names = {m[1]: ("self", m[1]) for m in re.finditer(r"\bmod\s+(\w+)", self.code)}
        names = {name: self.absolute(path, 0) for name, path in names.items()}
        rest, imports = self.code, []
        for m in re.finditer(r"\buse\s+([^;]*);", self.code):
            rest = rest[: m.start()] + blank(m[0]) + rest[m.end() :]
            imports += [(at, self.absolute(path, at), name) for at, path, name in leaves(m[1], m.start(1)) if path]
        # What the product imports under a name goes before what a test does.
        for at, path, name in sorted(imports, key=lambda i: self.in_test(i[0])):
            if path[0] in names and path[0] != name:
                path = names[path[0]] + path[1:]
            names.setdefault(name, path)
            yield at, path
        for m in re.finditer(r"(?<![\w:.>$])(::\s*)?([A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+)", rest):
            path = tuple(re.split(r"\s*::\s*", m[2]))
            if not m[1]:  # `::name` is always an outside crate
                path = names.get(path[0], path[:1]) + path[1:]
            yield m.start(2), self.absolute(path, m.start(2))
        for m in re.finditer(r"\bextern\s+crate\s+(\w+)", rest):
            yield m.start(1), (m[1],)


violations = set()


def report(name, line, what, right):
    violations.add((name, line, f"{what} — {right}"))


def check_uses(source):
    family = source.family
    if family not in ARROWS:
        right = "one of the families in src/lib.rs, or a row in ARROWS of scripts/lib/check/rules.py"
        report(source.name, 1, f"no module family is called {family}", right)
        return
    seen = set()
    for at, path in source.paths():
        if path[0] == "cddsfs":
            path = ("crate", *path[1:])
        if path[0] == "crate" and len(path) > 1 and path[1] != "(inline)":
            target = path[1]
            if target == family or family == "lib" or target in seen:
                continue
            if target not in ARROWS:
                # Macros are exported at the root whatever family they are written in.
                is_macro = re.match(r"[\w\s:]*!\s*[({[]", source.code[at:])
                if source.module and not is_macro:
                    seen.add(target)
                    what = f"crate::{target} is not the name of a family"
                    report(source.name, source.line(at), what, "the path through the family that defines it")
            elif target not in ARROWS[family]:
                seen.add(target)
                allowed = ", ".join(ARROWS[family]) or "no other family"
                report(source.name, source.line(at), f"{family} uses crate::{target}", f"{family} may use {allowed}")
        elif source.in_test(at):
            continue
        elif path[0] in HOMES and not any(map(source.is_in, HOMES[path[0]])) and path[0] not in seen:
            seen.add(path[0])
            right = f"only {' and '.join(HOMES[path[0]])} may"
            report(source.name, source.line(at), f"{'/'.join(source.module)} uses the crate {path[0]}", right)
        elif family == "format" and (io := IO.match("::".join(path))) and io[0] not in seen:
            seen.add(io[0])
            right = "format does no I/O: take a slice, or move this to io"
            report(source.name, source.line(at), f"format uses {io[0]}", right)


def check_size(source):
    lines = enumerate(source.no_comments.split("\n"))
    code = [n for n, line in lines if line.strip() and not source.in_test(source.starts[n])]
    if len(code) > CODE_LINES:
        right = f"at most {CODE_LINES} without tests, comments and blank lines"
        report(source.name, code[CODE_LINES] + 1, f"{len(code)} lines of code", right)
    if source.lines > ALL_LINES:
        report(source.name, ALL_LINES + 1, f"{source.lines} lines", f"at most {ALL_LINES} with everything")


def check_left_open(source):
    left_open = r"\b(todo|unimplemented)\s*!\s*[({[]|#\s*\[\s*(cfg_attr\s*\([^]]*\b)?ignore\b"
    for m in re.finditer(left_open, source.code):
        what = f"{m[1]}!" if m[1] else "#[ignore]"
        report(source.name, source.line(m.start()), what, "finish it, or leave it out")


def check_file(name, text):
    # In two pieces, or this line would be found.
    for m in re.finditer(r"(\.\.|/work)/" + "shared", text):
        line = text.count("\n", 0, m.start()) + 1
        report(name, line, f"mentions {m[0]}", "nothing outside the repository: say it here")
    if name.startswith(("tests/", "scripts/", ".ci/")) and text.startswith("#!") and not os.access(name, os.X_OK):
        report(name, 1, "has a #! line but is not executable", "chmod +x")
    folder, base = os.path.split(name)
    if base == "mod.rs":
        # Cargo takes every tests/X.rs for a test program.
        right = "modules beside a tests/X/main.rs" if name.startswith("tests/") else f"{folder}.rs beside {folder}/"
        report(name, 1, "a mod.rs", right)


def files():
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], capture_output=True, text=True)
    if listed.returncode == 0:
        return sorted(n for n in listed.stdout.split("\0") if os.path.isfile(n))
    # Not a clone: a downloaded archive, say.
    found = []
    for folder, folders, names in os.walk("."):
        folders[:] = [f for f in folders if f not in (".git", "target")]
        found += [os.path.normpath(os.path.join(folder, n)) for n in names]
    return sorted(found)


def main():
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../../.."))
    for name in files():
        with open(name, encoding="utf-8", errors="replace", newline="") as f:
            text = f.read()
        check_file(name, text)
        if name.endswith(".rs"):
            source = Source(name, text)
            if name.startswith("src/"):
                check_uses(source)
                check_size(source)
            check_left_open(source)
    for name, line, what in sorted(violations):
        print(f"{name}:{line}: {what}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
