"""Data-parallel training over processes that `accelerate launch` or torchrun started, one a device.

Every process holds the backbone and the bank, and walks through the same order. An example belongs to one
process for the whole run, which alone reads its prefix and computes its loss; gradients and sums are added up
over all processes. The loss is divided by the supervised tokens of all of them, so that a step is a single
process's step up to the order of a sum.
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
        index: of this one, from 0.
        count: how many there are.
    """

    index: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and metrics."""
        return self.index == 0

    def own(self, owner: int) -> bool:
        """Whether what is dealt to `owner`, any number, is this process's."""
        return owner % self.count == self.index

    def add(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        total: Tensor = reduce(tensor, "sum")
        return total

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Puts in place of each gradient its sum over all processes; a process without one adds nothing."""
        if self.count == 1:
            return
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        parts = self.add(torch.cat([g.flatten() for g in grads])).split([g.numel() for g in grads])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def gather(self, text: str) -> list[str]:
        """The texts of all processes, in their order; as bytes in a tensor, so that none is unpickled."""
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
        """The first process goes through the block, then the others, even where the first one raises."""
        if not self.first:
            self.wait()
        try:
            yield
        finally:
            if self.first:
                self.wait()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def join_processes() -> Processes:
    """Takes this process's place among those that were launched; alone where none were.

    It picks the process's device as the current one: call it before a backbone is loaded.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=not torch.accelerator.is_available())
    return Processes(state.process_index, state.num_processes)
