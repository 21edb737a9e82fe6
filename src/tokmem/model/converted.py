"""Converts each GGUF file once into the user's cache; from there it loads like any checkpoint."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tokmem.errors import BackboneError, TokMemError
from tokmem.files import atomic_write_json, cache_folder, replace_folder
from tokmem.locks import lock_folder
from tokmem.log import logger
from tokmem.strict_json import parse_json

if TYPE_CHECKING:  # importing it takes seconds
    import torch

FACTS, WEIGHTS = "source.json", "model.safetensors"
_LONGEST = 3600.0  # seconds that a process waits for another one to download and convert


@dataclass(frozen=True)
class Converted:
    """A GGUF file's weights as a folder that transformers loads.

    Attributes:
        folder: holds configuration, weights and tokenizer.
        sha256: hex digest of the GGUF file.
        file: name of the GGUF file.
        dtype: of the weights in the folder, such as "float32".
        fingerprint: of the dequantised weights.
        files: size in bytes and SHA-256 of each file in the folder. The weights have a size only, because
            the fingerprint covers them.
    """

    folder: Path
    sha256: str
    file: str
    dtype: str
    fingerprint: str
    files: Mapping[str, tuple[int, str]]


def convert(sha256: str, dtype: torch.dtype | None, obtain: Callable[[], Path]) -> Converted:
    """Returns the converted folder of a GGUF file; converts the file if the cache lacks a whole one.

    Several processes may call this at once: one converts, the others wait for it.

    Args:
        sha256: hex digest of the file.
        dtype: floating-point type of the weights; None for float32.
        obtain: gives the file; called only if the file has to be converted.

    Raises:
        BackboneError: the file is damaged, or transformers cannot read it.
        TokMemError: the disk is full, or the cache cannot be written.
    """
    name = str(dtype or "float32").removeprefix("torch.")
    folder = backbones_folder() / f"{sha256[:32]}-{name}"
    with locked(folder):
        held = read_converted(folder)
        if held is not None:
            return held
        if folder.exists():
            logger.warning("%s is damaged and is converted again", folder)
            shutil.rmtree(folder)
        path = obtain()
        logger.info("converting %s to %s (once)", path.name, name)
        _write(path, sha256, name, folder)
        made = read_converted(folder)
    if made is None:
        raise BackboneError(f"{folder} cannot be read back", "what was written", "check the disk")
    return made


def backbones_folder() -> Path:
    """`tokmem/backbones` in the user's cache folder."""
    return cache_folder("backbones")


def converted_folders() -> list[Converted]:
    """Lists the whole conversions in the cache."""
    folders = sorted(path.parent for path in backbones_folder().glob(f"*/{FACTS}"))
    return [held for folder in folders if (held := read_converted(folder)) is not None]


def read_converted(folder: Path) -> Converted | None:
    """Reads the facts of a conversion; None if the folder is missing or not whole."""
    try:
        facts = parse_json((folder / FACTS).read_bytes())
        held = Converted(folder=folder, **facts)
        whole = isinstance(held.files, dict) and all(
            _is_whole(folder / name, *expected) for name, expected in held.files.items()
        )
    except (OSError, ValueError, TypeError):
        return None
    return held if whole else None


def _is_whole(path: Path, size: int, sha256: str) -> bool:
    return path.stat().st_size == size and (not sha256 or file_sha256(path) == sha256)


def file_sha256(path: Path) -> str:
    """Computes the SHA-256 of a file, as a hex digest."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds a lock beside `target` within the block; logs if it has to wait. A killed process frees it.

    Raises:
        TokMemError: the cache cannot be written.
    """
    with ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock_folder(target, wait=_LONGEST))
        except OSError as error:
            raise TokMemError(
                f"the cache {target.parent} cannot be written ({error.strerror})",
                "a folder that can be written",
                "set XDG_CACHE_HOME to one",
            ) from error
        yield


def require_space(folder: Path, needed: int) -> None:
    """Refuses to write something large to a disk without the space for it.

    Raises:
        TokMemError: there are fewer than `needed`.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TokMemError(
            f"disk too full for {folder}: {free:,} bytes free",
            f"at least {needed:,} bytes",
            "free some space, or set XDG_CACHE_HOME to a folder on another disk",
        )


def _write(path: Path, sha256: str, name: str, folder: Path) -> None:
    import torch

    from tokmem.model.fingerprint import fingerprint
    from tokmem.model.gguf import check_sizes, count_weights, open_gguf, read_model, read_tokenizer

    dtype: torch.dtype = getattr(torch, name)
    reader = open_gguf(path)
    check_sizes(reader, path)
    require_space(folder.parent, count_weights(reader) * dtype.itemsize + (1 << 24))
    model, tokenizer = read_model(path, dtype), read_tokenizer(path, reader)
    with replace_folder(folder, (FACTS, "*")) as draft:
        model.save_pretrained(draft, max_shard_size="1TB")
        tokenizer.save_pretrained(draft)
        files = {
            file.name: (file.stat().st_size, "" if file.name == WEIGHTS else file_sha256(file))
            for file in sorted(draft.iterdir())
        }
        facts = asdict(Converted(folder, sha256, path.name, name, fingerprint(model), files))
        del facts["folder"]
        atomic_write_json(draft / FACTS, facts)
