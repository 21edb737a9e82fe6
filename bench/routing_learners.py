"""Ways to learn addresses from states that are read: computed, trained, and the nearest mean.

Letters: P procedures, N states, d hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from bench.routing_states import TaskStates
from tokmem.bank.bank import Bank
from tokmem.bank.closed import close
from tokmem.bank.policy import ClosedForm
from tokmem.bank.slots import IdSpace
from tokmem.bank.statistics import Statistics
from tokmem.records import Procedure
from tokmem.seeds import generator
from tokmem.train.optim import rate, set_rate

Tasks = Sequence[TaskStates]
CALIBRATING = 8  # states kept of each task


class Learner(Protocol):
    """Takes blocks of tasks, one after the other."""

    def learn(self, block: Tasks) -> None:
        """Learns a block; what came before is not shown again."""

    def scores(self, states: Tensor) -> Tensor:
        """(N, d) -> (N, P), tasks in the order of their arrival."""


def closed_bank(tasks: Tasks, policy: ClosedForm, bank: Bank | None = None) -> Bank:
    """A bank, new or given, after a stage of tasks."""
    dim = tasks[0].train.states.shape[1]
    if bank is None:
        bank = Bank(dim, IdSpace(0), coupled=False)
        bank.statistics = Statistics(dim, policy, {})
    names, nothing = [task.name for task in tasks], torch.zeros(len(tasks), 1, dim)
    bank.freeze()
    bank.add([Procedure(name) for name in names], nothing, nothing[:, 0])
    for task in tasks:
        assert bank.statistics is not None
        made = task.stand_ins[: policy.stand_ins]
        if len(task.train.states):
            bank.statistics.add(task.name, task.train.states, task.train.best)
            made = replace(made, best=task.train.best.mean().expand(len(made.states)))
        if len(made.states):
            bank.statistics.add(task.name, made.states, made.best)
        calibrating = task.train if len(task.train.states) else task.stand_ins
        bank.keep_states(task.name, calibrating.states[:CALIBRATING])
    close(bank, names)
    return bank


class Closed:
    """Addresses in closed form."""

    def __init__(self, policy: ClosedForm) -> None:
        self.policy = policy
        self.bank: Bank | None = None

    def learn(self, block: Tasks) -> None:
        self.bank = closed_bank(block, self.policy, self.bank)

    def scores(self, states: Tensor) -> Tensor:
        assert self.bank is not None
        return states @ self.bank.addresses().T


class NearestMean:
    """The nearest mean of a task's states, by Euclidean distance."""

    def __init__(self) -> None:
        self.means: list[Tensor] = []

    def learn(self, block: Tasks) -> None:
        self.means += [task.train.states.mean(0) for task in block]

    def scores(self, states: Tensor) -> Tensor:
        return -torch.cdist(states, torch.stack(self.means))


@dataclass
class Trained:
    """Addresses that lower the routing term of Eq. 3 with AdamW, those of earlier blocks frozen.

    The loss at a state is logaddexp(LSE of the vocabulary, LSE of the addresses) - the right logit; the first
    is a constant, for states are frozen.

    Attributes:
        start: (d,) row that every address starts from.
        lr: AdamW's rate.
        kept: states of each earlier task that newcomers are trained against, drawn anew for every example.
        epochs, batch: of training.
        seed: of the order and of what is drawn.
    """

    start: Tensor
    lr: float
    kept: int = 0
    epochs: int = 4
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        self.rows = self.start.new_zeros(0, len(self.start))
        self.before: list[tuple[Tensor, Tensor, int]] = []

    def learn(self, block: Tasks) -> None:
        fresh = torch.nn.Parameter(self.start.expand(len(block), -1).clone())
        first, draws = len(self.rows), generator(self.seed, "routing", len(self.rows))
        states = torch.cat([task.train.states for task in block])
        total = torch.cat([task.train.total for task in block])
        labels = torch.tensor([first + i for i, task in enumerate(block) for _ in task.train.states])
        optimizer = torch.optim.AdamW([{"params": [fresh], "factor": 1.0}], lr=self.lr, weight_decay=0.0)
        batches = [
            part
            for _ in range(self.epochs)
            for part in torch.randperm(len(states), generator=draws).split(self.batch)
        ]
        for step, part in enumerate(batches):
            set_rate(optimizer, rate(step, len(batches), self.lr, 0.1, "linear"))
            table = torch.cat([self.rows, fresh])
            loss = _loss(table, states[part], total[part], labels[part])
            if self.before:
                old = [self.before[i] for i in torch.randint(len(self.before), (len(part),), generator=draws)]
                loss = loss + _loss(
                    table,
                    torch.stack([s for s, _, _ in old]),
                    torch.stack([t for _, t, _ in old]),
                    torch.tensor([label for _, _, label in old]),
                )
            optimizer.zero_grad()
            (loss / len(part)).backward()
            optimizer.step()
        self.rows = torch.cat([self.rows, fresh.detach()])
        for i, task in enumerate(block):
            pairs = zip(task.train.states[: self.kept], task.train.total[: self.kept], strict=True)
            self.before += [(state, mass, first + i) for state, mass in pairs]

    def scores(self, states: Tensor) -> Tensor:
        return states @ self.rows.T


def _loss(table: Tensor, states: Tensor, total: Tensor, labels: Tensor) -> Tensor:
    """Summed routing loss of (N, d) states whose vocabulary has the log-sum-exp `total` (N,)."""
    logits = states @ table.T
    right = logits.gather(1, labels[:, None])[:, 0]
    return (torch.logaddexp(total, logits.logsumexp(-1)) - right).sum()
