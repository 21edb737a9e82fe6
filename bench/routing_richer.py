"""Measures richer routers than one linear row a task: `python -m bench.routing_richer`.

They read the same states as `bench.routing`, which keeps them in a folder:

- `random features`: ridge regression to the tasks on relu(R h / |h|) with 2,048 random rows R (RanPAC, arXiv
  2307.02251). An output head cannot hold them: its rows are as long as a state.
- `quadratic`: a covariance for each task, of which a part is the common one. No row can hold it either.
- `two means`: two clusters of each task's states, each with a row of its own; the better one counts.

Each has one number to choose. The best of several by the test queries of fifty tasks is taken: that
favours them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from bench.routing import accuracy, cut
from bench.routing_learners import Closed, Learner, Tasks
from bench.routing_states import PROMPTS, Reader, read_tasks
from tokmem.bank.addresses import shrunk
from tokmem.bank.policy import ClosedForm
from tokmem.files import atomic_write_json
from tokmem.model.backbone import load_backbone
from tokmem.provenance import provenance
from tokmem.report.read import STATES
from tokmem.report.tables import Table
from tokmem.seeds import generator

FEATURES = 2048


class RandomFeatures:
    """Ridge regression to one-hot tasks on random features.

    Args:
        ridge: share of the features' mean square that is added in every direction.
    """

    def __init__(self, ridge: float) -> None:
        self.ridge = ridge

    def features(self, states: Tensor) -> Tensor:
        """(N, d) -> (N, F) float64."""
        draws = generator(0, "random features")
        rows = torch.randn(FEATURES, states.shape[1], generator=draws).double()
        return (torch.nn.functional.normalize(states.double()) @ rows.T).relu()

    def learn(self, block: Tasks) -> None:
        """Solves for the weights of all tasks at once."""
        found = torch.cat([self.features(task.train.states) for task in block])
        labels = torch.tensor([i for i, task in enumerate(block) for _ in task.train.states])
        wanted = torch.nn.functional.one_hot(labels, len(block)).double()
        gram = found.T @ found
        gram.diagonal().add_(self.ridge * gram.diagonal().mean())
        self.weights = torch.linalg.solve(gram, found.T @ wanted)

    def scores(self, states: Tensor) -> Tensor:
        """(N, d) -> (N, P)."""
        return self.features(states) @ self.weights


class Quadratic:
    """Gaussian classes with covariances of their own: log N(h; mu_m, (1 - a) S + a C_m).

    Args:
        own: a, the part of a task's own covariance C_m.
    """

    def __init__(self, own: float) -> None:
        self.own = own

    def learn(self, block: Tasks) -> None:
        """Computes means and factors of all tasks."""
        states = [task.train.states.double() for task in block]
        self.means = torch.stack([own.mean(0) for own in states])
        centred = [own - mean for own, mean in zip(states, self.means, strict=True)]
        count = sum(map(len, centred)) - len(centred)
        common = shrunk(sum(own.T @ own for own in centred) / count, ClosedForm().ridge)
        self.factors = [
            torch.linalg.cholesky((1 - self.own) * common + self.own * own.T @ own / max(len(own) - 1, 1))
            for own in centred
        ]

    def scores(self, states: Tensor) -> Tensor:
        """(N, d) -> (N, P)."""
        found = []
        for mean, factor in zip(self.means, self.factors, strict=True):
            away = torch.linalg.solve_triangular(factor, (states.double() - mean).T, upper=False)
            found.append(-away.square().sum(0) / 2 - factor.diagonal().log().sum())
        return torch.stack(found, 1)


class TwoMeans:
    """Linear discriminants of two clusters of each task's states; the better one counts.

    Args:
        rounds: of the clustering.
    """

    def __init__(self, rounds: float) -> None:
        self.rounds = int(rounds)

    def learn(self, block: Tasks) -> None:
        """Clusters, and computes the rows of all clusters."""
        parts = [part for task in block for part in _halves(task.train.states.double(), self.rounds)]
        means = torch.stack([part.mean(0) for part in parts])
        centred = torch.cat([part - part.mean(0) for part in parts])
        common = shrunk(centred.T @ centred / (len(centred) - len(parts)), ClosedForm().ridge)
        middle = means.mean(0)
        self.rows = torch.linalg.solve(common, (means - middle).T)
        self.bias = -((means + middle) / 2 * self.rows.T).sum(-1)

    def scores(self, states: Tensor) -> Tensor:
        """(N, d) -> (N, P)."""
        return (states.double() @ self.rows + self.bias).unflatten(-1, (-1, 2)).amax(-1)


def _halves(states: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Divides (n, d) states in two by k-means, from the two that lie furthest apart; none is empty."""
    first, far = divmod(int(torch.cdist(states, states).argmax()), len(states))
    centres = states[[first, far]]
    for _ in range(rounds):
        mine = torch.cdist(states, centres).argmin(1)
        mine[first], mine[far] = 0, 1
        centres = torch.stack([states[mine == half].mean(0) for half in (0, 1)])
    return states[mine == 0], states[mine == 1]


RICHER: Mapping[str, tuple[Callable[[float], Learner], Sequence[float]]] = {
    "one row": (lambda _: Closed(ClosedForm()), (0.0,)),
    "random features": (RandomFeatures, (1e-3, 1e-2, 1e-1, 1.0)),
    "quadratic": (Quadratic, (0.03, 0.1, 0.3)),
    "two means": (TwoMeans, (1, 10)),
}


def measured(make: Callable[[float], Learner], number: float, tasks: Tasks) -> float:
    """Routing accuracy in percent, all tasks learned at once."""
    learner = make(number)
    learner.learn(tasks)
    return accuracy(learner, tasks, tasks)


def richer_rows(
    tasks: Tasks, prompt: str, sizes: Sequence[int], examples: Sequence[int]
) -> list[dict[str, Any]]:
    """Every router by number of tasks and examples."""
    chosen, found = cut(tasks[: sizes[0]], max(examples)), []
    for name, (make, numbers) in RICHER.items():
        ends = {number: measured(make, number, chosen) for number in numbers}
        best = max(ends, key=ends.__getitem__)
        for size in sizes:
            for count in examples:
                own = cut(tasks[:size], count)
                row = {"prompt": prompt, "router": name, "number": best, "tasks": size, "examples": count}
                found.append({**row, "routing_accuracy": measured(make, best, own)})
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads what is not read yet, and writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks-dir", type=Path, required=True, help="Super-NaturalInstructions task files")
    parser.add_argument("--states", type=Path, required=True, help="folder for what was read")
    parser.add_argument("--out", type=Path, default=Path("results/atomic/richer.json"))
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 147], help="numbers of tasks")
    parser.add_argument("--examples", type=int, nargs="+", default=[16, 50])
    parser.add_argument("--test", type=int, default=20)
    parser.add_argument("--few", type=int, nargs=2, default=[16, 10], help="what is read of a task at first")
    options = parser.parse_args(arguments)
    backbone = load_backbone(options.backbone, dtype=options.dtype)
    reader = Reader(backbone, options.states)
    corpus = reader.corpus(options.tasks_dir, max(options.examples), options.test)
    rows, size = list[dict[str, Any]](), max(options.sizes)
    for prompt in PROMPTS:
        tasks = read_tasks(reader, corpus, prompt, tuple(options.few), size)[:size]
        rows += richer_rows(tasks, prompt, options.sizes, options.examples)
    source = provenance(
        0, corpus.checksum, backbone.fingerprint, str(backbone.device), backbone.source_sha256
    )
    facts = {"name": "richer", "kind": STATES, "backbone": backbone.id, "dtype": options.dtype}
    atomic_write_json(options.out, {**facts, "rows": rows, "provenance": source})
    Console().print(Table(rows).markdown(), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
