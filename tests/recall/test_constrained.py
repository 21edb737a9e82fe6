from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PythonBackend

from tests.data.tiny_chat import LLAMA, spaced_tokenizer, tiny_tokenizer
from tests.tiny import DIM, tiny_backbone
from tokmem.bank.bank import Bank
from tokmem.errors import ConfigError, RecallError
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.constrained import Guides
from tokmem.recall.generate import Generation, Recaller
from tokmem.recall.settings import RecallSettings
from tokmem.records import Procedure

pytest.importorskip("llguidance")

# Every value is short, so that a random model comes to the end of it.
SCHEMAS: dict[str, dict[str, Any] | None] = {
    "weather": {
        "type": "object",
        "properties": {
            "city": {"enum": ["Paris", "Rome", 'a "b"']},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "switch": {
        "type": "object",
        "properties": {
            "on": {"type": "boolean"},
            "rooms": {"type": "array", "items": {"enum": ["hall", "attic"]}, "minItems": 1, "maxItems": 3},
        },
        "required": ["rooms"],
        "additionalProperties": False,
    },
    "nothing": {"type": "object", "properties": {}, "additionalProperties": False},
    "free": None,
}
MOST = 80
TOKENIZER = tiny_tokenizer(LLAMA)
STOP = TOKENIZER.eos_token_id


def build(width: int = 1, seed: int = 0, schemas: dict[str, Any] = SCHEMAS) -> MemoryLM:
    backbone = tiny_backbone(TOKENIZER, seed)
    bank = Bank(DIM, backbone.id_space())
    draws = torch.Generator().manual_seed(seed)
    procedures = [Procedure(name, parameters=schema) for name, schema in schemas.items()]
    bank.add(procedures, torch.randn(len(procedures), width, DIM, generator=draws) * 0.1)
    return MemoryLM(backbone.model, bank)


def recall(lm: MemoryLM, procedures: Any = None, count: int = 16, **options: Any) -> list[Generation]:
    settings = RecallSettings(
        **{"mode": "chain", "max_new_tokens": MOST, "batch_size": 5, "constrained": True} | options
    )
    guides = Guides(lm.bank.procedures.values(), TOKENIZER, lm.head.model_rows, [STOP])
    draws = torch.Generator().manual_seed(1)
    prompts = torch.randint(20, 300, (count, 12), generator=draws).tolist()
    return Recaller(lm, [STOP], settings, guides)([p[: 3 + i % 9] for i, p in enumerate(prompts)], procedures)


def texts(generation: Generation) -> list[tuple[str, str]]:
    return [(name, TOKENIZER.decode(ids)) for name, ids in generation.turns]


def check(generation: Generation) -> None:
    """Each turn with a schema is valid and in the fixed style, the last of a response cut short aside."""
    jsonschema = pytest.importorskip("jsonschema")
    written = texts(generation)
    for name, text in written if generation.finished else written[:-1]:
        if (schema := SCHEMAS[name]) is not None:
            value = json.loads(text)
            jsonschema.validate(value, schema)
            assert text == json.dumps(value)


@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize(("width", "temperature"), [(1, 0.0), (2, 0.0), (1, 1.0), (2, 1.5)])
def test_arguments_are_always_valid(width: int, temperature: float, continuous: bool) -> None:
    found = recall(build(width), temperature=temperature, continuous=continuous)
    for generation in found:
        check(generation)
    assert sum(len(g.turns) for g in found) > 2 * len(found), "chains"
    assert len({name for g in found for name, _ in g.turns}) > 2
    assert all(len(g.routes) == len(g.turns) for g in found)


def test_a_random_model_alone_writes_no_arguments() -> None:
    found = recall(build(), constrained=False, max_new_tokens=40)
    assert not any(text.startswith("{") for g in found for _, text in texts(g))


@pytest.mark.parametrize("width", [1, 2])
def test_forced_procedures_have_valid_arguments_too(width: int) -> None:
    forced = [["switch", "weather", "nothing"], ["nothing", "nothing"], ["weather"], []] * 3
    found = recall(build(width), forced, count=12, temperature=1.0)
    for generation, wanted in zip(found, forced, strict=True):
        names = [name for name, _ in generation.turns]
        assert names == wanted[: len(names)]
        assert names == wanted or not generation.finished
        check(generation)
    assert any(g.finished and len(g.turns) == 3 for g in found)


def test_what_is_valid_already_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that writes digits, one letter and the stop alone: some of its responses are integers."""
    lm = build(schemas={"number": {"type": "integer"}})
    kept = [*TOKENIZER.convert_tokens_to_ids([*"123456789x"]), STOP]
    native = lm.head.native

    def few_tokens(hidden: Tensor) -> Tensor:
        logits = native(hidden)
        return torch.full_like(logits, -100.0).index_copy(1, torch.tensor(kept), logits[:, kept])

    monkeypatch.setattr(lm.head, "native", few_tokens)
    free, guided = (recall(lm, count=40, constrained=on, max_new_tokens=12) for on in (False, True))
    valid = [g.finished and all(text.isdigit() for _, text in texts(g)) for g in free]
    assert 0 < sum(valid) < len(valid)
    for one, other, fine in zip(free, guided, valid, strict=True):
        assert (one.turns == other.turns) == fine or not other.finished


def test_an_atomic_recall_and_a_procedure_without_schema_stay_free() -> None:
    lm = build()
    for options in ({"mode": "atomic"}, {"mode": "chain"}):
        forced = None if options["mode"] == "atomic" else [["free"]] * 16
        both = [recall(lm, forced, constrained=on, max_new_tokens=20, **options) for on in (True, False)]
        assert both[0] == both[1]
        assert any(g.turns[0][1] for g in both[0])


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "objec"}, "Invalid type: objec"),
        ({"type": "object", "not": {"required": ["a"]}}, "not"),
        ({"$ref": "#/nope"}, "nope"),
    ],
)
def test_a_schema_that_is_refused_is_named(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecallError, match=rf"schema of procedure 'bad'.*{reason}"):
        Guides([Procedure("bad", parameters=schema)], TOKENIZER, 500, [STOP])


def test_tokenizers_that_cannot_be_read_are_named() -> None:
    class Slow(PythonBackend):
        vocab_size = 3

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "b": 1, "c": 2}

    with pytest.raises(ConfigError, match="slow tokenizer Slow"):
        Guides([], Slow(), 500, [STOP])
    with pytest.raises(ConfigError, match="Metaspace"):
        Guides([], spaced_tokenizer(LLAMA), 500, [STOP])


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ConfigError, match=r"tokmem\[constrained\]"):
        Guides([], TOKENIZER, 500, [STOP])


def test_guides_are_needed() -> None:
    with pytest.raises(ConfigError, match="without guides"):
        Recaller(build(), [STOP], RecallSettings(mode="chain", constrained=True))
    Recaller(build(), [STOP], RecallSettings(constrained=True))
