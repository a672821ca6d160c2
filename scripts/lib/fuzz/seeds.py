#!/usr/bin/env python3
"""Makes the inputs that fuzzing begins with.  usage: seeds.py CORPUS KEY OUT

CORPUS is the test corpus, KEY the key and certificate of the target `part`. OUT/TARGET/N is written for each target of
tests/fuzz/src/lib.rs, in the form that it describes; whole messages are made by openssl.
"""
import base64
import io
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import zipfile

CORPUS, KEY, OUT = map(pathlib.Path, sys.argv[1:])
FORMS = ["-outform DER", "-outform DER -stream", "-outform PEM", "-outform SMIME", "-outform SMIME -stream -crlfeol"]
CIPHERS = ["-aes-128-cbc", "-aes-192-cbc", "-aes-256-cbc", "-des-ede3-cbc", "-aes-256-gcm"]
RECIPIENTS = ["", "-keyid", "-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha1"]
random = random.Random(1)


def put(target, *inputs):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / f"{len(list(folder.iterdir())):04}").write_bytes(data)


def u16(*numbers):
    return struct.pack(f"<{len(numbers)}H", *numbers)


def encrypted(plain, form="-outform DER", cipher="-aes-256-cbc", recipient=""):
    command = f"openssl cms -encrypt -binary {cipher} {form} -recip {KEY} {recipient}"
    return subprocess.run(command.split(), input=plain, capture_output=True, check=True).stdout


def small_zip(comment=b""):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, text in (("a.json", "{}"), ("media/é.txt", "text" * 9), ("empty", "")):
            z.writestr(zipfile.ZipInfo(name, (2023, 5, 1, 0, 0, 0)), text)
        z.comment = comment
    return out.getvalue()


def split(zip_, cuts):
    """Makes a small split zip of three disks: the marker, and numbers that count from the beginning of a disk."""
    data = bytearray(b"PK\x07\x08" + zip_)
    starts = [0, *cuts]

    def place(at):
        disk = max(i for i, start in enumerate(starts) if start <= at)
        return disk, at - starts[disk]

    end = data.rindex(b"PK\5\6")
    size, directory = struct.unpack_from("<LL", data, end + 12)
    at = directory + 4
    while at < end:
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        disk, offset = place(struct.unpack_from("<L", data, at + 42)[0] + 4)
        struct.pack_into("<H", data, at + 34, disk)
        struct.pack_into("<L", data, at + 42, offset)
        at += 46 + name + extra + comment
    disk, offset = place(directory + 4)
    struct.pack_into("<HHH", data, end + 4, len(cuts), disk, 0)
    struct.pack_into("<LL", data, end + 12, size, offset)
    lengths = [b - a for a, b in zip(starts, cuts)]
    return u16(len(cuts), *lengths) + data


def element(der, at):
    """Returns tag, start of the content and end of the DER element at a position."""
    first = der[at + 1]
    size = first & 0x7F if first & 0x80 else 0
    body = at + 2 + size
    return der[at], body, body + (int.from_bytes(der[at + 2 : body], "big") if size else first)


def segmented(der, size):
    """Rewrites a message with indefinite lengths and its content in segments."""
    out, closing, at = b"", b"", 0
    while True:
        tag, body, end = element(der, at)
        if tag == 0x80:
            pieces = (der[i : min(i + size, end)] for i in range(body, end, size))
            content = b"".join(bytes([4, len(piece)]) + piece for piece in pieces)
            # AuthEnvelopedData goes on behind the content: with its tag, within the second innermost SEQUENCE.
            return out + b"\xa0\x80" + content + b"\0\0" + b"\0\0" + der[end:] + closing[2:]
        if tag in (0x30, 0xA0) and (end == len(der) or der[end:].startswith(b"\4\x10")):
            out, closing, at = out + bytes([tag, 0x80]), closing + b"\0\0", body
        else:
            out, at = out + der[at:end], end


def long_lengths(der):
    """Rewrites a message so that lengths of its content take 8 octets: right ones, and such as wrap when they are added to."""

    def long(tag, length, content=b""):
        return bytes([tag, 0x88]) + (length % 2**64).to_bytes(8, "big") + content

    at, head = 0, b""
    while True:
        tag, body, end = element(der, at)
        if tag == 0x80:
            break
        # What holds the content is entered, with an indefinite length; the rest is copied.
        entered = tag in (0x30, 0xA0) and end == len(der)
        head += bytes([tag, 0x80]) if entered else der[at:end]
        at = body if entered else end
    content, closing = der[body:end], b"\0\0" * 4
    segments = long(4, 16, content[:16]) + long(4, len(content) - 16, content[16:])
    yield head + b"\xa0\x80" + segments + b"\0\0" + closing
    yield head + long(0xA0, len(segments), segments) + closing
    yield head + b"\xa0\x80" + long(0x24, len(segments), segments) + b"\0\0" + closing
    yield head + long(0x80, len(content), content) + closing
    for length in (-1, -9, -10, -11, -12, -len(head), 2**63, 2**63 - 1, 2**62 + 1):
        wrong = long(4, length, content)
        yield head + b"\xa0\x80" + wrong + b"\0\0" + closing
        yield head + long(0xA0, len(wrong), wrong) + closing
        yield head + b"\xa0\x80" + long(4, 16, content[:16]) + wrong + b"\0\0" + closing
        yield head + b"\xa0\x80\x24\x80" + wrong + b"\0\0" * 2 + closing
        yield head + b"\xa0\x80" + long(0x24, length, wrong) + b"\0\0" + closing
        yield head + long(0xA0, length, segments) + closing
        yield head + long(0x80, length, content) + closing
        # Many of them, so that they may be taken for regular.
        yield head + b"\xa0\x80" + long(4, 16, content[:16]) * 70 + wrong + b"\0\0" + closing


def lines(data, width, eol):
    text = base64.b64encode(data)
    return eol.join(text[i : i + width] for i in range(0, len(text), width))


def smime(message, width, eol):
    header = [b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data", b"Content-Transfer-Encoding: base64"]
    return eol.join([*header, b"", lines(message, width, eol), b""])


def entities():
    for width, eol in ((76, b"\r\n"), (64, b"\n")):
        header = [b"Content-Type: application/zip; name=x.z01", b"Content-Transfer-Encoding: base64"]
        yield eol.join([*header, b"", lines(small_zip(), width, eol), b""])
        header = [b"Content-Type: multipart/mixed;", b'\tboundary="b"', b"", b"--b", b"", b"text", b"--b", *header]
        yield eol.join([*header, b"", lines(small_zip(), width, eol), b"--b--", b""])
    yield b"Content-Type: application/zip\r\nContent-Transfer-Encoding: binary\r\n\r\n" + small_zip()
    uu = b"\n".join([b"begin 644 x.zip", b'#0V%T', b"`", b"end", b""])
    yield b"Content-Type: application/zip\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n" + uu


def messages():
    plain = small_zip()
    for form in FORMS:
        for cipher in CIPHERS:
            yield encrypted(plain, form, cipher)
    for recipient in RECIPIENTS[1:]:
        yield encrypted(plain, recipient=recipient)
    for cipher in CIPHERS[2:]:
        # Long enough for segments and lines that are taken for regular.
        long = encrypted(plain + random.randbytes(1700) + plain, cipher=cipher)
        yield from (segmented(long, size) for size in (16, 24, 100))
        yield from (smime(segmented(long, 24), 76, b"\r\n"), smime(long, 64, b"\n"), lines(long, 1 << 20, b""))
    yield from long_lengths(encrypted(plain))
    for entity in entities():
        yield encrypted(entity)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    stored = list(messages())
    put("part", *stored)
    for message in stored:
        if message[0] == 0x30:
            put("ber", u16(0) + message[:600])
            start = message.rfind(b"\xa0\x80") + 2
            put("cms", u16(len(message) // 2, 0, start) + message)
    for path in sorted((CORPUS / "smime").iterdir()) + sorted((CORPUS / "hostile/cms").iterdir()):
        data = path.read_bytes()
        put("cms" if data[:1] == b"0" else "mime", (u16(500, 0, 0) if data[:1] == b"0" else b"") + data[:1500])
    put("mime", *entities(), *(message for message in stored if message[0] != 0x30))

    text = random.randbytes(700)
    for width, eol in ((64, b"\n"), (76, b"\r\n"), (4, b"\n"), (5000, b"\n"), (4400, b"\r\n")):
        for data in (text, text[:1], text * 9):
            put("base64", u16(8192, 4096, 5, 9, 200, 60) + lines(data, width, eol) + eol)
    put("base64", u16(99, 99) * 3 + b"AAAA\nBBBB\n\n--\nfooter\n", u16(9) * 6 + b"begin 644 x\n#0V%T\n`\nend\n")

    names = "x.z01 x.zip x.zip.001 x.z100 X.Z02 x-(1).z01 x.z01-(2) x.z010 ü.zip x.z00".replace("-", " ").split()
    put("part_name", *(f"export-{name}.smime{end}".encode() for name in names for end in ("", ".1", " (1)", ".part")))

    zips = [small_zip(), small_zip(b"comment"), b"PK\x07\x08" + small_zip()]
    hostile = sorted((CORPUS / "hostile/zip").glob("*.zip"))
    zips += [path.read_bytes() for path in hostile if path.stat().st_size < 4000]
    for data in zips:
        put("rejoin_set", u16(0) + data, u16(2, 50, 90) + data)
        directory = data.find(b"PK\1\2")
        put("zip_end", struct.pack("<Q", 77) + data[max(directory, 0) :], struct.pack("<Q", 5 << 30) + data)
    for cuts in ((60, 200), (100, 310), (4, 60)):
        put("rejoin_set", split(small_zip(), cuts), split(small_zip(b"comment"), cuts))


if __name__ == "__main__":
    main()
