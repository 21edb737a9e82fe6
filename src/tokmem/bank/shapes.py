"""Checks the tensors of a saved bank against what `bank.json` says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from tokmem.bank.addresses import Reference
from tokmem.bank.policy import MOMENTS
from tokmem.bank.schema import REMEDY
from tokmem.bank.statistics import REFERENCE
from tokmem.errors import BankError


def check_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], path: Path) -> None:
    """Refuses tensors other than those that the facts announce.

    Args:
        tensors: of the bank's rows and query states.
        facts: checked contents of `bank.json`.
        path: of the file of the tensors, for messages.

    Raises:
        BankError: a tensor is missing, unknown, or of another shape or kind.
    """
    slots = sum(len(entry["ids"]) for entry in facts["procedures"])
    states = sum(entry["states"] for entry in facts["procedures"])
    rows = {"steering": slots} | ({} if facts["coupled"] else {"address": slots})
    rows |= {"states": states} if states else {}
    _check_shapes(tensors, {name: (count, facts["dim"]) for name, count in rows.items()}, path)


def check_statistics(sums: Mapping[str, Tensor], facts: Mapping[str, Any], path: Path) -> None:
    """Refuses statistics other than those that the facts announce; the arguments are as `check_tensors`'.

    Raises:
        BankError: a tensor is missing, unknown, or of another shape or kind.
    """
    count, dim = len(facts["closed_form"]["names"]), facts["dim"]
    packed = (dim * (dim + 1) // 2,)
    shapes: dict[str, tuple[int, ...]] = {"counts": (count,), "levels": (count,), "sums": (count, dim)}
    shapes["scatter"] = packed
    for name in MOMENTS:
        if name in facts["closed_form"]:
            shapes |= {name: (dim,), f"{name}.scatter": packed}
    if any(name.startswith(REFERENCE) for name in sums):
        matrices, rows = ("metric", "background"), ("mean", "unit", "call")
        for field in fields(Reference):
            shape = packed if field.name in matrices else (dim,) if field.name in rows else ()
            shapes[REFERENCE + field.name] = shape
    _check_shapes(sums, shapes, path)


def _check_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    numbers = all(tensor.is_floating_point() or name == "counts" for name, tensor in tensors.items())
    if found != shapes or not numbers:
        raise BankError(f"{path} holds {found}", f"numbers {dict(shapes)}, as bank.json says", REMEDY)
