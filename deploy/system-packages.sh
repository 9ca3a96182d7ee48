#!/bin/sh
# The few libraries that Python packages here load and some minimal systems lack.
# Installs them as root on Debian and Ubuntu; elsewhere says what is needed.
set -eu

missing=""
# mongod of the PyPI wheel needs libcurl.so.4; the agent's eBPF part needs libbpf.so.1 (or .so.0).
ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
"$ldconfig" -p 2>/dev/null | grep -q 'libcurl\.so\.4 ' || missing="$missing libcurl4"
"$ldconfig" -p 2>/dev/null | grep -q 'libbpf\.so\.[01]' || missing="$missing libbpf1"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "setup: installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086  # the list is meant to be split
  { apt-get -qq update && apt-get -qq install -y --no-install-recommends $missing; } >/dev/null ||
    echo "setup: could not install$missing; going on without" >&2
else
  echo "setup: missing:$missing (on Debian: apt-get install$missing); going on without" >&2
fi
