"""A bank as one folder: `bank.safetensors`, `bank.json`, and a model card. Whole, or refused.

Where addresses are computed in closed form, `statistics.safetensors` holds what they are computed from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save

from tokmem.bank.bank import Bank
from tokmem.bank.card import card
from tokmem.bank.facts import (
    CARD,
    FACTS,
    FILES,
    FORMAT,
    STATISTICS,
    TENSORS,
    Origin,
    as_read_back,
    checked_facts,
    digest,
    read_settled,
)
from tokmem.bank.shapes import check_statistics, check_tensors
from tokmem.bank.slots import IdSpace
from tokmem.bank.statistics import Statistics
from tokmem.errors import BankError
from tokmem.files import as_path, replace_folder
from tokmem.records import Composition, Procedure
from tokmem.tensors import read_tensors


def save_bank(bank: Bank, folder: Path, origin: Origin) -> None:
    """Writes a bank as a folder; it replaces an older bank as a whole.

    Raises:
        TokMemError: the disk is full, `folder` is a file or holds anything but a bank, or JSON cannot hold
            the origin; what was there is unchanged.
    """
    tensors = {"steering": bank.steering.rows().cpu().contiguous()}
    if not bank.coupled:
        tensors["address"] = bank.address.rows().cpu().contiguous()
    if bank.states:
        tensors["states"] = torch.cat([bank.states[n].cpu() for n in bank.names if n in bank.states])
    with replace_folder(folder, FILES) as draft:
        # safetensors' own writer does not report a full disk, so Python writes the bytes.
        (draft / TENSORS).write_bytes(save(tensors))
        checksums = {"tensors": _sha256(draft / TENSORS)}
        if bank.statistics is not None:
            (draft / STATISTICS).write_bytes(save(bank.statistics.tensors()))
            checksums["statistics"] = _sha256(draft / STATISTICS)
        facts = as_read_back(_facts(bank, origin) | checksums)
        facts["digest"] = digest(facts)
        (draft / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (draft / CARD).write_text(card(bank, origin), "utf-8")


def load_bank(
    folder: Path | str,
    *,
    fingerprint: str | None = None,
    chat: str | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> tuple[Bank, Origin]:
    """Reads a bank back; all its rows are frozen.

    Args:
        folder: folder that `save_bank` wrote.
        fingerprint: fingerprint of the current backbone; None skips the comparison.
        chat: fingerprint of the current chat format; None skips the comparison.
        configuration: settings of the current backbone; only settings that the bank names too are compared.

    Raises:
        TokMemError: the folder is no path.
        BankError: a file is missing, truncated or edited, or the bank is of another backbone or chat format;
            the message names what differs.
    """
    folder = as_path(folder)
    facts, tensors, sums = read_settled(folder, _read)
    origin = Origin(**facts["origin"])
    at_hand, own = configuration or {}, origin.configuration
    for what, got, wanted in (
        ("backbone", origin.fingerprint, fingerprint),
        ("chat format", origin.chat, chat),
        *((f"a backbone with {key}", own[key], at_hand[key]) for key in own.keys() & at_hand.keys()),
    ):
        if wanted is not None and got != wanted:
            raise BankError(
                f"bank {folder} was trained on {what} {got} ({origin.backbone})",
                f"{what} {wanted}, the one at hand",
                f"load the backbone it belongs to ({origin.backbone}), unchanged, or train a new bank",
            )
    space = IdSpace(facts["rows"], tuple(facts["spare"]))
    bank = Bank(facts["dim"], space, coupled=facts["coupled"], policy=facts["policy"])
    start = 0
    for width, group in groupby(facts["procedures"], lambda entry: len(entry["ids"])):
        entries = list(group)
        stop = start + width * len(entries)
        bank.add(
            [_procedure(entry) for entry in entries],
            tensors["steering"][start:stop].view(-1, width, bank.dim),
            None if bank.coupled else tensors["address"][start:stop:width],
            ids=[tuple(entry["ids"]) for entry in entries],
        )
        start = stop
    kept = [(entry["name"], entry["states"]) for entry in facts["procedures"] if entry["states"]]
    if kept:
        parts = tensors["states"].split([count for _, count in kept])
        for (name, _), states in zip(kept, parts, strict=True):
            bank.keep_states(name, states)
    if "closed_form" in facts:
        bank.statistics = Statistics.restore(facts["closed_form"], sums)
    bank.slots.retire(facts["retired"])
    bank.freeze()
    return bank, origin


def _facts(bank: Bank, origin: Origin) -> dict[str, Any]:
    facts = {
        "format": FORMAT,
        "dim": bank.dim,
        "coupled": bank.coupled,
        "policy": bank.slots.policy,
        "rows": bank.slots.space.rows,
        "spare": list(bank.slots.space.spare),
        "retired": list(bank.slots.retired),
        "procedures": [
            asdict(bank.procedures[n])
            | {"ids": list(bank.slots.ids(n)), "states": len(bank.states.get(n, ()))}
            for n in bank.names
        ],
        "origin": asdict(origin),
    }
    return facts if bank.statistics is None else facts | {"closed_form": bank.statistics.facts}


def _procedure(entry: Mapping[str, Any]) -> Procedure:
    """The procedure that an entry describes. A composition token has `pairs`; earlier ones have `joins`."""
    own = (entry["name"], entry["description"], entry["parameters"])
    if entry.get("joins") or "pairs" in entry:
        return Composition(*own, tuple(map(tuple, entry.get("pairs", ()))))
    return Procedure(*own)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Contents(NamedTuple):
    """The checked contents of a bank's files; `sums` is empty if there are no statistics."""

    facts: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    sums: dict[str, torch.Tensor]


def _read(folder: Path) -> _Contents:
    facts, sums = checked_facts(folder), dict[str, torch.Tensor]()
    tensors = read_tensors(folder / TENSORS, BankError, facts["tensors"])
    check_tensors(tensors, facts, folder / TENSORS)
    if "closed_form" in facts:
        sums = read_tensors(folder / STATISTICS, BankError, facts["statistics"])
        check_statistics(sums, facts, folder / STATISTICS)
    return _Contents(facts, tensors, sums)
