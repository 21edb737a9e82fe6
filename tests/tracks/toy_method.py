"""An example of a new method: it answers with a word, repeated as often as it has seen training examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokmem.config import Config, setting
from tokmem.log import Callbacks
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup
from tokmem.records import Answer, Example, Procedure


@dataclass(frozen=True)
class ToySettings(Config):
    """What it answers."""

    word: str = setting("yes", "the word")


class Toy(Method):
    """Counts examples."""

    def __init__(self, word: str) -> None:
        self.word, self.seen = word, 0

    @property
    def notes(self) -> Mapping[str, Any]:
        """Its word."""
        return {"word": self.word}

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Counts."""
        self.seen += len(train)
        return Learned(new_examples=len(train))

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Says it."""
        return [Answer(e.query, text=self.word * self.seen, finished=True, prompt_tokens=1) for e in examples]

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes the count."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "toy.json").write_text(json.dumps(self.seen))

    def restore(self, folder: Path) -> None:
        """Reads it."""
        self.seen = json.loads((folder / "toy.json").read_text())


def build(setup: Setup, own: ToySettings) -> Method:
    """Makes one."""
    return Toy(own.word)


SPECS = (
    MethodSpec(
        "toy",
        Toy,
        ToySettings,
        build,
        variable={"atomic": ("word",), "compositional": ("word",), "reason": ()},
    ),
)
