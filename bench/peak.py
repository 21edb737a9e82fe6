"""Measures peak memory of one contender in a fresh process: `python -m bench.peak NAME SETTINGS_AS_JSON`."""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from bench.contenders import BUILDERS, Trainer
from bench.setup import Settings, build_bank, build_model, load_queries, prepare
from tokmem.train.speed import peak_bytes

CLEAR = Path("/proc/self/clear_refs")
STEPS = 2  # the first makes AdamW's moments, the second runs with them


def measure_peak(name: str, settings: Settings) -> dict[str, float]:
    """Runs a fresh process for a contender.

    Returns:
        `peak_gb` in a training step, model included, and `loaded_gb` before it, in 1e9 bytes. On CUDA it is
            device
        memory; elsewhere it is resident memory, with the interpreter and its libraries (outside Linux it is
            the
        peak of building the model).
    """
    command = [sys.executable, "-m", "bench.peak", name, json.dumps(asdict(settings))]
    root = Path(__file__).parents[1]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root).stdout)


def reset_peak() -> None:
    """Resets the peak to the present memory, because building a model takes more than the model.

    It first returns freed memory to the system if the C library (glibc) can do so.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    elif CLEAR.exists():
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
        CLEAR.write_text("5")  # proc(5): resets the peak resident set


def main() -> None:
    """Prints the peak as JSON."""
    name, settings = sys.argv[1], Settings(**json.loads(sys.argv[2]))
    prepare(settings)
    queries = load_queries(settings)
    model = build_model(settings)
    trainer = Trainer(BUILDERS[name](model, build_bank(settings, model, queries.names)), settings.lr)
    reset_peak()
    loaded = peak_bytes()
    for _ in range(STEPS):
        trainer.step(queries.longest)
    print(json.dumps({"peak_gb": peak_bytes() / 1e9, "loaded_gb": loaded / 1e9}))


if __name__ == "__main__":
    main()
