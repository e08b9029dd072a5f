#!/usr/bin/env bash
# The main job: set up if needed, run a study, draw its figures and notebooks under results/.
#
#   ./run_all.sh [STUDY] [FLAGS of `python -m ragbench run`]
#   srun --gres=gpu:1 ./run_all.sh
#
# STUDY is a name in studies/ or the path of a TOML file; without one it is `sweep` on a machine with a GPU, else `smoke`.
# Paths count from this folder. Run it again and it goes on where it stopped; Ctrl-C or TERM stops it and its servers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

study=
case ${1:-} in
    -h | --help) sed -n '2,/^set/ s/^# \{0,1\}//p' "$(basename "$0")"; exit ;;
    -* | '') ;;
    *) study=$1; shift ;;
esac

has_gpu() {
    case ${CUDA_VISIBLE_DEVICES-all} in '' | -1 | NoDevFiles) return 1 ;; esac
    nvidia-smi -L 2>/dev/null | grep -q '^GPU '
}

device=cpu
if has_gpu; then
    device=gpu
elif [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
    echo "run_all.sh: CUDA_VISIBLE_DEVICES is $CUDA_VISIBLE_DEVICES but no GPU is to be seen; running on the CPU" >&2
fi
if [ -z "$study" ]; then
    if [ "$device" = gpu ]; then study=sweep; else study=smoke; fi
fi

file=$study
if [ -f "studies/$study.toml" ]; then file=studies/$study.toml; fi
if [ ! -f "$file" ]; then
    names=$(find studies -name '*.toml' | sed 's|.*/||; s|\.toml$||' | sort | paste -sd ' ' -)
    echo "run_all.sh: no study '$study'; there are: $names (or give the path of a TOML file)" >&2
    exit 2
fi

echo "run_all.sh: study $file on the $device; results go to results/" >&2
exec scripts/setup.sh python -m ragbench run "$file" "$@"
