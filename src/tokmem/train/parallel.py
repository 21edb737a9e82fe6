"""Data-parallel training over processes that `accelerate launch` or torchrun started, one for each device.

Every process holds the backbone and the bank, and follows the same order of examples. An example belongs to
one process for the whole run; only this process reads its prefix and computes its loss. Gradients and sums
are added over all processes. The loss is divided by the supervised tokens of all processes, so a step equals
the step of a single process up to the order of a sum.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


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

        total: Tensor = reduce(tensor, "sum")
        return total

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

        device, own = PartialState().device, torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        lengths = torch.zeros(self.count, dtype=torch.long, device=device)
        lengths[self.index] = len(own)
        longest = self.add(lengths).tolist()
        table = torch.zeros(self.count, max(longest), dtype=torch.uint8, device=device)
        table[self.index, : len(own)] = own.to(device)
        rows = self.add(table).cpu()
        return [bytes(row[:n].tolist()).decode() for row, n in zip(rows, longest, strict=True)]

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

            PartialState().wait_for_everyone()


def join_processes() -> Processes:
    """Finds this process's place among the launched processes; a single process is alone.

    Sets the current device of the process, so call it before a backbone is loaded.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=not torch.accelerator.is_available())
    return Processes(state.process_index, state.num_processes)
