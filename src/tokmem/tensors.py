"""Reads safetensors files that a program wrote, and refuses damaged ones by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tokmem.errors import TokMemError

if TYPE_CHECKING:  # importing it takes seconds
    from torch import Tensor

_COPY = "take it from a copy"


def read_tensors(path: Path, kind: type[TokMemError], sha256: object = None) -> dict[str, Tensor]:
    """Reads a file once, so that a writer beside cannot change it between check and use.

    Args:
        path: the file.
        kind: the error to raise.
        sha256: hex digest that the file must have; None checks nothing.

    Raises:
        TokMemError: as `kind`; the file is missing, has another digest, or is not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_whole(path, kind, sha256)
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:  # ValueError: overlapping or empty tensors
        raise kind(f"{path} cannot be read ({error})", "a safetensors file", _COPY) from error


def read_whole(path: Path, kind: type[TokMemError], sha256: object = None) -> bytes:
    """Reads the bytes of a file; the arguments are as `read_tensors`'.

    Raises:
        TokMemError: as `kind`; the file is missing or has another digest.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise kind(
            f"no {path.name} in {path.parent} ({error.strerror})", "all files as saved", _COPY
        ) from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise kind(f"{path} is truncated or was edited after saving", "the file as saved", _COPY)
    return data


def check_shapes(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    path: Path,
    kind: type[TokMemError],
) -> None:
    """Refuses tensors whose names, shapes or kinds of number differ from those wanted.

    Args:
        found: the tensors of a file.
        wanted: tensors of the right names and shapes.
        path: the file.
        kind: the error to raise.

    Raises:
        TokMemError: as `kind`; the message names the first tensor that differs.
    """
    for name in sorted({*found, *wanted}):
        got, want = (_described(tensors.get(name)) for tensors in (found, wanted))
        if got != want:
            raise kind(f"{path} with {name} {got}", f"{name} {want}", _COPY)


def _described(tensor: Tensor | None) -> str:
    if tensor is None:
        return "missing"
    kind = "numbers" if tensor.is_floating_point() else str(tensor.dtype)
    return f"of {kind}, shape {tuple(tensor.shape)}"
