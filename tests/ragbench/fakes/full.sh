#!/usr/bin/env bash
# A server on a disk that is full before it prints anything: `full.sh DISK COMMAND...`. Its stderr is not kept.
set -euo pipefail
disk=$1
shift
head -c 2000000 /dev/zero >"$disk/ballast" 2>/dev/null || true
exec "$@" 2>/dev/null
