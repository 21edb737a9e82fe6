"""Times one epoch of `fit` in one process and in two: `python -m bench.processes`.

Three contenders train the same bank on the same batches, with nothing cached: one process of one thread, one
process of two threads, and two processes of one thread each, as `torchrun` starts them. All processes are
started once and wait. In each round each contender trains one epoch in turn, and a row's speed is the median
of its ratios to one thread in the same round.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench.epochs import Epochs
from bench.setup import Settings, build_model, load_queries, prepare
from bench.train_step import describe, parse
from tokmem.errors import TokMemError
from tokmem.files import atomic_write_json
from tokmem.report.tables import Table
from tokmem.train.parallel import join_processes

OUT = Path("results/bench/processes.json")
ROUNDS = 5
CONTENDERS = {  # name: processes, threads of each
    "one process, one thread": (1, 1),
    "one process, two threads": (1, 2),
    "two processes, one thread each": (2, 1),
}
COLUMNS = {
    "name": "one epoch",
    "tokens_per_second": "tokens/s",
    "speedup": "against one thread",
    "slowest": "slowest round",
    "fastest": "fastest round",
    "seconds": "seconds",
}
FORMATS = dict.fromkeys(("speedup", "slowest", "fastest"), ".2f") | {"seconds": ".1f"}


@dataclass(frozen=True)
class Measured:
    """One epoch: its seconds, and the loss of its last step."""

    seconds: float
    loss: float


class Group:
    """The processes of a contender; they build the model and wait.

    Args:
        settings: of the measurement.
        count: number of processes.
        threads: of each.
    """

    def __init__(self, settings: Settings, count: int, threads: int) -> None:
        context, port = get_context("spawn"), _free_port()
        self.ends: list[Connection] = []
        self.processes: list[BaseProcess] = []
        for index in range(count):
            end, other = context.Pipe()
            own = replace(settings, threads=threads)
            process = context.Process(target=_serve, args=(other, own, index, count, port), daemon=True)
            process.start()
            other.close()
            self.ends.append(end)
            self.processes.append(process)
        self._answers()

    def epoch(self) -> Measured:
        """Trains one epoch; the slowest process counts."""
        for end in self.ends:
            end.send("epoch")
        return max(self._answers(), key=lambda one: one.seconds)

    def close(self) -> None:
        """Ends the processes."""
        for end in self.ends:
            with suppress(OSError):
                end.send(None)
        for process in self.processes:
            process.join()

    def _answers(self) -> list[Measured]:
        try:
            return [end.recv() for end in self.ends]
        except EOFError as error:
            raise TokMemError("a process has ended", "all of them", "read its error above") from error


def _serve(end: Connection, settings: Settings, index: int, count: int, port: int) -> None:
    """Trains an epoch whenever it is told to."""
    names = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    join_processes()
    prepare(settings)
    made = Epochs(settings)
    made.fit(1)  # warms up
    end.send(Measured(0.0, 0.0))
    while end.recv():
        seconds, _, report = made.fit(1)
        end.send(Measured(seconds, report.loss))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run(settings: Settings, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measures everything and returns the content of the result file.

    Args:
        settings: of the measurement; its steps make the epoch.
        rounds: how often each contender trains.

    Raises:
        TokMemError: a process has ended.
    """
    groups = {name: Group(settings, *shape) for name, shape in CONTENDERS.items()}
    try:
        found = [{name: group.epoch() for name, group in groups.items()} for _ in range(rounds)]
    finally:
        for group in groups.values():
            group.close()
    queries = load_queries(settings)
    tokens = sum(len(e.ids) for batch in queries.batches for e in batch)
    about = describe(settings, build_model(settings), queries)
    del about["threads"]
    return {"rows": rows(found, tokens), "rounds": rounds, **about}


def rows(found: Sequence[dict[str, Measured]], tokens: int) -> list[dict[str, Any]]:
    """Makes a row for each contender.

    Args:
        found: what each contender measured, by name, in each round; the first one is the base.
        tokens: of an epoch.
    """
    base = next(iter(found[0]))
    made = []
    for name in found[0]:
        ratios = [one[base].seconds / one[name].seconds for one in found]
        seconds = median(one[name].seconds for one in found)
        row = {"name": name, "seconds": seconds, "tokens_per_second": tokens / seconds}
        row |= {"speedup": median(ratios), "slowest": min(ratios), "fastest": max(ratios)}
        made.append(row | {"loss": found[-1][name].loss})
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the result file, prints the table."""
    settings, out = parse(arguments, __doc__ or "", OUT, steps=36, procedures=10)
    result = run(settings)
    atomic_write_json(out, result)
    title = f"{result['queries']['tokens']:,} tokens an epoch, {result['queries']['per_step']} queries a step"
    Console().print(Table(result["rows"], COLUMNS, FORMATS, title).rich())


if __name__ == "__main__":
    main()
