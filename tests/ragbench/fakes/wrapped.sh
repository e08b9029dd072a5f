#!/usr/bin/env bash
# Runs a command that cannot take the shell's place, as `sh -c 'command; true'` does.
set -euo pipefail
"$@"
true
