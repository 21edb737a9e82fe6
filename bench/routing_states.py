"""States at the ends of real prompts, read once and kept in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from tokmem.bank.bank import Bank
from tokmem.bank.policy import STAND_INS
from tokmem.data.chat import Chat
from tokmem.data.corpus import Corpus
from tokmem.data.encode import Encoder, PromptMode
from tokmem.data.sni import SniSpec, load_tasks
from tokmem.data.stand_ins import stand_ins
from tokmem.files import atomic_write_bytes
from tokmem.log import progress
from tokmem.methods.call_states import best_ordinary
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Example
from tokmem.train.prefix_cache import PrefixCache

PROMPTS: tuple[PromptMode, ...] = ("instruction+query", "query")
MOST_TOKENS = 320  # of instruction and query: longer examples are left out
WINDOW = 16


@dataclass(frozen=True)
class Read:
    """N states, and what the frozen vocabulary makes of them.

    Attributes:
        states: (N, d) float32.
        best: (N,) best ordinary logit.
        total: (N,) log-sum-exp of the ordinary logits.
    """

    states: Tensor
    best: Tensor
    total: Tensor

    def __getitem__(self, part: slice) -> Read:
        return Read(self.states[part], self.best[part], self.total[part])


def join(parts: Sequence[Read]) -> Read:
    """All of them, one after the other."""
    return Read(*(torch.cat([getattr(p, name) for p in parts]) for name in ("states", "best", "total")))


@dataclass(frozen=True)
class TaskStates:
    """The states of a task's examples, and of stand-in queries under its instruction."""

    name: str
    train: Read
    test: Read
    stand_ins: Read


class Reader:
    """Reads prompts, or finds in a folder what was read before.

    Args:
        backbone: the frozen model.
        folder: receives a file for each group of prompts.
    """

    def __init__(self, backbone: Backbone, folder: Path) -> None:
        self.lm = MemoryLM(backbone.model, Bank(backbone.dim, backbone.id_space()))
        self.chat = Chat(backbone.tokenizer)
        self.folder = folder / f"{backbone.fingerprint}-{str(backbone.model.dtype).removeprefix('torch.')}"

    def corpus(self, tasks_dir: Path, train: int, test: int) -> Corpus:
        """All tasks that have enough examples."""
        spec = SniSpec(train_size=train, val_size=0, test_size=test, max_instruction_tokens=MOST_TOKENS)
        return load_tasks(tasks_dir, spec, lambda text: len(self.chat.text_ids(text)))

    def read(self, key: str, prompt: PromptMode, examples: Sequence[Example]) -> Read:
        """States of these examples' prompts; `key` names them for good."""
        path = self.folder / f"{prompt}-{key}.safetensors"
        if not path.is_file():
            found = self._read(prompt, examples)
            parts = {"states": found.states, "best": found.best, "total": found.total}
            atomic_write_bytes(path, save(parts))
        return Read(**load_file(path))

    @torch.no_grad()
    def _read(self, prompt: PromptMode, examples: Sequence[Example]) -> Read:
        encoder = Encoder(self.chat, {}, prompt=prompt, max_length=2 * MOST_TOKENS)
        encoded = [encoder.encode_prompt(example) for example in examples]
        cache = PrefixCache(self.lm, 1 << 28)
        cache.begin(encoded)
        states = torch.stack(
            [
                prefix.hidden
                for start in range(0, len(encoded), WINDOW)
                for prefix in cache.window(start, encoded[start : start + WINDOW], keep=False)
            ]
        )
        total = torch.cat([self.lm.head.frozen(part).logsumexp(-1) for part in states.split(64)])
        return Read(states.float(), best_ordinary(self.lm, states), total)


def read_tasks(
    reader: Reader, corpus: Corpus, prompt: PromptMode, few: tuple[int, int], deep: int
) -> list[TaskStates]:
    """States of all tasks of a corpus.

    Args:
        reader: reads them.
        corpus: tasks with their examples.
        prompt: what a prompt holds.
        few: how many training and test examples of each task to read.
        deep: of so many first tasks all examples are read.
    """
    found = []
    with progress(len(corpus.names), f"reading {prompt}", unit="task") as bar:
        for number, name in enumerate(corpus.names):
            train, test = corpus.train[name], corpus.test[name]
            halves = [(test[: few[1]], train[: few[0]]), (test[few[1] :], train[few[0] :])]
            tests, trains = [], []
            for part, (asked, learned) in enumerate(halves[: 2 if number < deep else 1]):
                read = reader.read(f"{name}-{part}", prompt, [*asked, *learned])
                tests.append(read[: len(asked)])
                trains.append(read[len(asked) :])
            texts = stand_ins(train, STAND_INS) if prompt != "query" else []
            made = reader.read(f"{name}-stand-ins", prompt, texts) if texts else tests[0][:0]
            found.append(TaskStates(name, join(trains), join(tests), made))
            bar.update()
    return found
