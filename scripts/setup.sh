#!/usr/bin/env bash
# Make the Python environment; skip when nothing changed. Progress goes to stderr.
#
#   scripts/setup.sh               set up; print the path of the environment's python
#   scripts/setup.sh COMMAND ...   set up, then become COMMAND inside the environment
#
# The environment is the active virtual or conda environment, else .venv, made with $PYTHON or the first Python >= 3.11.
# RAGBENCH_GPU=1 sets up for a GPU that is not on this machine, as on the login node of a cluster.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
say() { echo "setup: $*" >&2; }
die() { say "$@"; exit 1; }

case ${1:-} in
    -h | --help) sed -n '2,/^set/ s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    -*) say "unknown option '$1'; see $0 --help"; exit 2 ;;
esac

env=${VIRTUAL_ENV:-}
if [ -z "$env" ] && [ "${CONDA_DEFAULT_ENV:-}" != base ]; then env=${CONDA_PREFIX:-}; fi
env=${env:-$root/.venv}
python=$env/bin/python
stamp=$env/ragbench-setup.stamp
started=$env/ragbench-setup.started     # left behind only by a set-up that was cut off
log=$env/ragbench-setup.log

# An environment once set up for a GPU stays so: login nodes share it with compute nodes.
choose_extras() {
    extras=dev
    if [ "${RAGBENCH_GPU:-}" = 1 ] || grep -qs 'gpu$' "$stamp" || nvidia-smi -L 2>/dev/null | grep -q '^GPU '; then
        extras=dev,gpu
    fi
}

fingerprint() {
    cat "$root/pyproject.toml" "$root/constraints.txt" | cksum
    "$python" -c 'import sys; print(sys.version.split()[0], sys.prefix)' 2>/dev/null
    echo "$extras"
}

is_current() { choose_extras; [ -f "$stamp" ] && [ "$(fingerprint)" = "$(cat "$stamp")" ]; }

# Says nothing of an interpreter that will do, and what is wrong with one that will not.
probe='
import sys
version = "Python %d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11):
    print(version + " (too old)")
else:
    try:
        import ensurepip, venv
    except ImportError:
        print(version + " without its venv module (Debian, Ubuntu: apt-get install python3-venv)")
'

find_python() {
    local name fault found=none
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.11 python3.12 python3.13 python3.14 python3 python; fi
    for name in "$@"; do
        fault=$("$name" -c "$probe" 2>/dev/null) || continue
        if [ -z "$fault" ]; then echo "$name"; return; fi
        found=$fault
    done
    die "wanted Python 3.11 or newer with venv, found ${PYTHON:+$PYTHON: }$found; install python3.11, or name one: PYTHON=/path/to/python3.11 $0"
}

want_disk() {
    local want_gb=4 free_kb folder=$env
    if [ "$extras" != dev ]; then want_gb=12; fi
    if [ ! -d "$folder" ]; then folder=$root; fi
    free_kb=$(df -Pk "$folder" | awk 'NR == 2 {print $4}')
    [ "$free_kb" -ge $((want_gb * 1000000)) ] ||
        die "wanted $want_gb GB of free disk for the environment, found $((free_kb / 1000000)) GB at $folder; make room, or move the folder"
}

make_venv() {
    local base
    base=$(find_python)
    say "making .venv with $("$base" -V 2>&1); it will hold about 2.1 GB and takes about 2 minutes, once"
    "$base" -m venv --clear "$env" >&2 || die "wanted a virtual environment in $env, '$base -m venv' failed (above); install python3-venv, or set PYTHON"
}

pip_failed() {
    local reason
    rm -f "$started"      # pip undid its own work, so what was there before still stands
    if grep -q 'No space left' "$log"; then
        reason="the disk is full; make room"
    elif grep -qE 'ConnectionError|Connect(ion)?Timeout|NameResolution|Max retries|ProxyError|SSLError|Failed to fetch|dns error' "$log"; then
        reason="no package registry answered; check the network and 'pip config list'"
    elif grep -q 'No matching distribution' "$log"; then
        reason="the registry has no '$(sed -n 's/.*No matching distribution found for //p' "$log" | tail -n 1)' for $("$python" -V); try PYTHON=python3.11"
    else
        reason="$(grep -iE '^ *(error|×)' "$log" | tail -n 1)"
    fi
    die "wanted $1 installed, but ${reason:-pip failed}; then run this again (whole log: $log)"
}

# The whole output goes to the log, the packages' names to the terminal.
logged() {
    "$@" 2>&1 | tee -a "$log" | { grep --line-buffered -oE '^(Collecting|Processing|Installing collected packages)( [^ (]+)?' >&2 || true; }
}

pip_install() { logged "$python" -m pip install --no-input --disable-pip-version-check --progress-bar off -c "$root/constraints.txt" "$@"; }

# Plain torch brings gigabytes of CUDA packages on Linux. Without a GPU, ask pip what it would bring, and if it is those,
# let uv find the CPU build. Before 25.3 pip downloads every wheel of a dry run.
install_torch() {
    if [ "$extras" != dev ]; then
        if "$python" -m pip show torch 2>/dev/null | grep -q '^Version:.*+cpu'; then logged "$python" -m pip uninstall -y torch; fi
    elif [ "$(uname -s)" = Linux ]; then
        pip_install 'pip>=25.3' && pip_install --dry-run --report "$env/ragbench-torch.json" torch 2>/dev/null || return
        if grep -qE '"name": "(nvidia|cuda)[-_]' "$env/ragbench-torch.json"; then
            say "no GPU here: installing torch without CUDA through uv (about 200 MB)"
            pip_install uv && logged "$env/bin/uv" pip install --python "$python" --torch-backend=cpu -c "$root/constraints.txt" torch
            return
        fi
    fi
    pip_install torch
}

set_up() {
    trap 'exit 130' INT
    if command -v flock >/dev/null; then
        exec 9>"$root/.setup.lock"
        flock -n 9 || { say "another set-up is at work in this folder; waiting for it"; flock 9; }
        if is_current; then return; fi
    fi
    if [ ! -e "$stamp" ]; then want_disk; fi
    if [ "$env" = "$root/.venv" ]; then
        if [ -e "$started" ] || ! "$python" -m pip --version >/dev/null 2>&1; then make_venv; fi
    fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "wanted Python 3.11 or newer in the active environment $env; deactivate it, or activate another"
    "$python" -m pip --version >/dev/null 2>&1 || die "wanted pip in the active environment $env; run '$python -m ensurepip'"
    rm -f "$stamp"
    : >"$log"
    touch "$started"
    say "installing torch, then ragbench[$extras], into $env (the log: $log)"
    install_torch || pip_failed torch
    pip_install -e "${root}[$extras]" || pip_failed "ragbench[$extras]"
    fingerprint >"$stamp.new"
    mv "$stamp.new" "$stamp"
    rm -f "$started"
    say "ready in $SECONDS s; to enter it: source $env/bin/activate"
}

if ! is_current; then
    set_up
    trap - INT
    exec 9>&-
fi
if [ $# -eq 0 ]; then echo "$python"; exit; fi
export PATH=$env/bin:$PATH
if [ -f "$env/pyvenv.cfg" ]; then export VIRTUAL_ENV=$env; fi
exec "$@"
