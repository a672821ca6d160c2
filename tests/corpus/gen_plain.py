#!/usr/bin/env python3
"""Deterministic plaintext files for the corpus.  usage: gen_plain.py DIR"""
import sys, os, json, random
d = sys.argv[1]; T = 1682899200
r = random.Random(20230501)
def w(path, data):
    p = os.path.join(d, path); os.makedirs(os.path.dirname(p), exist_ok=True)
    open(p, 'wb').write(data); os.utime(p, (T, T))
def lines(n, kind):
    out = []
    for i in range(n):
        o = {"id": f"{r.getrandbits(128):032x}", "tenantId": 4711, "type": kind, "seq": i, "channel": r.choice(["voice", "chat", "email"]),
             "start": "2023-05-%02dT%02d:%02d:%02dZ" % (r.randint(1, 28), r.randint(0, 23), r.randint(0, 59), r.randint(0, 59)),
             "note": r.choice(["ok", "h\u00e9llo", "\u65e5\u672c\u8a9e", "line\nbreak", ""])}
        out.append(json.dumps(o, ensure_ascii=False, separators=(",", ":")))
    return ("\n".join(out) + "\n").encode()
# one: the single zip that every .smime variant wraps (about 70 kB zipped, > 65536)
for k, n in enumerate([1, 40, 600, 1150]): w(f'one/interactions-{k:03d}.json', lines(n, 'interaction'))
w('one/contacts-000.json', lines(250, 'contact')); w('one/empty.json', b'')
# set: what most split sets hold
for k, n in enumerate([1, 2500, 5, 900, 0, 60, 4000, 20, 1, 300]): w(f'set/interactions-{k:03d}.json', lines(n, 'interaction') if n else b'')
w('set/contacts-000.json', lines(800, 'contact')); w('set/blob.bin', r.randbytes(150000))
w('set/na\u00efve-\u65e5\u672c.json', lines(3, 'interaction'))
# many: small files with long names; the central directory alone is > 64 KiB
for i in range(700): w(f'many/interaction-export-part-with-a-rather-long-name-so-that-the-directory-grows-{i:05d}.json', r.randbytes(r.randint(0, 400)))
# wide: stored, > 99 parts of 64 KiB
for k, n in enumerate([2200000, 70000, 131072, 3000000, 1200000]): w(f'wide/recording-{k:03d}.bin', r.randbytes(n))
w('wide/index.json', lines(100, 'interaction'))
# lite: four parts; the base of the broken sets
for k, n in enumerate([600, 1, 900, 5, 700, 0]): w(f'lite/interactions-{k:03d}.json', lines(n, 'interaction') if n else b'')
w('lite/interactions-0025.bin', r.randbytes(140000)); w('lite/contacts-000.json', lines(300, 'contact'))
# zip4j's two bugs at a part's end.  hole: a member's data end so close to it that the rewritten local header spills over and
# leaves a hole at the start of the next part; lost: the next local header is moved on but the directory still says where it was
w('hole/a', b'x' * (65536 - 4 - 31 - 9)); w('hole/b', r.randbytes(1000)); w('hole/c', r.randbytes(70000))
w('lost/a', b'x' * (65536 - 4 - 31 - 13)); w('lost/b', r.randbytes(1000)); w('lost/c', r.randbytes(70000))
