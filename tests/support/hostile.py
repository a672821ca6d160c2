"""Makes zips that are as hostile as their formats allow, by hand.  usage: hostile.py OUT [KIND...]

OUT/export-KIND.zip for every kind below; those of a split set are OUT/export-KIND.z01 and so on. OUT/links.tsv has what
each symbolic link is to be shown as.
"""
import lzma
import pathlib
import struct
import sys
import zlib

UNIX, MIB = 3, 1 << 20
SYMLINK, FILE = 0o120777 << 16, 0o100644 << 16


def central(name, method=0, crc=0, packed=0, size=0, at=0, attr=FILE, extra=b"", disk=0):
    numbers = (20, UNIX, 20, 0, method, 0, 0x5A21, crc, packed, size, len(name), len(extra), 0, disk, 0, attr, at)
    return b"PK\1\2" + struct.pack("<BBHHHHHIIIHHHHHII", *numbers) + name + extra


def local(name, method=0, crc=0, packed=0, size=0):
    numbers = (20, 0, method, 0, 0x5A21, crc, packed, size, len(name), 0)
    return b"PK\3\4" + struct.pack("<HHHHHIIIHH", *numbers) + name


def end(count, size, at, disk=0):
    out = b""
    if count >= 0xFFFF:
        out = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, disk, disk, count, count, size, at)
        out += b"PK\6\7" + struct.pack("<IQI", disk, at + size, disk + 1)
    few = min(count, 0xFFFF)
    return out + b"PK\5\6" + struct.pack("<HHHHIIH", disk, disk, few, few, size, at, 0)


def zip_of(members):
    """`members` are (name, method, data, content's CRC-32, its size, attributes)."""
    body, directory = b"", []
    for name, method, data, crc, size, attr in members:
        directory.append(central(name, method, crc, len(data), size, len(body), attr))
        body += local(name, method, crc, len(data), size) + data
    directory = b"".join(directory)
    return body + directory + end(len(members), len(directory), len(body))


def names(listed, content=b"x"):
    """A zip of many members, all of which are the same bytes."""
    crc = zlib.crc32(content)
    directory = b"".join(central(name, 0, crc, len(content), len(content)) for name in listed)
    body = local(b"m", 0, crc, len(content), len(content)) + content
    return body + directory + end(len(listed), len(directory), len(body))


def stored(name, content, attr=FILE):
    return name, 0, content, zlib.crc32(content), len(content), attr


# Trees.


def deep():
    return names([b"%06d/" % i + b"a/" * 197 + b"f" for i in range(20_000)])


def ordinary():
    return names([b"UCS/Interaction/EmailIn/attachments/2024-05/%08x-%04x.eml" % (i * 2654435761 % 2**32, i) for i in range(100_000)])


def alike():
    """Names that differ only beyond where they are cut, each of them twice; and repeated ones."""
    tail = [b"n" * 245 + b"%010d" % i for i in range(33_000)]
    return names(tail + tail + [b"same"] * 34_000)


def conflicts():
    """Directories where files are, other files' numbers, and names that are alike but for case."""
    return names([b"d", b"d/"] * 25_000 + [b"x~%d" % i for i in range(40_000)] + [b"x"] * 31_000 + [b"CaSe", b"case"] * 2_000)


def split_directory(count, name):
    """A set of two parts with a directory of that many headers; it has to be rewritten."""
    content = b"x"
    crc = zlib.crc32(content)
    first = b"PK\7\x08" + local(b"m", 0, crc, 1, 1) + content
    directory = b"".join(central(name % i, 0, crc, 1, 1, 4) for i in range(count))
    last = directory + end(count, len(directory), 0, disk=1)
    return [first, last]


# Decoders.


def zeros(size):
    crc, block = 0, bytes(MIB)
    for _ in range(size // MIB):
        crc = zlib.crc32(block, crc)
    return crc


def chunks(size):
    return (bytes(MIB) for _ in range(size // MIB))


def lzma_member(name, size, dictionary, says=None):
    encoder = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "preset": 0, "dict_size": dictionary}])
    data = b"".join(map(encoder.compress, chunks(size))) + encoder.flush()
    header = b"\x10\2\5\0\x5D" + struct.pack("<I", says or dictionary)
    return name, 14, header + data, zeros(size), size, FILE


def xz_member(name, size, dictionary):
    encoder = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": dictionary}])
    data = b"".join(map(encoder.compress, chunks(size))) + encoder.flush()
    return name, 95, data, zeros(size), size, FILE


def zstd_member(name, size, log):
    """Blocks of one repeated byte (RFC 8878 section 3.1.1.2.2)."""
    blocks = [(128 << 10) << 3 | 2] * (size // (128 << 10))
    blocks[-1] |= 1
    data = b"\x28\xB5\x2F\xFD\0" + bytes([(log - 10) << 3]) + b"".join(struct.pack("<I", block)[:3] + b"\0" for block in blocks)
    return name, 93, data, zeros(size), size, FILE


def windows():
    """As large as they may be, eight of them."""
    size = 36 * MIB
    members = [lzma_member(b"lzma-%d" % i, size, 32 * MIB) for i in range(3)]
    members += [xz_member(b"xz-%d" % i, size, 32 * MIB) for i in range(2)]
    return zip_of(members + [zstd_member(b"zstd-%d" % i, size, 25) for i in range(3)])


def too_large():
    huge = lzma_member(b"lzma", MIB, MIB, says=0xFFFF_FFFF)[2]
    members = [(b"lzma", 14, huge, 0, 2**31, FILE), zstd_member(b"zstd", MIB, 27)]
    members.append((b"ppmd", 98, struct.pack("<H", 7 | 255 << 4) + bytes(99), 0, 999, FILE))
    xz = xz_member(b"xz", MIB, 48 * MIB)
    # What a small member says of its dictionary does not matter.
    return zip_of([*members, xz, lzma_member(b"small", MIB, MIB, says=0xFFFF_FFFF)])


# Links.

LINKS = {
    # target, and whether it is a link
    "plain/file": (b"../target", True),
    "plain/up-and-down": (b"../plain/../target", True),
    "plain/dir": (b"../sub", True),
    "plain/through": (b"dir/inner", True),
    "plain/nowhere": (b"not/there", True),
    "plain/loop": (b"loop", True),
    "out/absolute": (b"/etc/passwd", False),
    "out/up": (b"../../etc/passwd", False),
    "out/far-up": (b"../" * 40 + b"etc/passwd", False),
    "out/down-and-up": (b"../sub/../../../etc/passwd", False),
    "out/nothing-and-up": (b"nothing/../../../x", False),
    "chain/root": (b"..", True),
    "chain/out": (b"root/..", False),
    "chain/out-by-two": (b"root/chain/root/../x", False),
    "chain/to-out": (b"out", False),
    "chain/through-absolute": (b"../out/absolute/x", False),
    "odd/nul": (b"a\0b", False),
    "odd/long": (b"a" * 4096, False),
    "odd/longest": (b"b/" * 2000, False),
    "odd/empty": (b"", False),
    "odd/dots": (b"./.././target", True),
    "odd/latin": (b"\xE9", True),
}


def links():
    files = [stored(b"target", b"here"), stored(b"sub/inner", b"inner")]
    return zip_of(files + [stored(name.encode(), target, SYMLINK) for name, (target, _) in LINKS.items()])


KINDS = {
    kind.__name__.replace("_", "-"): kind for kind in (deep, ordinary, alike, conflicts, windows, too_large, links)
}
KINDS["split-large"] = lambda: split_directory(100_000, b"UCS/Interaction/attachments/%08d.eml")
KINDS["split-too-large"] = lambda: split_directory(150_000, b"UCS/Interaction/attachments/2024/05/%080d.eml")


def main():
    out = pathlib.Path(sys.argv[1])
    rows = (f"{name}\t{'link' if is_link else 'text'}\t{target.hex()}\n" for name, (target, is_link) in LINKS.items())
    (out / "links.tsv").write_text("".join(rows))
    for kind in sys.argv[2:] or KINDS:
        made = KINDS[kind]()
        for i, part in enumerate(made[:-1] if isinstance(made, list) else []):
            (out / f"export-{kind}.z{i + 1:02}").write_bytes(part)
        (out / f"export-{kind}.zip").write_bytes(made[-1] if isinstance(made, list) else made)


if __name__ == "__main__":
    main()
