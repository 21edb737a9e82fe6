"""What a teacher predicts after each token of its responses: the k most probable tokens, and the rest as one.

Letters: M rows, one for each predicted token; k tokens of a row; V rows of the backbone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tokmem.errors import TrainingError
from tokmem.files import atomic_write_bytes
from tokmem.model.backbone import is_recurrent
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train.loss import MAX_LOGITS
from tokmem.train.prefix_cache import PrefixCache
from tokmem.train.step import frozen_prefix_states, plain_states

_TOGETHER, _STEMS = 16, 1 << 30  # examples that are read together; bytes for shared beginnings


@dataclass(frozen=True)
class Targets:
    """The predictions for the responses of several examples.

    Attributes:
        ids: (M, k) token ids, the most probable first.
        logs: (M, k) their log-probabilities.
        rest: (M,) log-probability of all other tokens together.
        counts: the number of rows of each example by its id, in the order of the rows.
    """

    ids: Tensor
    logs: Tensor
    rest: Tensor
    counts: Mapping[str, int]

    @cached_property
    def _starts(self) -> dict[str, int]:
        ends = torch.tensor([*self.counts.values()]).cumsum(0).tolist()
        return {name: end - count for (name, count), end in zip(self.counts.items(), ends, strict=True)}

    def rows(self, example: str) -> range:
        """The rows of an example.

        Raises:
            TrainingError: the teacher did not answer it.
        """
        if example not in self.counts:
            raise TrainingError(f"no targets of example {example!r}", "those of every example", "teach again")
        start = self._starts[example]
        return range(start, start + self.counts[example])

    def of(self, examples: Sequence[Encoded], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids (N, k), log-probabilities (N, k) and the rest's (N,) of N rows, example by example.

        Raises:
            TrainingError: the teacher did not answer one of them.
        """
        rows = torch.tensor([row for example in examples for row in self.rows(example.id)])
        ids, logs, rest = (part[rows].to(device) for part in (self.ids, self.logs, self.rest))
        return ids.long(), logs, rest

    def save(self, path: Path, identity: str) -> None:
        """Writes a file; it appears whole or not at all. `identity` says what the targets are of."""
        tensors = {"ids": self.ids, "logs": self.logs, "rest": self.rest}
        facts = {"identity": identity, "counts": json.dumps(dict(self.counts))}
        atomic_write_bytes(path, save(tensors, facts | {"digest": _digest(tensors, facts["counts"])}))

    @classmethod
    def load(cls, path: Path, identity: str) -> Targets | None:
        """Maps a file into memory; None if there is none, or it is of something else.

        Raises:
            TrainingError: the file is damaged.
        """
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                if facts.get("identity") != identity or "digest" not in facts:  # older files have none
                    return None
                tensors = {name: file.get_tensor(name) for name in ("ids", "logs", "rest")}
        except SafetensorError as error:
            raise TrainingError(f"{path}: {error}", "targets of a teacher", "remove it") from error
        counts = facts.get("counts", "")
        if facts["digest"] != _digest(tensors, counts):
            raise TrainingError(f"{path} is damaged: its checksum differs", "the file as saved", "remove it")
        return cls(**tensors, counts=json.loads(counts))


def _digest(tensors: Mapping[str, Tensor], counts: str) -> str:
    """Computes the SHA-256 (hex) of the predictions and of the number of rows of each example."""
    made = hashlib.sha256(counts.encode())
    for name in sorted(tensors):
        made.update(repr(tensors[name].shape).encode())
        made.update(tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
    return made.hexdigest()


@torch.no_grad()
def read_targets(
    lm: MemoryLM, examples: Sequence[Encoded], top_k: int, banned: Sequence[int] = ()
) -> Targets:
    """Runs a teacher over whole sequences and keeps what it predicts at supervised positions.

    Beginnings that prompts share, such as a long instruction, are read once.

    Args:
        lm: the backbone, with an empty bank.
        examples: what the teacher reads and answers, with different ids; the supervised tokens come last.
        top_k: k; at most V - 1 without the banned ids.
        banned: ids that get no probability: those that stand for memory tokens.
    """
    closed = torch.tensor([i for i in banned if i < lm.head.model_rows], dtype=torch.long, device=lm.device)
    most = min(top_k, lm.head.model_rows - len(closed) - 1)
    parts = [
        _top(lm.head.frozen(some).index_fill(1, closed, -torch.inf), most)
        for states in _states(lm, [replace(e, prefix=e.supervised.index(True)) for e in examples])
        for some in states.split(max(1, MAX_LOGITS // lm.head.model_rows))
    ]
    ids, logs, rest = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return Targets(ids.int(), logs, rest, {e.id: sum(e.supervised) for e in examples})


def _states(lm: MemoryLM, examples: Sequence[Encoded]) -> Iterator[Tensor]:
    """States before the supervised tokens, a few examples at a time."""
    cache = PrefixCache(lm, _STEMS)
    frozen = not is_recurrent(lm.model)
    if frozen:
        cache.begin(examples)
    for start in range(0, len(examples), _TOGETHER):
        some = examples[start : start + _TOGETHER]
        if frozen:
            yield frozen_prefix_states(lm, some, cache.window(start, some, keep=False))[0]
        else:
            yield plain_states(lm, some)[0]


def _top(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """(n, V) logits -> (n, k) ids, (n, k) log-probabilities, (n,) log-probability of the rest."""
    best, ids = logits.topk(k)
    whole = logits.logsumexp(1, keepdim=True)
    rest = logits.scatter(1, ids, -torch.inf).logsumexp(1)
    return ids, best - whole, rest - whole[:, 0]
