"""A pool of solved examples, searched for the texts most similar to a query's.

Letters: N distinct texts in the index, Q queries, D dimensions of an embedding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import normalize

from tokmem.data.demonstrations import only_turn
from tokmem.data.fields import did_you_mean, expect, parse_object, read_bytes, take
from tokmem.data.jsonl import example_from_json, example_to_json
from tokmem.errors import ConfigError, DataError, RecallError
from tokmem.files import check_format, recover_folder, replace_folder
from tokmem.methods.retrieval.text_encoder import TextEncoder
from tokmem.records import Choice, Example, Route
from tokmem.tensors import read_tensors

FORMAT = 1
EMBEDDINGS, EXAMPLES = "embeddings.safetensors", "pool.json"


@dataclass(frozen=True)
class Hit:
    """A retrieved example.

    Attributes:
        example: from the pool.
        similarity: cosine of its text's embedding and the query's, from -1 to 1.
    """

    example: Example
    similarity: float


def route_of(hits: Sequence[Hit]) -> Route:
    """The procedures of retrieved examples, the most similar first, with a softmax over best cosines."""
    best: dict[str, float] = {}
    for hit in hits:
        best.setdefault(only_turn(hit.example).procedure, hit.similarity)
    total = sum(exp(similarity) for similarity in best.values())
    choices = tuple(Choice(name, exp(similarity) / total) for name, similarity in best.items())
    return Route(choices, rejected=False, memory_mass=1.0)


class Pool:
    """Solved examples, searched exactly: a flat inner-product index over embeddings of length 1.

    Each distinct text is embedded and indexed once, also if several examples have it. Examples with equal
    texts, and texts that are equally similar, rank by their order of arrival.

    Args:
        encoder: embeds texts.
        text: gives the text of an example that queries are compared with.

    Raises:
        ConfigError: `faiss` is not installed.
    """

    def __init__(self, encoder: TextEncoder, text: Callable[[Example], str]) -> None:
        self._faiss = _import_faiss()
        self.encoder, self.text = encoder, text
        self._clear()

    def _clear(self) -> None:
        self._known: dict[Example, None] = {}
        self._rows: dict[str, int] = {}
        self._sharing: list[list[Example]] = []
        self._rows_of: dict[str, dict[int, None]] = {}
        self._index: Any = None

    def __len__(self) -> int:
        return len(self._known)

    @property
    def examples(self) -> tuple[Example, ...]:
        """All examples, in order of arrival."""
        return tuple(self._known)

    @property
    def procedures(self) -> tuple[str, ...]:
        """Procedures of the examples, in order of arrival."""
        return tuple(self._rows_of)

    def add(self, examples: Iterable[Example]) -> None:
        """Adds the examples that the pool does not have yet.

        Raises:
            DataError: an example has no turn, or several.
        """
        new = [e for e in dict.fromkeys(examples) if e not in self._known]
        for example in new:
            only_turn(example)
        texts = [t for t in dict.fromkeys(map(self.text, new)) if t not in self._rows]
        if texts:
            self._add_rows(self.embed(texts))
        self._register(new)

    def _register(self, examples: Sequence[Example]) -> None:
        """Registers examples under the rows of their texts; new texts take the next rows."""
        for example in examples:
            row = self._rows.setdefault(self.text(example), len(self._rows))
            if row == len(self._sharing):
                self._sharing.append([])
            self._sharing[row].append(example)
            self._rows_of.setdefault(only_turn(example).procedure, {})[row] = None
            self._known[example] = None

    def _add_rows(self, embeddings: Tensor) -> None:
        if self._index is None:
            self._index = self._faiss.IndexFlatIP(embeddings.shape[1])
        self._index.add(embeddings.numpy())

    def embed(self, texts: Sequence[str]) -> Tensor:
        """(Q, D) embeddings of length 1, float32, on the CPU; equal texts have equal ones."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        vectors = normalize(self.encoder(list(places)).detach().float().cpu(), dim=-1)
        return vectors[torch.tensor([places[text] for text in texts])]

    def nearest(self, embeddings: Tensor, k: int, procedures: Sequence[str] | None = None) -> list[list[Hit]]:
        """The k examples whose texts are most similar to each query, the most similar first.

        Args:
            embeddings: (Q, D) embeddings of the queries, from `embed`.
            k: number of examples; a smaller pool gives all it has.
            procedures: for each query, the procedure to choose examples of; None allows any.

        Raises:
            RecallError: the pool is empty, or has no example of a procedure.
        """
        if not self._known:
            raise RecallError("an empty pool", "solved examples to retrieve", "learn some first")
        if procedures is None:
            return self._search(embeddings, k, None)
        hits: dict[int, list[Hit]] = {}
        for name in dict.fromkeys(procedures):
            if name not in self._rows_of:
                raise RecallError(
                    f"no example of procedure {name!r} in the pool{did_you_mean(name, self._rows_of)}",
                    "a procedure that was learned",
                    "learn it first",
                )
            places = [i for i, other in enumerate(procedures) if other == name]
            hits |= zip(places, self._search(embeddings[torch.tensor(places)], k, name), strict=True)
        return [hits[i] for i in range(len(procedures))]

    def _search(self, embeddings: Tensor, k: int, procedure: str | None) -> list[list[Hit]]:
        """As `nearest`, for queries that all search one procedure, or all any."""
        rows = list(range(len(self._sharing)) if procedure is None else self._rows_of[procedure])
        options: dict[str, Any] = {}
        if procedure is not None:
            only = self._faiss.IDSelectorBatch(rows)
            options["params"] = self._faiss.SearchParameters(sel=only)
        found = self._top(embeddings, min(k, len(rows)), len(rows), options)
        return [
            self._hits(scores, places, procedure)[:k]
            for scores, places in zip(*(part.tolist() for part in found), strict=True)
        ]

    def _top(self, embeddings: Tensor, wanted: int, most: int, options: Mapping[str, Any]) -> tuple[Any, Any]:
        """Scores and rows of the nearest; all of those that tie with the last, of which faiss keeps any."""
        count = min(wanted + 1, most)
        while True:
            scores, rows = self._index.search(embeddings.numpy(), count, **options)
            if count == most or (scores[:, -1] < scores[:, wanted - 1]).all():
                return scores, rows
            count = min(2 * count, most)

    def _hits(self, scores: Sequence[float], rows: Sequence[int], procedure: str | None) -> list[Hit]:
        ranked = sorted(zip(scores, rows, strict=True), key=lambda pair: (-pair[0], pair[1]))
        return [
            Hit(example, score)
            for score, row in ranked
            for example in self._sharing[row]
            if procedure is None or only_turn(example).procedure == procedure
        ]

    def save(self, folder: Path, settings: Mapping[str, Any], training: Mapping[str, Any]) -> None:
        """Writes the pool as a folder, replacing an older one as a whole.

        Args:
            folder: where to.
            settings: the settings that decided the texts, as JSON.
            training: where the pool comes from, in any form.
        """
        count = len(self._sharing)
        rows = torch.from_numpy(self._index.reconstruct_n(0, count)) if count else torch.empty(0, 0)
        stored = {
            "format": FORMAT,
            "settings": {"encoder": self.encoder.name, **settings},
            "training": dict(training),
            "examples": [example_to_json(example) for example in self._known],
        }
        text = json.dumps(stored, indent=1, allow_nan=False)
        with replace_folder(folder, (EXAMPLES, EMBEDDINGS)) as draft:
            # Bytes first: safetensors' own writer does not report a full disk.
            (draft / EMBEDDINGS).write_bytes(save({"embeddings": rows}))
            (draft / EXAMPLES).write_text(text + "\n", encoding="utf-8")

    def load(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Replaces this pool by a saved one; a refused pool changes nothing.

        Raises:
            ConfigError: it was saved with other settings, or embedded by another encoder.
            DataError: there is none, or it is damaged.
        """
        recover_folder(folder)
        path = folder / EXAMPLES
        raw = _read(path)
        for key, wanted in {"encoder": self.encoder.name, **settings}.items():
            got = take(raw, "settings", dict, str(path)).get(key)
            if got != wanted:
                raise ConfigError(f"pool {folder} with {key} {got!r}", f"{wanted!r}", "use the same settings")
        items = take(raw, "examples", list, str(path))
        places = [f"{path}: `examples`[{index}]" for index in range(len(items))]
        examples = [
            example_from_json(expect(item, dict, place), place)
            for item, place in zip(items, places, strict=True)
        ]
        embeddings = _read_embeddings(folder / EMBEDDINGS, len({self.text(e) for e in examples}))
        self._clear()
        if examples:
            self._add_rows(embeddings)
        self._register(examples)


def _read(path: Path) -> dict[str, object]:
    raw = parse_object(read_bytes(path), str(path))
    check_format(path, raw.get("format"), FORMAT, DataError)
    return raw


def _read_embeddings(path: Path, count: int) -> Tensor:
    """(N, D) embeddings of `count` texts."""
    embeddings = read_tensors(path, DataError).get("embeddings", torch.empty(0))
    if embeddings.ndim != 2 or len(embeddings) != count or embeddings.dtype != torch.float32:
        raise DataError(
            f"{path}: {embeddings.dtype} of shape {tuple(embeddings.shape)}",
            f"float32 with a row for each of {count} texts",
            "take it from a copy, or learn again",
        )
    return embeddings


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(f"no faiss ({error})", "it, to retrieve", "pip install 'tokmem[rag]'") from error
    return faiss
