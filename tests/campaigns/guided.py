"""Reads damaged files of one kind in a process of its own, guided by which code they reach.

    python -m tests.campaigns.guided --what=skill --folder=EMPTY --runs=10000 --seed=0

Atheris gives bytes to the Hypothesis strategy of the kind, and keeps those whose damage reached new code of
TokMem. libFuzzer ends the process at the first error, at a read of more than ten seconds, and where memory
grows by more than a gigabyte; what was read then lies in the folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path
from random import Random
from resource import RUSAGE_SELF, getrusage

import atheris
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

with atheris.instrument_imports(include=["tokmem"]):
    from tests.campaigns.kinds import Kind, all_kinds
    from tokmem.errors import TokMemError
    from tokmem.log import logger

LONGEST, MOST_MEMORY = 10, 1024  # seconds; MiB above what the process has
FIRST = 50  # inputs to begin with


def fuzz(kind: Kind, folder: Path, runs: int, seed: int) -> None:
    """Reads damaged files until an error; does not return."""
    whole = {path: path.read_bytes() for path in kind.path.parent.iterdir() if path.is_file()}

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(kind.strategy(), st.booleans())
    def one(content: bytes, signed: bool) -> None:
        try:
            kind.path.write_bytes(content)
            if signed and kind.sign:
                kind.sign()
            kind.read()
        except TokMemError:
            pass
        except BaseException:
            (folder / "given").write_bytes(content)
            raise
        finally:
            for path, data in whole.items():
                path.write_bytes(data)

    held = getrusage(RUSAGE_SELF).ru_maxrss >> 10
    limits = [f"-runs={runs}", f"-seed={seed + 1}", f"-timeout={LONGEST}"]  # 0 asks for a random seed
    limits += [f"-rss_limit_mb={held + MOST_MEMORY}", f"-artifact_prefix={folder}/"]
    lengths = ["-max_len=2048", "-len_control=0"]  # short inputs are too few choices for the strategy
    first = folder / "first"
    first.mkdir()
    draws = Random(f"{seed} {kind.what}")
    for number in range(FIRST):
        (first / str(number)).write_bytes(draws.randbytes(1024))
    atheris.Setup([sys.argv[0], *limits, *lengths, str(first)], one.hypothesis.fuzz_one_input)
    atheris.Fuzz()


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Reads damaged files of one kind, guided by coverage.")
    parser.add_argument("--what", required=True, help="the kind")
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder for files and findings")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    own = parser.parse_args()
    os.environ["XDG_CACHE_HOME"] = str(own.folder / "cache")
    (own.folder / "files").mkdir(parents=True)
    logger.disabled = True
    warnings.simplefilter("ignore")
    kind = next(one for one in all_kinds(own.folder / "files") if one.what == own.what)
    fuzz(kind, own.folder, own.runs, own.seed)


if __name__ == "__main__":
    main()
