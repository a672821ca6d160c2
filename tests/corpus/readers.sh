#!/bin/bash
# readers.sh ZIP... : asks every zip reader Debian 12 has; prints file, reader, result.
# No -e: a reader that fails is a result.
set -u
J=/usr/share/java; w=$(mktemp -d); trap 'rm -rf "$w"' EXIT
javac -Xlint:-options -cp $J/zip4j.jar:$J/commons-compress.jar -d "$w" "$(dirname "$0")/java/ReadZip.java" || exit 2
r() { local n=$1 o rc; shift; command -v "$1" >/dev/null || return; o=$(timeout 120 "$@" 2>&1 </dev/null); rc=$?
  printf '%s\t%s\trc=%s\t%s\n' "$(basename "$Z")" "$n" $rc "$([ $rc = 0 ] || echo "$o" | grep -a -v '^$' | grep -a -vE 'testing|inflating|OK$' | tail -1 | cut -c1-140)"; }
for Z in "$@"; do
 r unzip-t unzip -tq "$Z"; r zip-T zip -T "$Z"; r 7z-t 7z t "$Z"; r bsdtar-t bsdtar -tf "$Z"; r bsdtar-x bsdtar -xf "$Z" -O --to-stdout
 r bsdtar-stdin sh -c 'bsdtar -xOf - <"$0" >/dev/null' "$Z"; r jar-tf jar tf "$Z"; r lsar-t lsar -t "$Z"; d=$(mktemp -d -p "$w"); r unar unar -q -o "$d" "$Z"
 r busybox-t busybox unzip -tq "$Z"; r zipcmp zipcmp -tq "$Z" "$Z"
 r python python3 -c 'import zipfile,sys; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)' "$Z"
 java -cp "$w:$J/zip4j.jar:$J/commons-compress.jar" ReadZip "$Z" 2>&1 | awk -F'\t' -v z="$(basename "$Z")" '{print z"\t"$1"\t"$2}'
done
