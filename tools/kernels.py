"""Runs a command with the kernels that torch takes on other processors.

    python tools/kernels.py --kernels avx2,sse --threads 1,2 pytest tests/train

Kernels of another kind add the same numbers in another order, so results differ in their last bits. The
command runs once for each kind and number of threads; the exit code is 1 if one of the runs fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from time import perf_counter

# What torch, oneDNN and MKL read when they start. The kernels of an older processor run on every newer one.
KERNELS: Mapping[str, Mapping[str, str]] = {
    "native": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
    "sse": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"},
}


def environment(kernel: str, threads: int) -> dict[str, str]:
    """Returns this process's environment, changed so that torch takes these kernels and threads."""
    return {**os.environ, **KERNELS[kernel], "OMP_NUM_THREADS": str(threads)}


def run_all(command: Sequence[str], kernels: Sequence[str], threads: Sequence[int]) -> int:
    """Runs the command under every setting, also after one has failed.

    Args:
        command: a program and its arguments.
        kernels: keys of `KERNELS`.
        threads: numbers of torch's threads.

    Returns:
        the number of runs that failed.
    """
    failed = 0
    for kernel in kernels:
        for count in threads:
            print(f"{kernel} kernels, {count} thread(s): {' '.join(command)}", flush=True)
            started = perf_counter()
            code = subprocess.run(command, env=environment(kernel, count), check=False).returncode
            failed += code != 0
            print(f"exit code {code} after {perf_counter() - started:.0f} s", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run a command with the kernels of other processors.")
    parser.add_argument("--kernels", default=",".join(KERNELS), help=f"of {', '.join(KERNELS)}")
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="a program and its arguments")
    given = parser.parse_args(arguments)
    kernels, threads = given.kernels.split(","), [int(count) for count in given.threads.split(",")]
    if not given.command or not KERNELS.keys() >= set(kernels) or min(threads) < 1:
        parser.error(f"wanted a command, kernels of {', '.join(KERNELS)}, and threads of 1 or more")
    return int(run_all(given.command, kernels, threads) > 0)


if __name__ == "__main__":
    sys.exit(main())
