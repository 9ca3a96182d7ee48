#!/bin/sh
# Compile nightherd.bpf.c (Debian 12: clang-14, llvm-14, libbpf-dev). The object is committed, since
# a compiler of 200 MB is nothing to ask of every host. The flags keep paths of this machine out,
# so that any build gives the same bytes.
#
# usage: build.sh [OUTPUT]   (default: nightherd.bpf.o beside the source)
set -eu
output=${1:-}
cd "$(dirname "$0")"
output=${output:-nightherd.bpf.o}
clang-14 -O2 -g -target bpf -Wall -Werror -fdebug-compilation-dir=. -c nightherd.bpf.c -o "$output"
llvm-strip-14 -g "$output"
