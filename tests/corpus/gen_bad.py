#!/usr/bin/env python3
"""Hostile, broken and merely odd inputs.  usage: gen_bad.py KEYDIR PLAIN.zip OUTDIR
Standard library + openssl CLI.  Writes OUTDIR/{odd,cms,zip}/... and OUTDIR/INDEX.tsv (path, verdict, comment).
verdict: ok = must read exactly like PLAIN.zip; ok-zip = a zip that must open; part = some entries readable; refuse = must not mount/list; eio = lists, reads fail; see = read the comment.
"""
import sys, os, struct, subprocess, random, zlib, io, zipfile, base64, stat
K, PLAIN, OUT = sys.argv[1:4]
plain = open(PLAIN, 'rb').read(); R = random.Random(99); idx = []
def put(rel, data, verdict, comment):
    p = os.path.join(OUT, rel); os.makedirs(os.path.dirname(p), exist_ok=True); open(p, 'wb').write(data); idx.append((rel, verdict, comment))
def run(args, data): return subprocess.run(['openssl'] + args, input=data, capture_output=True, check=True).stdout
# ---------------------------------------------------------------- DER/BER writer
def L(n, form=None):
    if form == 'indef': return b'\x80'
    if isinstance(form, int): return bytes([0x80 | form]) + n.to_bytes(form, 'big')
    return bytes([n]) if n < 128 else bytes([0x80 | (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8, 'big')
def T(tag, body, form=None): return bytes([tag]) + L(len(body), form) + body + (b'\0\0' if form == 'indef' else b'')
def seq(*x, form=None): return T(0x30, b''.join(x), form)
def oid(s):
    a = [int(x) for x in s.split('.')]; out = bytearray([a[0] * 40 + a[1]])
    for v in a[2:]:
        b = [v & 127]; v >>= 7
        while v: b.append(v & 127 | 128); v >>= 7
        out += bytes(reversed(b))
    return T(6, bytes(out))
def integer(n): return T(2, n.to_bytes(n.bit_length() // 8 + 1, 'big'))
ENV, DATA, SIGNED = oid('1.2.840.113549.1.7.3'), oid('1.2.840.113549.1.7.1'), oid('1.2.840.113549.1.7.2')
AES256 = oid('2.16.840.1.101.3.4.1.42'); AUTHENV = oid('1.2.840.113549.1.9.16.1.23'); GCM256 = oid('2.16.840.1.101.3.4.1.46')
RSA = seq(oid('1.2.840.113549.1.1.1'), T(5, b''))
def cert_ias(pem):        # issuer + serial, cut out of the certificate
    d = run(['x509', '-in', pem, '-outform', 'DER'], b'')
    def hdr(p):
        l = d[p + 1]; return (p + 2, l) if l < 128 else (p + 2 + (l & 127), int.from_bytes(d[p+2:p+2+(l & 127)], 'big'))
    p, _ = hdr(0); p, _ = hdr(p)
    if d[p] == 0xA0: q, l = hdr(p); p = q + l
    s, l = hdr(p); ser = d[p:s+l]; p = s + l
    s, l = hdr(p); p = s + l
    s, l = hdr(p); return seq(d[p:s+l], ser)
C1 = K + '/c1.pem'; IAS = cert_ias(C1)
cek, iv = R.randbytes(32), R.randbytes(16)
def wrap(key=cek, cert=C1): return run(['pkeyutl', '-encrypt', '-certin', '-inkey', cert], key)
EK = wrap()
def pad(d, n=None): k = 16 - len(d) % 16; return d + bytes([k]) * k
def cbc(d, key=cek, v=iv): return run(['enc', '-aes-256-cbc', '-nopad', '-K', key.hex(), '-iv', v.hex()], d)
def ri(ek=EK, ias=IAS, alg=RSA): return seq(integer(0), ias, alg, T(4, ek))
CT = cbc(pad(plain))
def env(ct=CT, ris=None, iv_=iv, alg=AES256, content=None, f=None, version=0, pre=b'', post=b'', ctype=ENV, eform=None):
    """f: length form of the outer four layers; content: ready-made [0] TLV"""
    ris = [ri()] if ris is None else ris
    c = T(0x80, ct) if content is None else content
    eci = seq(DATA, seq(alg, T(4, iv_)), c, form=eform if eform is not None else f)
    return seq(ctype, T(0xA0, seq(integer(version), pre, T(0x31, b''.join(ris)), eci, post, form=f), f), form=f)
def chunks(sizes, ct=CT, form='indef', tag=0xA0):
    out, p = [], 0
    for n in sizes:
        if p >= len(ct): break
        out.append(T(4, ct[p:p+n])); p += n
    if p < len(ct): out.append(T(4, ct[p:]))
    return T(tag, b''.join(out), form)
# ---------------------------------------------------------------- odd but legal: must work
put('odd/baseline.der', env(), 'ok', 'plain DER, made by gen_bad.py itself')
put('odd/chunks-random.ber', env(content=chunks([R.randint(1, 3000) for _ in range(9999)]), f='indef'), 'ok', 'every chunk another size')
put('odd/chunks-zero.ber', env(content=chunks([0 if i % 2 else 1000 for i in range(9999)]), f='indef'), 'ok', 'empty OCTET STRINGs between chunks')
put('odd/chunks-1byte.ber', env(content=chunks([1] * 2000), f='indef'), 'ok', '2000 one-byte chunks, then one large')
put('odd/chunks-growing.ber', env(content=chunks(list(range(1, 500))), f='indef'), 'ok', 'chunk sizes 1,2,3..: defeats run-length indexes')
put('odd/chunks-definite.ber', env(content=chunks([1000] * 999, form=None)), 'ok', 'constructed but definite length everywhere')
put('odd/chunks-one-off.ber', env(content=chunks([1000, 1000, 1000, 999] + [1000] * 999), f='indef'), 'ok', 'looks regular (1000) at both ends; chunk 3 is 999: arithmetic alone reads garbage')
put('odd/lengths-nonminimal.ber', env(content=T(0x80, CT, 8), f=8), 'ok', '8-byte long-form lengths')
put('odd/nested-octet-string.ber', env(content=T(0xA0, T(0x24, T(4, CT[:5008]) + T(4, CT[5008:9008]), 'indef') + T(4, CT[9008:]), 'indef'), f='indef'), 'ok', 'constructed OCTET STRING inside the constructed [0] (legal BER, never seen from a real producer); refusing is acceptable')
put('odd/mixed-forms.ber', env(content=chunks([4096] * 999, form=None), f='indef', eform=7), 'ok', 'indefinite outside, definite inside')
put('odd/two-recipients-first-foreign.der', env(ris=[ri(wrap(cek, K + '/c2.pem'), cert_ias(K + '/c2.pem')), ri()]), 'ok', 'our RecipientInfo is the second')
put('odd/duplicate-recipient-first-broken.der', env(ris=[ri(R.randbytes(256)), ri()]), 'ok', 'two RecipientInfos for us, the first does not decrypt: try all that match')
put('odd/recipients-2000.der', env(ris=[ri(R.randbytes(256), seq(seq(T(0x31, seq(oid('2.5.4.3'), T(0x0C, b'other %d' % i)))), integer(i + 1))) for i in range(2000)] + [ri()]), 'ok', 'ours is recipient 2001 (0.7 MB of RecipientInfos)')
put('odd/unprotected-attrs.der', env(post=T(0xA1, seq(oid('1.2.840.113549.1.9.5'), T(0x31, T(0x17, b'230501000000Z')))), version=2), 'ok', 'unprotectedAttrs after the content')
put('odd/originator-info.der', env(pre=T(0xA0, b''), version=2), 'ok', 'empty OriginatorInfo')
put('odd/unknown-recipient-types.der', env(ris=[T(0xA4, seq(oid('1.2.3.4'), T(5, b''))), T(0xA1, seq(integer(3))), ri()], version=3), 'ok', 'ori and a stub kari before our ktri')
put('odd/trailing-zeros.der', env() + b'\0' * 5000, 'ok', 'zero bytes after the DER')
put('odd/plaintext-empty.der', env(ct=cbc(pad(b''))), 'see', 'plaintext has length 0')
def m(b, w, e):
    t = base64.b64encode(b); return e.join(t[i:i+w] for i in range(0, len(t), w))
H = b'MIME-Version: 1.0\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\nContent-Transfer-Encoding: base64\n\n'
D = env()
put('odd/mime-headers-folded-case', b'content-type: application/x-pkcs7-mime;\r\n\tsmime-type=enveloped-data;\r\n name=smime.p7m\r\nCONTENT-TRANSFER-ENCODING:\r\n BASE64\r\n\r\n' + m(D, 76, b'\r\n'), 'ok', 'folded, lower/upper case headers')
put('odd/mime-leading-blank-lines', b'\r\n\r\n' + H + m(D, 64, b'\n') + b'\n', 'see', 'blank lines before the headers: RFC says body starts here; tolerate or refuse, never crash')
put('odd/mime-bom', b'\xef\xbb\xbf' + H + m(D, 64, b'\n') + b'\n', 'ok', 'UTF-8 BOM first')
put('odd/mime-preamble-received', b'Received: from a by b\n\tfor c\nX-Amz-Meta: 1\n' + H + m(D, 64, b'\n') + b'\n', 'ok', 'other headers first')
put('odd/b64-last-line-crlf-only', H + m(D, 64, b'\n') + b'\r\n', 'ok', 'LF lines, CRLF at the very end (openssl -crlfeol does this)')
ls = m(D, 64, b'\n').split(b'\n')
put('odd/b64-irregular-lines', H + b'\n'.join(ls[:50]) + b''.join(ls[50:53]) + b'\n' + b'\n'.join(ls[53:]) + b'\n', 'ok', 'one long line in the middle: line arithmetic breaks, slow path must be used')
put('odd/b64-blank-line-inside', H + b'\n'.join(ls[:50]) + b'\n\n' + b'\n'.join(ls[50:]) + b'\n', 'ok', 'blank line in the middle (RFC 2045: ignore)')
put('odd/b64-mixed-eol', H + b'\n'.join(ls[:50]) + b'\r\n' + b'\r\n'.join(ls[50:]) + b'\r\n', 'ok', 'LF first, CRLF later')
put('odd/b64-trailing-spaces', H + b' \n'.join(ls[:20]) + b'\n' + b'\n'.join(ls[20:]) + b'\n', 'ok', 'trailing blanks on 20 lines')
put('odd/b64-garbage-after', H + m(D, 64, b'\n') + b'\n\n--\nsent by export service\n', 'see', 'text after the base64: stop at the outer DER length, or refuse')
q = len(D) // 6 * 3
put('odd/b64-padding-inside', H + m(D[:q+1], 76, b'\r\n') + b'\r\n' + m(D[q+1:], 76, b'\r\n') + b'\r\n', 'see', '= in the middle: what javax.mail BASE64EncoderStream writes when it is flushed mid-stream; index or refuse, never garbage')
for nm, body in (('b64-inside-lf', b'Content-Type: application/zip\nContent-Transfer-Encoding: base64\n\n' + m(plain, 76, b'\n') + b'\n'),
                 ('raw-inside-lf', b'Content-Type: application/zip\nContent-Transfer-Encoding: binary\n\n' + plain),
                 ('b64-inside-lie', b'Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n' + plain),
                 ('b64-inside-trailing', b'Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n' + m(plain, 76, b'\r\n') + b'\r\n\r\n\r\n'),
                 ('headers-only-type', b'Content-Type: application/zip\r\n\r\n' + plain)):
    put('odd/inner-' + nm + '.der', env(ct=cbc(pad(body))), 'ok', 'inner MIME entity: ' + nm + ' (lie: says base64, is raw; sniff the body)')
# ---------------------------------------------------------------- CMS: refuse or EIO
def mut(b, *ch):
    b = bytearray(b)
    for p, v in ch: b[p] = v
    return bytes(b)
put('cms/empty', b'', 'refuse', 'zero bytes'); put('cms/one-byte', b'\x30', 'refuse', '')
put('cms/text', b'hello\n', 'refuse', 'plain text'); put('cms/zip-not-encrypted.smime', plain, 'refuse', 'a zip renamed to .smime (or: expose it, but say so)')
put('cms/s3-error.smime', b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>\n', 'refuse', 'a saved object-store error page: the most likely real-life broken download')
put('cms/html.smime', b'<!DOCTYPE html><html><body>Session expired</body></html>\n', 'refuse', 'a saved login page')
put('cms/len-past-eof.der', b'\x30\x84\x7f\xff\xff\xff' + D[5:], 'refuse', 'outer length 2 GiB')
put('cms/len-8byte-max.der', b'\x30\x88' + b'\xff' * 8 + D[5:], 'refuse', 'offset + length overflows u64')
put('cms/len-of-len-126.der', b'\x30\xfe' + b'\xff' * 126 + D[5:], 'refuse', '')
put('cms/len-reserved-ff.der', b'\x30\xff' + D[2:], 'refuse', '0xFF is reserved')
put('cms/child-overruns-parent.der', seq(ENV, T(0xA0, seq(integer(0), T(0x31, ri()), T(0x30, seq(DATA, seq(AES256, T(4, iv)), T(0x80, CT)), None)[:2] + L(len(CT) * 3) + CT))), 'refuse', 'EncryptedContentInfo longer than its parent')
put('cms/chunk-past-eof.ber', env(content=T(0xA0, T(4, CT[:1000]) + b'\x04\x84\x7f\xff\xff\xf0' + CT[1000:], 'indef'), f='indef'), 'refuse', 'second chunk claims 2 GiB')
put('cms/indef-primitive.ber', env(content=b'\x80\x80' + CT + b'\0\0', f='indef'), 'refuse', 'indefinite length on a primitive tag')
put('cms/no-eoc.ber', env(content=chunks([1000] * 999), f='indef').rstrip(b'\0'), 'see', 'all ciphertext present, end-of-contents octets cut off: as truncated part')
put('cms/truncated-half.der', D[:len(D) // 2], 'see', 'DER cut in half: part is truncated; say so (EIO past the cut, or refuse)')
put('cms/truncated-1.der', D[:-1], 'see', 'one byte short'); put('cms/truncated-16.der', D[:-16], 'see', 'one block short')
put('cms/truncated-chunked.ber', env(content=chunks([1000] * 999), f='indef')[:30000], 'see', 'cut in the middle of a chunk')
put('cms/b64-truncated-line', H + m(D, 64, b'\n')[:40001], 'see', 'base64 cut in the middle of a quantum')
put('cms/b64-truncated-line-boundary', H + m(D, 64, b'\n')[:65 * 600], 'see', 'base64 cut exactly at a line end')
put('cms/b64-bad-char', H + m(D, 64, b'\n').replace(ls[50], b'*' + ls[50][1:]) + b'\n', 'eio', 'illegal character on line 51: EIO there, fine elsewhere')
put('cms/b64-empty-body', H, 'refuse', 'headers only'); put('cms/header-only-1MB', b'X: ' + b'a' * 1000000, 'refuse', 'header line of 1 MB, no body')
deep = b'\x24\x80' * 20000
put('cms/deep-nesting.ber', env(content=b'\xa0\x80' + deep, f='indef'), 'refuse', '20 000 nested constructed OCTET STRINGs: recursive parsers overflow their stack')
put('cms/deep-nesting-outer.ber', b'\x30\x80' * 20000, 'refuse', '')
put('cms/deep-nesting-recipient.ber', env(ris=[b'\xa1\x80' + b'\x30\x80' * 5000 + b'\0\0' * 5001, ri()]), 'see', 'nesting inside a RecipientInfo we do not understand: skip iteratively or refuse')
put('cms/ct-empty.der', env(ct=b''), 'refuse', 'no ciphertext'); put('cms/ct-absent.der', env(content=b''), 'refuse', 'detached content')
put('cms/ct-not-multiple.der', env(ct=CT[:-3]), 'see', 'ciphertext is not a multiple of the block size: truncated')
put('cms/iv-8.der', env(iv_=iv[:8]), 'refuse', 'AES with 8-byte IV'); put('cms/iv-0.der', env(iv_=b''), 'refuse', '')
put('cms/cipher-unknown.der', env(alg=oid('1.2.3.4.5')), 'refuse', 'unknown cipher OID: ENOTSUP, name the OID')
put('cms/cek-16-for-aes256.der', env(ris=[ri(wrap(cek[:16]))]), 'refuse', 'key length does not fit the cipher'); put('cms/cek-0.der', env(ris=[ri(wrap(b''))]), 'refuse', 'empty key')
put('cms/wrong-recipient.der', env(ris=[ri(wrap(cek, K + '/c2.pem'), cert_ias(K + '/c2.pem'))]), 'refuse', 'not encrypted to us: EACCES/EKEYREJECTED, print the wanted issuer+serial')
put('cms/right-serial-wrong-key.der', env(ris=[ri(wrap(cek, K + '/c2.pem')[:384])]), 'refuse', 'issuer+serial say us, key is another one (certificate was re-issued)')
put('cms/ek-garbage.der', env(ris=[ri(R.randbytes(256))]), 'refuse', 'RSA decryption fails (or returns random bytes under implicit rejection)')
put('cms/ek-short.der', env(ris=[ri(EK[:100])]), 'refuse', ''); put('cms/recipients-none.der', env(ris=[]), 'refuse', 'empty RecipientInfos')
put('cms/pad-00.der', env(ct=cbc(pad(plain)[:-1] + b'\0')), 'refuse', 'last padding byte 0'); put('cms/pad-17.der', env(ct=cbc(pad(plain)[:-1] + b'\x11')), 'refuse', 'last padding byte 17')
pp = pad(plain + b'x' * ((5 - len(plain)) % 16))
put('cms/pad-inconsistent.der', env(ct=cbc(pp[:-3] + b'\x7e' + pp[-2:])), 'see', 'last byte right, another padding byte wrong: wrong key or tampered; refuse')
put('cms/pad-block.der', env(ct=cbc(plain[:len(plain) // 16 * 16] + b'\x10' * 16)), 'see', 'plaintext is a multiple of 16: a whole padding block (legal; length - 16)')
put('cms/tamper-middle.der', env(ct=mut(CT, (20000, CT[20000] ^ 1))), 'see', 'one flipped bit: 16 garbage bytes + 1 flipped bit; CBC cannot notice, CRC-32 does on a full read: EIO')
put('cms/tamper-iv.der', env(iv_=mut(iv, (0, iv[0] ^ 1))), 'see', 'first byte of the plaintext flipped (P becomes Q): the sniff must not take it for something else')
put('cms/tamper-block-swap.der', env(ct=CT[:1600] + CT[3200:3216] + CT[1616:3200] + CT[1600:1616] + CT[3216:]), 'see', 'two ciphertext blocks exchanged (EFAIL-like cut and paste)')
put('cms/tamper-splice.der', env(ct=CT[:8000] + CT[4000:4016] * 4 + CT[8000:]), 'see', 'blocks inserted: everything after moves by 64 bytes')
put('cms/signed-data.der', seq(SIGNED, T(0xA0, seq(integer(1), T(0x31, b''), seq(DATA), T(0x31, b'')))), 'refuse', 'SignedData, not EnvelopedData'); put('cms/data.der', seq(DATA, T(0xA0, T(4, plain[:100]))), 'refuse', 'plain Data')
put('cms/inner-ctype-signed.der', seq(ENV, T(0xA0, seq(integer(0), T(0x31, ri()), seq(SIGNED, seq(AES256, T(4, iv)), T(0x80, CT))))), 'see', 'encrypted content type says signedData: do not assume Data')
put('cms/plaintext-text.der', env(ct=cbc(pad(b'this is not a zip\n' * 100))), 'refuse', 'decrypts fine to something that is not a zip')
put('cms/plaintext-mime-header-1MB.der', env(ct=cbc(pad(b'X-Long: ' + b'a' * 300000))), 'refuse', 'inner header never ends: bound the search')
g = run(['cms', '-encrypt', '-binary', '-aes-256-gcm', '-outform', 'DER', C1], plain)
put('odd/gcm-ok.der', g, 'see', 'AuthEnvelopedData (AES-256-GCM): whole file must be authenticated before any byte is shown'); put('cms/gcm-tampered.der', mut(g, (len(g) // 2, g[len(g) // 2] ^ 1)), 'refuse', 'tag does not match'); put('cms/gcm-truncated.der', g[:-200], 'refuse', '')
# ---------------------------------------------------------------- zips
def zi(name, mode=0o100644, **kw):
    z = zipfile.ZipInfo('x', (2023, 5, 1, 0, 0, 0)); z.filename = name; z.external_attr = mode << 16; z.create_system = 3; z.compress_type = 8
    for k, v in kw.items(): setattr(z, k, v)
    return z
def ent(name, data, mode=0o100644, method=8, flags=0, extra=b'', cextra=b'', comment=b'', **o):
    """one raw entry; o may override crc,csize,usize,off,lname,lcrc,lcsize,lusize,disk,made,need,comp"""
    c = o.get('comp') if 'comp' in o else (zlib.compress(data, 9)[2:-4] if method == 8 else data)
    return dict(name=name, c=c, mode=mode, method=method, flags=flags, extra=extra, cextra=cextra, comment=comment, crc=o.get('crc', zlib.crc32(data)), csize=o.get('csize', len(c)), usize=o.get('usize', len(data)),
                lname=o.get('lname', name), lcrc=o.get('lcrc', zlib.crc32(data)), lcsize=o.get('lcsize', len(c)), lusize=o.get('lusize', len(data)), off=o.get('off'), disk=o.get('disk', 0), need=o.get('need', 20), made=o.get('made', 0x031E))
def mk(ents, comment=b'', prefix=b'', n=None, cdsize=None, cdoff=None, tail=b'', dup_cd=0, disk=0, cddisk=0, z64=None):
    o = bytearray(prefix); offs = []
    for e in ents:
        offs.append(len(o)); o += struct.pack('<4sHHHHHLLLHH', b'PK\3\4', e['need'], e['flags'], e['method'], 0, 0x56A1, e['lcrc'], e['lcsize'], e['lusize'], len(e['lname']), len(e['extra'])) + e['lname'] + e['extra'] + e['c']
    cd = bytearray()
    for e, p in zip(ents, offs):
        for _ in range(1 + dup_cd):
            cd += struct.pack('<4sHHHHHHLLLHHHHHLL', b'PK\1\2', e['made'], e['need'], e['flags'], e['method'], 0, 0x56A1, e['crc'], e['csize'] & 0xFFFFFFFF, e['usize'] & 0xFFFFFFFF, len(e['name']), len(e['cextra']), len(e['comment']), e['disk'], 0, (e['mode'] << 16) & 0xFFFFFFFF, (p if e['off'] is None else e['off']) & 0xFFFFFFFF) + e['name'] + e['cextra'] + e['comment']
    p = len(o); o += cd
    if z64: o += z64(p, len(cd), len(ents))
    k = len(ents) * (1 + dup_cd) if n is None else n
    o += struct.pack('<4sHHHHLLH', b'PK\5\6', disk, cddisk, k & 0xFFFF, k & 0xFFFF, len(cd) if cdsize is None else cdsize, p if cdoff is None else cdoff, len(comment)) + comment + tail
    return bytes(o)
A = b'{"ok":1}\n' * 20
def names(*ns): return mk([ent(n, b'content of entry %d\n' % i) for i, n in enumerate(ns)])
G = b'good.json'
put('zip/names-traversal.zip', names(G, b'../../etc/passwd', b'a/../../b', b'..', b'a/..', b'./c', b'.', b'd/./e', b'../'), 'see', 'never resolve ..; hide or escape; good.json stays readable')
put('zip/names-absolute.zip', names(G, b'/etc/passwd', b'//x/y', b'C:\\Windows\\x', b'C:/x', b'\\\\srv\\share'), 'see', 'strip or escape leading slashes; the result must stay inside the mount')
put('zip/names-backslash.zip', names(G, b'dir\\file.json', b'..\\..\\up.json', b'a\\'), 'see', 'on Linux \\ is an ordinary character: keep it literally (unzip converts when made-by is DOS)')
put('zip/names-nonutf8.zip', names(G, b'caf\xe9.json', b'\xff\xfe', b'sh\x82ft.json', 'ж.json'.encode('cp866')), 'see', 'bit 11 clear: CP437 or raw bytes; any byte but / and NUL is a legal Linux name')
put('zip/names-utf8-flag-invalid.zip', mk([ent(G, A), ent(b'bad\xff\xc0\x80.json', A, flags=0x800)]), 'see', 'bit 11 set, invalid UTF-8')
up = 'ünï.json'.encode(); ux = struct.pack('<HHBL', 0x7075, 5 + len(up), 1, zlib.crc32(b'uni.json')) + up
put('zip/names-unicode-extra.zip', mk([ent(G, A), ent(b'uni.json', A, cextra=ux, extra=ux), ent(b'uni2.json', A, cextra=ux, extra=ux)]), 'see', 'Info-ZIP 0x7075: use only if its CRC matches the header name (second one does not)')
put('zip/names-control.zip', names(G, b'a\nb.json', b'\x1b[31mred', b'tab\tx', b'\x7f', b' lead', b'trail ', b'-rf', b'*'), 'see', 'legal Linux names; escape in log lines')
put('zip/names-nul-empty.zip', names(G, b'nul\0byte.json', b'', b'/', b'a//b', b'a/'), 'see', 'NUL cannot be a Linux name: hide; empty: hide')
put('zip/names-long.zip', names(G, b'a' * 255, b'b' * 256, b'c' * 65000, b'/'.join([b'd'] * 3000)), 'see', 'component > 255 bytes: ENAMETOOLONG / hide; depth limit')
put('zip/names-duplicate.zip', mk([ent(b'dup.json', b'first\n'), ent(G, A), ent(b'dup.json', b'second\n'), ent(b'DUP.JSON', b'upper\n')]), 'see', 'choose one rule (last wins, as unzip -o does) and say so, or expose dup.json and dup.json.~2~')
put('zip/names-file-and-dir.zip', names(G, b'x', b'x/y', b'z/', b'z'), 'see', 'x is both a file and a directory')
put('zip/mode-symlink.zip', mk([ent(G, A), ent(b'link', b'/etc/passwd', mode=0o120777), ent(b'rel', b'../../../etc/shadow', mode=0o120777), ent(b'loop', b'loop', mode=0o120777), ent(b'big', b'x' * 100000, mode=0o120777)]), 'see', 'show as regular files or hide; never follow')
put('zip/mode-special.zip', mk([ent(G, A), ent(b'fifo', b'', mode=0o010644), ent(b'chr', b'', mode=0o020644), ent(b'suid', A, mode=0o104777), ent(b'zero', A, mode=0), ent(b'dirbit', A, mode=0o040755)]), 'see', 'all become plain read-only files; drop suid')
put('zip/dir-with-data.zip', mk([ent(G, A), ent(b'd/', A, mode=0o040755)]), 'see', 'directory entry that has content: ignore the content')
kernel = zlib.compressobj(9, 8, -15); kern = kernel.compress(b'\0' * 2000000) + kernel.flush()
z0 = ent(b'0', b'\0' * 2000000, comp=kern)
put('zip/bomb-ratio.zip', mk([z0]), 'ok-zip', '2 MB of zeros in 2 kB: legal; never inflate into memory by declared size')
put('zip/bomb-overlap.zip', mk([z0] + [ent(b'%d' % i, b'', comp=b'', csize=len(kern), usize=2000000, crc=z0['crc'], off=0, lname=b'%d' % i) for i in range(1, 200)]), 'see', '200 directory entries share one local entry: 400 MB from 60 kB; local name differs for all but one: EIO for those')
put('zip/bomb-usize-lie.zip', mk([ent(G, A), ent(b'small-says-cd', b'\0' * 2000000, comp=kern, usize=10, lusize=10), ent(b'huge-says-cd', b'tiny', usize=1 << 31, lusize=1 << 31)]), 'see', 'inflate yields more (or less) than declared: stop at the declared size, EIO at the end')
put('zip/size-csize-past-eof.zip', mk([ent(G, A), ent(b'x', A, csize=1 << 30)]), 'eio', 'x: EIO; good.json fine'); put('zip/size-offset-past-eof.zip', mk([ent(G, A), ent(b'x', A, off=0xFFFFFF00)]), 'eio', 'x: EIO'); put('zip/size-offset-into-cd.zip', mk([ent(G, A), ent(b'x', A, off=60)]), 'eio', 'x does not point to PK34')
put('zip/crc-wrong.zip', mk([ent(G, A), ent(b'x', A, crc=1, lcrc=1), ent(b's', A, method=0, crc=2, lcrc=2)]), 'eio', 'x, s: EIO on the read that reaches the end'); put('zip/deflate-garbage.zip', mk([ent(G, A), ent(b'x', A, comp=b'\xff' * 50)]), 'eio', 'x: EIO'); put('zip/deflate-truncated.zip', mk([ent(G, A), ent(b'x', R.randbytes(5000), comp=zlib.compress(R.randbytes(5000))[2:900])]), 'eio', 'x: EIO')
put('zip/local-central-differ.zip', mk([ent(G, A), ent(b'central.json', A, lname=b'local-n.json'), ent(b'sizes', A, lcsize=1, lusize=1, lcrc=0), ent(b'm', A, method=8)]), 'see', 'the central directory decides')
put('zip/eocd-count-more.zip', mk([ent(G, A)], n=5), 'see', 'says 5, has 1: refuse or read 1'); put('zip/eocd-count-less.zip', mk([ent(G, A), ent(b'hidden', A)], n=1), 'see', 'says 1, has 2 (by cd_size)')
put('zip/eocd-cdoff-past-eof.zip', mk([ent(G, A)], cdoff=0x7FFFFFFF), 'refuse', ''); put('zip/eocd-cdsize-lie.zip', mk([ent(G, A)], cdsize=0xFFFFFF), 'refuse', ''); put('zip/eocd-disk-7.zip', mk([ent(G, A)], disk=7, cddisk=7), 'refuse', 'claims to be part 8 of a set'); put('zip/eocd-missing.zip', mk([ent(G, A)])[:-22], 'refuse', '')
fake = mk([ent(b'fake.json', b'evil\n')]); put('zip/eocd-in-comment.zip', mk([ent(G, A)], comment=fake), 'see', 'comment holds a whole zip: readers disagree which EOCD counts'); put('zip/eocd-trailing-garbage.zip', mk([ent(G, A)], tail=b'junk' * 10), 'see', 'bytes after EOCD'); put('zip/eocd-comment-len-lie.zip', mk([ent(G, A)])[:-2] + b'\xff\xff', 'see', 'comment length runs past the end (truncated last part)')
put('zip/prefix-junk.zip', mk([ent(G, A)], prefix=b'MIME-Version: 1.0\r\n\r\n'), 'ok-zip', 'offsets count the prefix'); pj = mk([ent(G, A)]); put('zip/prefix-junk-unadjusted.zip', b'#!/bin/sh\n' + pj, 'see', 'offsets do not count the prefix: EOCD position - cd_size - cd_off = shift')
put('zip/marker-pk00.zip', b'PK00' + mk([ent(G, A)], prefix=b'PK00')[4:], 'ok-zip', 'temporary spanning marker'); put('zip/marker-pk78.zip', mk([ent(G, A)], prefix=b'PK\7\x08'), 'ok-zip', 'spanning marker in a one-part set')
put('zip/empty.zip', mk([]), 'ok-zip', '22 bytes, no entries')
put('zip/method-unsupported.zip', mk([ent(G, A)] + [ent(b'method-%d' % m_, A, method=m_) for m_ in (1, 6, 9, 12, 14, 19, 93, 95, 98, 99)]), 'see', 'list them; reading gives EOPNOTSUPP/EIO; good.json fine')
put('zip/flag-encrypted.zip', mk([ent(G, A), ent(b'classic', A, flags=1), ent(b'strong', A, flags=0x41), ent(b'masked', A, flags=0x2000)]), 'see', 'encrypted entries: EACCES/EIO on open, never ciphertext as content')
e64 = ent(b'x', A, cextra=struct.pack('<HHQ', 1, 8, 1 << 63), off=0xFFFFFFFF); put('zip/zip64-offset-2^63.zip', mk([ent(G, A), e64]), 'eio', 'offset 2^63'); put('zip/zip64-extra-short.zip', mk([ent(G, A), ent(b'x', A, off=0xFFFFFFFF, cextra=struct.pack('<HH4s', 1, 4, b'abcd'))]), 'see', 'zip64 extra shorter than the fields need'); put('zip/zip64-extra-missing.zip', mk([ent(G, A), ent(b'x', A, usize=0xFFFFFFFF)]), 'see', 'size 0xFFFFFFFF without a zip64 extra'); put('zip/extra-overrun.zip', mk([ent(G, A), ent(b'x', A, cextra=struct.pack('<HH', 1, 60000))]), 'see', 'extra field length runs past the block')
z64rec = lambda p, s, n: struct.pack('<4sQHHLLQQQQ', b'PK\6\6', 44, 45, 45, 0, 0, n, n, s, p) + struct.pack('<4sLQL', b'PK\6\7', 0, p + s, 1)
put('zip/zip64-eocd-ok.zip', mk([ent(G, A)], z64=z64rec, n=0xFFFF, cdoff=0xFFFFFFFF), 'ok-zip', 'legal: 0xFFFF/0xFFFFFFFF with a zip64 record'); put('zip/zip64-locator-wild.zip', mk([ent(G, A)], z64=lambda p, s, n: struct.pack('<4sLQL', b'PK\6\7', 0, 1 << 62, 1), cdoff=0xFFFFFFFF), 'refuse', 'locator points into space'); put('zip/zip64-count-huge.zip', mk([ent(G, A)], z64=lambda p, s, n: struct.pack('<4sQHHLLQQQQ', b'PK\6\6', 44, 45, 45, 0, 0, 1 << 60, 1 << 60, s, p) + struct.pack('<4sLQL', b'PK\6\7', 0, p + s, 1), n=0xFFFF), 'refuse', '2^60 entries: do not allocate by count'); put('zip/zip64-overrides-fine-eocd.zip', mk([ent(G, A)], z64=lambda p, s, n: struct.pack('<4sQHHLLQQQQ', b'PK\6\6', 44, 45, 45, 0, 0, 7, 7, 77, 7) + struct.pack('<4sLQL', b'PK\6\7', 0, p + s, 1)), 'see', 'zip64 record contradicts an EOCD that needs no help: fields that are not saturated win')
n70 = mk([ent(b'%05d' % i, b'', method=0) for i in range(70000)], n=70000 & 0xFFFF); put('zip/count-wraps.zip.z', zlib.compress(n70), 'see', '70 000 entries, no zip64, count modulo 65536 (some writers do that); file is zlib-compressed here')
put('zip/dd-stored.zip', mk([ent(G, A), ent(b'x', A, method=0, flags=8, lcrc=0, lcsize=0, lusize=0)]), 'ok-zip', 'bit 3 + stored: fine when the directory is used')
put('zip/time-zero.zip', mk([ent(G, A)]).replace(b'\0\0\xa1\x56', b'\xff\xff\x00\x00'), 'ok-zip', 'impossible DOS time (month 0, 31:63:62): clamp')
with open(os.path.join(OUT, 'INDEX.tsv'), 'w') as f:
    for r in idx: f.write('\t'.join(r) + '\n')
