"""llama.cpp's own server out of the package `xllamacpp`, in a process of its own.

`python -m tokmem.serving.llama_cpp` takes the options of `llama-server` that `tokmem serve` gives.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until a signal ends the process."""
    options = _parser().parse_args(arguments)
    from xllamacpp import Server

    server = Server(_parameters(options))
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: sys.exit())
    threading.Event().wait()
    del server


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tokmem.serving.llama_cpp", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--temp", type=float, default=0.8)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--ctx-size", type=int, default=0)
    parser.add_argument("--threads", type=int, default=-1)
    parser.add_argument("--no-cache-prompt", action="store_true")
    parser.add_argument("--jinja", action="store_true")
    return parser


def _parameters(options: argparse.Namespace) -> Any:
    from xllamacpp import CommonParams

    given = CommonParams()
    given.model.path, given.model_alias = options.model, {options.alias}
    given.hostnames, given.port = [options.host], options.port
    given.sampling.temp = options.temp
    given.n_parallel, given.n_ctx = options.parallel, options.ctx_size
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = options.threads
    given.cache_prompt, given.use_jinja = not options.no_cache_prompt, options.jinja
    return given


if __name__ == "__main__":
    main()
