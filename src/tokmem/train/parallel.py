"""Data-parallel training over processes that `accelerate launch` or torchrun started, one for each device.

Every process holds the backbone and the bank, and follows the same order of examples. An example belongs to
one process for the whole run; only this process reads its prefix and computes its loss. Gradients and sums
are added over all processes. The loss is divided by the supervised tokens of all processes, so a step equals
the step of a single process up to the order of a sum.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from tokmem.data.stream import Order
from tokmem.errors import TrainingError

PATIENCE = timedelta(days=30)
"""How long a process waits for the others: a part of an experiment may take days."""
_ALONE = ContextVar("alone", default=False)


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        index: number of this process, from 0.
        count: number of processes.
    """

    index: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and metrics."""
        return self.index == 0

    def own(self, owner: int) -> bool:
        """Whether the work of number `owner` belongs to this process."""
        return owner % self.count == self.index

    def add(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        with _not_left():
            total: Tensor = reduce(tensor, "sum")
        return total

    def totals(self, values: Sequence[float]) -> list[float]:
        """The sum of each number over all processes."""
        if self.count == 1:
            return [*values]
        from accelerate import PartialState

        numbers = torch.tensor(values, dtype=torch.float64, device=PartialState().device)
        return self.add(numbers).tolist()

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over all processes; a missing gradient counts as zero."""
        if self.count == 1:
            return
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        parts = self.add(torch.cat([g.flatten() for g in grads])).split([g.numel() for g in grads])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def gather(self, text: str) -> list[str]:
        """The texts of all processes, in order. They travel as bytes in a tensor, so nothing is unpickled."""
        if self.count == 1:
            return [text]
        from accelerate import PartialState

        device, own = PartialState().device, torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = torch.zeros(self.count, dtype=torch.long, device=device)
        lengths[self.index] = len(own)
        longest = self.add(lengths).tolist()
        table = torch.zeros(self.count, max(longest), dtype=torch.uint8, device=device)
        table[self.index, : len(own)] = own.to(device)
        rows = self.add(table).cpu()
        return [bytes(row[:n].tolist()).decode() for row, n in zip(rows, longest, strict=True)]

    def from_first(self, make: Callable[[], str]) -> str:
        """A text that the first process makes; every process gets it."""
        return self.gather(make() if self.first else "")[0]

    def value_of_first(self, make: Callable[[], Any]) -> Any:
        """A JSON value that the first process makes; every process gets it."""
        return json.loads(self.from_first(lambda: json.dumps(make())))

    @torch.no_grad()
    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Gives tensors in every process the values that they have in the first."""
        for tensor in tensors if self.count > 1 else ():
            tensor.copy_(self.add(tensor if self.first else torch.zeros_like(tensor)))

    @contextmanager
    def own_folder(self, folder: Path, common: str) -> Iterator[Path]:
        """Gives each process a folder to write; only that of the first process stays.

        Args:
            folder: what the first process writes. The others write a copy, which is dropped at the end.
            common: the name of a folder inside it that all processes read and only the first one writes.
        """
        if self.first:
            self.wait()  # until the others have their copies
            yield folder
            return
        with TemporaryDirectory() as place:
            own = Path(place) / folder.name
            own.mkdir()
            if folder.is_dir():
                skip = shutil.ignore_patterns(common)
                shutil.copytree(folder, own, ignore=skip, dirs_exist_ok=True)
            (own / common).symlink_to(folder.absolute() / common, target_is_directory=True)
            self.wait()
            yield own

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Runs the block in the first process, then in the others, even if the first one raises."""
        if not self.first:
            self.wait()
        try:
            yield
        finally:
            if self.first:
                self.wait()

    def wait(self) -> None:
        """Waits until all processes have come here."""
        if self.count > 1:
            from accelerate import PartialState

            with _not_left():
                PartialState().wait_for_everyone()


@dataclass(frozen=True)
class Shares:
    """Which examples belong to a process.

    Examples go to processes in the first epoch's order, so each of its batches is shared evenly.

    Args:
        processes: of the run.
        order: of the training examples.
    """

    processes: Processes
    order: Order

    @cached_property
    def _turns(self) -> dict[int, int]:
        indices = (i for batch in self.order.epoch(0) for i in batch.indices)
        return {i: turn for turn, i in enumerate(indices)}

    def own(self, indices: Sequence[int]) -> list[int]:
        """Those of this process, in their order."""
        return [i for i in indices if self.processes.own(self._turns.get(i, i))]


@contextmanager
def _not_left() -> Iterator[None]:
    """Says what it means when a process waits for one that has ended."""
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"another process of this run has ended ({str(error).splitlines()[0]:.200})",
            "all processes of the run",
            "read the error of the process that ended first",
        ) from error


@contextmanager
def alone() -> Iterator[None]:
    """Within it, this process works without the others: `join_processes` finds no others."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def join_processes() -> Processes:
    """Finds this process's place among the launched processes; a single process is alone.

    Sets the current device of the process, so call it before a backbone is loaded.
    """
    if _ALONE.get() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)
    return Processes(state.process_index, state.num_processes)
