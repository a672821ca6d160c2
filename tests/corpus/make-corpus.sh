#!/bin/bash
# make-corpus.sh OUTDIR [--keys KEYDIR]
# Writes the sample files that the tests read, 840 of them, 58 MB: keys, plaintexts, S/MIME messages of every shape,
# split sets, broken and hostile input. Ends with a check of the corpus against itself.
#
# No genuine export can be had, and the service's own library and cipher are not documented. Therefore every producer
# of S/MIME and of split zips that a service could be built on writes its own files: OpenSSL, BouncyCastle, javax.mail,
# NSS and GnuPG; Info-ZIP, zip4j, commons-compress and 7-Zip. The hostile files have a writer of their own (gen_bad.py).
#
#   keys/       k1 in every container a user may have (password "secret"), c1 its certificate, cexp an expired one;
#               k2 and kec further recipients, kmail for NSS and GnuPG, kwrong nobody's
#   plain/      one.zip, the payload of everything in smime/ and hostile/
#   smime/      one.zip in every shape; MANIFEST.tsv has form, cipher, SHA-256 and verdict of each
#   split/      SET/plain and SET/smime; SETS.tsv has UUID and way of encryption (wide-*: 101 parts, of the plaintext only hashes)
#   expected/   PARTS.tsv, JOINED.tsv, ONE.tsv and SET.tsv: sizes, CRC-32 and SHA-256 of parts, joined zips, members
#   badsets/    the set "lite" with a part missing, cut off, swapped, foreign, or oddly named; not encrypted
#   hostile/    odd, damaged and malicious input; INDEX.tsv has the verdict of each (words: gen_bad.py)
#
# Keys and ciphertext differ from run to run (--keys pins the keys). Plaintexts, zips, UUIDs and their hashes do not,
# but for iz-stdin (holds the time) and z4-AES (random salt). The expectations are computed along with them.
#
# Beside it: analyze.py describes one .smime file byte by byte, splitzip.py inspects and joins split sets (the reference
# for ours), readers.sh asks every zip reader of Debian about a file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
mkdir -p "$1"; out=$(cd "$1" && pwd); keys_from=
[ "${2:-}" = --keys ] && keys_from=$(cd "$3" && pwd)
[ -z "$(ls -A "$out")" ] || { echo "make-corpus: $out is not empty" >&2; exit 2; }
J=/usr/share/java
CPATH=$J/bcmail.jar:$J/bcpkix.jar:$J/bcprov.jar:$J/bcutil.jar:$J/javax.mail.jar:$J/javax.activation.jar:$J/zip4j.jar:$J/commons-compress.jar
for j in ${CPATH//:/ }; do [ -e "$j" ] || { echo "make-corpus: missing $j (scripts/setup --test installs it)" >&2; exit 2; }; done
for t in openssl zip unzip 7z python3 javac certutil cmsutil gpgsm gpg-agent; do command -v $t >/dev/null || { echo "make-corpus: missing $t (scripts/setup --test installs it)" >&2; exit 2; }; done
w=$(mktemp -d); trap 'rm -rf "$w"' EXIT
# Zips hold local time and file modes; imported modules must not leave files in the source tree.
export TZ=UTC LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
umask 022
javac -Xlint:-options -encoding UTF-8 -cp $CPATH -d "$w/cls" "$here"/java/GenSmime.java "$here"/java/GenZip.java
jv() { java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$w/cls:$CPATH" "$@"; }
say() { echo "[$(date +%T)] $*" >&2; }

# ------------------------------------------------------------------ keys
say keys
K=$out/keys; mkdir "$K"
if [ -n "$keys_from" ]; then cp "$keys_from"/* "$K"/; else
( cd "$K"
  openssl req -x509 -newkey rsa:2048 -nodes -keyout k1.pem -out c1.pem -days 3650 -subj "/O=corpus/CN=recipient 1" -addext keyUsage=critical,keyEncipherment,dataEncipherment -addext extendedKeyUsage=emailProtection
  openssl req -x509 -newkey rsa:3072 -nodes -keyout k2.pem -out c2.pem -days 3650 -subj "/O=corpus/CN=recipient 2"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout kec.pem -out cec.pem -days 3650 -subj "/O=corpus/CN=recipient ec"
  openssl genrsa -out kwrong.pem 2048
  # same key as c1, certificate expired in 2021 (decryption must not care)
  mkdir ca && : > ca/index.txt && echo 0101 > ca/serial
  openssl req -new -key k1.pem -subj "/O=corpus/CN=expired" -out ca/e.csr
  printf '[ca]\ndefault_ca=d\n[d]\ndatabase=ca/index.txt\nserial=ca/serial\nnew_certs_dir=ca\ndefault_md=sha256\npolicy=p\nemail_in_dn=no\n[p]\nCN=supplied\nO=optional\n' > ca/cnf
  openssl ca -batch -config ca/cnf -selfsign -keyfile k1.pem -in ca/e.csr -out cexp.full -startdate 20200101000000Z -enddate 20210101000000Z -notext
  openssl x509 -in cexp.full -out cexp.pem; rm -rf ca cexp.full
  # the same private key in every container a user may have
  openssl rsa -in k1.pem -traditional -out k1.pkcs1.pem
  openssl pkcs8 -topk8 -in k1.pem -out k1.enc.pem -v2 aes-256-cbc -passout pass:secret
  openssl rsa -in k1.pem -traditional -aes128 -passout pass:secret -out k1.pkcs1enc.pem
  openssl pkcs8 -topk8 -nocrypt -in k1.pem -outform DER -out k1.pkcs8.der
  openssl pkcs12 -export -inkey k1.pem -in c1.pem -passout pass:secret -out k1.p12
  openssl pkcs12 -export -inkey k1.pem -in c1.pem -passout pass: -out k1.nopass.p12
  openssl x509 -in c1.pem -outform DER -out c1.der
  cat k1.pem c1.pem > k1+c1.pem; sed 's/$/\r/' k1.pem > k1.crlf.pem
) >/dev/null 2>&1; fi
C1=$K/c1.pem; C2=$K/c2.pem

# ------------------------------------------------------------------ plaintext
say plaintext
P=$w/plain; mkdir "$P"; python3 "$here/gen_plain.py" "$P"
mkdir -p "$out/plain"
python3 - "$P/one" "$out/plain/one.zip" <<'PY'
import sys, os, zipfile
d, o = sys.argv[1:]
with zipfile.ZipFile(o, 'w', zipfile.ZIP_DEFLATED) as z:
    for n in sorted(os.listdir(d)):
        i = zipfile.ZipInfo(n, (2023, 5, 1, 0, 0, 0)); i.compress_type = 8; i.external_attr = 0o644 << 16
        z.writestr(i, open(os.path.join(d, n), 'rb').read())
PY
ONE=$out/plain/one.zip

# ------------------------------------------------------------------ one zip, every S/MIME shape
say "smime variants"
S=$out/smime; mkdir "$S"
enc() { local t=$1 n=$2; shift 2; openssl $t -encrypt -in "$ONE" -out "$S/$n" "$@" 2>/dev/null || { rm -f "$S/$n"; echo "  (no $n)" >&2; }; }
for t in smime cms; do
  for f in SMIME PEM DER; do
    enc $t ossl-$t-$f -binary -aes256 -outform $f "$C1"
    enc $t ossl-$t-stream-$f -binary -stream -aes256 -outform $f "$C1"
  done
  enc $t ossl-$t-CORRUPT-nobinary -aes256 "$C1"
  enc $t ossl-$t-CORRUPT-nobinary-text -text -aes256 "$C1"
  enc $t ossl-$t-binary-text -binary -text -aes256 "$C1"
  enc $t ossl-$t-crlfeol -binary -crlfeol -aes256 "$C1"
  enc $t ossl-$t-aes128 -binary -aes128 "$C1"; enc $t ossl-$t-aes192 -binary -aes192 "$C1"; enc $t ossl-$t-des3 -binary -des3 "$C1"
  enc $t ossl-$t-two -binary -aes256 "$C2" "$C1"
  enc $t ossl-$t-mailhdr -binary -aes256 -from export@example.invalid -to user@example.invalid -subject export "$C1"
done
enc cms ossl-cms-keyid -binary -aes256 -keyid "$C1"
enc cms ossl-cms-expired -binary -aes256 "$K/cexp.pem"
enc cms ossl-cms-oaep1 -binary -aes256 -recip "$C1" -keyopt rsa_padding_mode:oaep
enc cms ossl-cms-oaep256 -binary -aes256 -recip "$C1" -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256
enc cms ossl-cms-oaep256-mgf1 -binary -aes256 -recip "$C1" -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha1
enc cms ossl-cms-oaep256-label -binary -aes256 -recip "$C1" -keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_oaep_label:6c6162656c
for c in 128 192 256; do enc cms ossl-cms-gcm$c -binary -aes-$c-gcm "$C1"; done
enc cms ossl-cms-gcm256-stream-DER -binary -stream -aes-256-gcm -outform DER "$C1"
enc cms ossl-cms-ec+rsa -binary -aes256 "$K/cec.pem" "$C1"; enc cms ossl-cms-UNSUP-ec-only -binary -aes256 "$K/cec.pem"
enc cms ossl-cms-pwri+rsa -binary -aes256 -pwri_password pw "$C1"
enc cms ossl-cms-kek+rsa -binary -aes256 -secretkey 000102030405060708090A0B0C0D0E0F -secretkeyid 01 "$C1"
enc cms ossl-cms-camellia -binary -camellia256 "$C1"
for n in 0 1 15 16 17 4080 4096 8192 65536; do
  head -c $n "$ONE" > "$w/cut"; openssl cms -encrypt -binary -aes256 -outform DER -in "$w/cut" -out "$S/len-$n-DER" "$C1"
  openssl cms -encrypt -binary -aes256 -stream -in "$w/cut" -out "$S/len-$n-stream" "$C1"
done
jv GenSmime "$ONE" "$C1" "$C2" "$S"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$K/kmail.pem" -out "$K/cmail.pem" -days 3650 -subj "/CN=mail/emailAddress=a@example.invalid" -addext "subjectAltName=email:a@example.invalid" -addext keyUsage=critical,keyEncipherment,digitalSignature,keyCertSign -addext extendedKeyUsage=emailProtection 2>/dev/null
loud() { "$@" >"$w/log" 2>&1 || { cat "$w/log" >&2; echo "make-corpus: failed: $*" >&2; exit 1; }; }
mkdir "$w/nss"; loud certutil -N -d sql:"$w/nss" --empty-password; loud certutil -A -d sql:"$w/nss" -n m -t CP,CP,CP -i "$K/cmail.pem"
loud cmsutil -E -d sql:"$w/nss" -r a@example.invalid -i "$ONE" -o "$S/nss-cmsutil"
export GNUPGHOME=$w/gh; mkdir -m 700 "$GNUPGHOME"; loud gpgsm --batch --import "$K/cmail.pem"
echo "$(openssl x509 -in "$K/cmail.pem" -noout -fingerprint -sha1 | cut -d= -f2) S" > "$GNUPGHOME/trustlist.txt"
for a in "" --armor --base64; do loud timeout 20 gpgsm --batch --yes --disable-crl-checks $a -r a@example.invalid -o "$S/gpgsm$a" --encrypt "$ONE"; done
gpgconf --homedir "$GNUPGHOME" --kill all

# ------------------------------------------------------------------ split sets
say "split sets"
Z=$out/split; mkdir "$Z"
set_() { mkdir -p "$Z/$1/plain"; cd "$Z/$1/plain"; }
iz() { local n=$1 d=$2; shift 2; set_ $n; ( cd "$P/$d" && find . -type f | sed 's,^\./,,' | LC_ALL=C sort | zip -q -X "$@" "$Z/$n/plain/x.zip" -@ ); }
jz() { local n=$1 v=$2 s=$3; shift 3; set_ $n; jv GenZip $v "$Z/$n/plain/x.zip" $s "$@" >"$w/log" 2>&1 || { head -3 "$w/log" >&2; }; }
iz iz-basic set -s 64k;          iz iz-many many -s 64k;         iz iz-zip64 set -fz -s 64k;   iz iz-many-zip64 many -fz -s 64k
iz iz-store many -0 -s 100k;     iz iz-one set -s 10m
set_ iz-stdin; cat "$P"/set/interactions-*.json | zip -q -X -s 64k x.zip -
jz z4-basic zip4j 65536 "$P"/set/*;        jz z4-stream zip4j-stream 65536 "$P"/set/*;    jz z4-folder zip4j-folder 70000 "$P/set"
jz z4-stream-store zip4j-stream-store 100000 "$P"/many/interaction-*-00[0-3]*;   jz z4-one zip4j 10000000 "$P"/set/*;  jz z4-many zip4j 150000 "$P"/many/*
jz z4-hole zip4j-store 65536 "$P"/hole/*;  jz z4-LOST zip4j-store 65536 "$P"/lost/*;      jz z4-AES zip4j-aes 65536 "$P"/set/*
jz cc-basic cc 65536 "$P"/set/*;           jz cc-many cc 65536 "$P"/many/*;               jz cc-store cc-store 65536 "$P"/many/*
jz cc-zip64 cc-z64always 65536 "$P"/set/*; jz cc-many-zip64 cc-z64compat 65536 "$P"/many/*; jz cc-one cc 10000000 "$P"/set/*
jz lite cc 65536 "$P"/lite/*
set_ 7z-v; ( cd "$P/set" && 7z a -bso0 -bsp0 -tzip -mx=1 -v64k "$Z/7z-v/plain/x.zip" * >/dev/null )
set_ bytecut; ( cd "$P/set" && zip -q -X "$w/whole.zip" * ); split -b 65536 -d -a 2 --numeric-suffixes=1 "$w/whole.zip" x.z; mv "$(ls x.z* | tail -1)" x.zip
set_ whole; cp "$w/whole.zip" x.zip
iz wide-iz wide -0 -s 64k; jz wide-z4 zip4j-store 65536 "$P"/wide/*
cd "$out"

# ------------------------------------------------------------------ expected content, then encryption of every part
say "expected + encrypt parts"
declare -A how=( [iz-basic]=o:smime [iz-many]="o:cms -outform DER" [iz-zip64]="o:smime -stream" [iz-many-zip64]="o:cms -stream -outform DER" [iz-store]="o:smime -crlfeol" [iz-one]="o:cms -outform PEM" [iz-stdin]="o:cms -outform PEM -stream"
  [z4-basic]=bc-smime-nocte [z4-stream]=bc-smime-binary [z4-folder]=bc-cms-getEncoded [z4-stream-store]=bc-msg-binary [z4-one]=bc-smime-attach [z4-many]=bc-stream-buf100 [z4-hole]=bc-cms-DER [z4-LOST]=bc-cms-DER [z4-AES]=bc-cms-DER
  [cc-basic]=bc-stream-default [cc-many]=jdk-mime-crlf [cc-store]=bc-pem [cc-zip64]=bc-smime-oaep256 [cc-many-zip64]=bc-smime-des3 [cc-one]=bc-cms-two
  [7z-v]=o:smime [lite]=bc-smime-nocte [bytecut]=jdk-mime-crlf-notail [whole]=bc-smime-base64 [wide-iz]="o:cms -outform DER" [wide-z4]=bc-stream-buf4096 )
mkdir "$out/expected"; : > "$w/uuids"; : > "$w/jobs"
for n in "${!how[@]}"; do
  d=$Z/$n; h=${how[$n]}; u=$(python3 -c "import uuid,sys;print(uuid.uuid5(uuid.NAMESPACE_DNS,sys.argv[1]+'.example.invalid'))" $n)
  mkdir "$d/smime"
  for f in "$d"/plain/x.*; do
    o=$d/smime/export-$u${f#"$d"/plain/x}.smime
    case $h in o:*) set -- ${h#o:}; t=$1; shift; openssl $t -encrypt -binary -aes256 "$@" -in "$f" -out "$o" "$C1" ;; *) printf '%s\t%s\t%s\n' "$h" "$o" "$f" >> "$w/jobs" ;; esac
  done
  printf '%s\t%s\t%s\n' $n "$u" "$h" >> "$w/uuids"
done
sort "$w/uuids" > "$Z/SETS.tsv"
# one set whose parts were encrypted in four different ways
mkdir -p "$Z/mixed/plain" "$Z/mixed/smime"; cp "$Z"/z4-basic/plain/* "$Z/mixed/plain/"; i=0
for f in "$Z"/mixed/plain/x.*; do o=$Z/mixed/smime/export-00000000-0000-4000-8000-000000000001.${f##*.}.smime
  case $((i % 4)) in 0) openssl smime -encrypt -binary -aes256 -in "$f" -out "$o" "$C1" ;; 1) openssl cms -encrypt -binary -stream -outform DER -aes128 -in "$f" -out "$o" "$C1" ;;
    2) printf 'bc-smime-base64\t%s\t%s\n' "$o" "$f" >> "$w/jobs" ;; 3) printf 'bc-cms-getEncoded\t%s\t%s\n' "$o" "$f" >> "$w/jobs" ;; esac; i=$((i + 1)); done
jv GenSmime --batch "$w/jobs" "$C1" "$C2"
printf 'mixed\t00000000-0000-4000-8000-000000000001\t4 kinds\n' >> "$Z/SETS.tsv"

# ------------------------------------------------------------------ broken sets, by copying a small one
say "broken sets"
B=$out/badsets; mkdir "$B"
bs() { mkdir "$B/$1"; cp "$Z/lite/plain/"* "$B/$1/"; cd "$B/$1"; }
bs missing-first; rm x.z01;  bs missing-middle; rm x.z02;  bs missing-last; rm x.zip;  bs missing-last-two; rm x.zip "$(ls x.z[0-9]* | tail -1)"
bs truncated-middle; truncate -s -100 x.z02; bs truncated-last; truncate -s -100 x.zip; bs empty-middle; : > x.z02
bs duplicate; cp x.z03 x.z02; bs swapped; mv x.z03 t; mv x.z02 x.z03; mv t x.z02
bs foreign-part; cp "$Z/iz-basic/plain/x.z02" x.z02; bs foreign-last; cp "$Z/iz-basic/plain/x.zip" x.zip; bs extra-part; l=$(ls x.z[0-9]* | wc -l); cp x.z03 "$(printf 'x.z%02d' $((l + 1)))"
bs both-names; cp x.zip x.z99; bs name-z010; for f in x.z[0-9]*; do mv $f x.z0${f#x.z}; done; bs upper-case; for f in x.*; do mv $f X.$(echo ${f#x.} | tr a-z A-Z); done
cd "$out"
say "hostile inputs"
python3 "$here/gen_bad.py" "$K" "$ONE" "$out/hostile"

# ------------------------------------------------------------------ expectations and self-check
say "expectations"
python3 "$here/gen_expect.py" "$out" "$P" "$here"
say "done: $(du -sh "$out" | cut -f1), $(find "$out" -type f | wc -l) files"
