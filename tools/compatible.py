"""Runs tests with other versions of the libraries that TokMem stands on: `tools/compatible.py SETS TESTS...`.

Each set of versions gets a small environment of its own, which borrows everything else (torch above all) from
the environment that runs this script. The sets `quantized` and `engines` add what `make setup` leaves out.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from venv import EnvBuilder

HOME = Path(".compatible")
SETS: Mapping[str, Sequence[str]] = {
    "oldest": ("transformers==5.10.1", "accelerate==1.10.0", "peft==0.18.0", "huggingface-hub<2"),
    "newest": ("transformers<6", "accelerate", "peft", "huggingface-hub"),
    "oldest_torch": ("torch==2.11.0",),  # gigabytes: an index has old builds with CUDA alone
    "quantized": ("bitsandbytes==0.50.2", "torchao==0.18.0"),
    "engines": (
        *("-c", "constraints.txt", "transformers[serving]"),
        *("openai==3.57.0", "xllamacpp==2026.10.11549", "lm-eval[hf]==0.4.13", "mcp==2.3.0"),
    ),
}
SHOW = """
import accelerate, peft, torch, transformers
print(*(f"{m.__name__} {m.__version__}" for m in (transformers, torch, accelerate, peft)), sep=", ")
"""


def environment(name: str, packages: Sequence[str]) -> Path:
    """Makes an environment with these packages, or brings an existing one up to date; returns its Python."""
    home = HOME / name
    EnvBuilder(with_pip=True, clear=not home.exists()).create(home)
    python = home / "bin" / "python"
    (own,) = home.glob("lib/python*/site-packages")
    (own / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{Path('src').resolve()}\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", *packages], check=True)
    return python


def main(names: Sequence[str], tests: Sequence[str]) -> int:
    """Runs the tests with each named set; returns how many sets failed."""
    failed = 0
    for name in names:
        python = environment(name, SETS[name])
        print(f"{name}: ", end="", flush=True)
        subprocess.run([python, "-c", SHOW], check=True)
        failed += subprocess.run([python, "-m", "pytest", "-q", *tests], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].split(","), sys.argv[2:]))
