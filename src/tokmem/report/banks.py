"""Describes banks and their procedures for a terminal."""

from __future__ import annotations

from typing import Any

from torch.nn.functional import cosine_similarity

from tokmem.bank.bank import Bank
from tokmem.bank.store import Origin
from tokmem.report.tables import Table


def bank_records(bank: Bank) -> list[dict[str, Any]]:
    """Describes each procedure for JSON: `procedure`, `ids` (of its memory tokens) and `description`."""
    return [
        {"procedure": name, "ids": list(ids), "description": bank.procedures[name].description}
        for name, ids in bank.memory.items()
    ]


def bank_table(bank: Bank) -> Table:
    """Makes a table of the procedures, their token ids and descriptions."""
    rows = [one | {"ids": ", ".join(map(str, one["ids"]))} for one in bank_records(bank)]
    return Table(rows, {"procedure": "procedure", "ids": "token ids", "description": "description"})


def bank_line(bank: Bank, origin: Origin) -> str:
    """Describes a bank in a line: its size, kind and backbone."""
    kind = "coupled" if bank.coupled else "decoupled"
    size = f"{len(bank)} procedures, {kind}, {len(bank.slots)} rows of dimension {bank.dim}"
    return f"{size}; backbone {origin.backbone} ({origin.fingerprint})"


def procedure_facts(bank: Bank, name: str) -> list[tuple[str, str]]:
    """Lists labels and facts of a procedure: description, token ids, norms of its rows.

    Raises:
        BankError: the bank has no such procedure.
    """
    ids = bank.slots.ids(name)
    address, steering = bank.rows(name)
    return [
        ("procedure", name),
        ("description", bank.procedures[name].description or "-"),
        ("token ids", ", ".join(map(str, ids))),
        ("address norm", f"{float(address.norm()):.4g}"),
        ("steering norm", ", ".join(f"{norm:.4g}" for norm in steering.norm(dim=-1).tolist())),
    ]


def nearest_table(bank: Bank, name: str, count: int) -> Table:
    """Makes a table of the procedures whose addresses have the highest cosines with one's own.

    Raises:
        BankError: the bank has no such procedure.
    """
    cosines = cosine_similarity(bank.addresses(), bank.rows(name)[0][None]).tolist()
    ranked = sorted(zip(cosines, bank.names, strict=True), reverse=True)
    near = [{"procedure": other, "cosine": value} for value, other in ranked if other != name]
    return Table(near[:count], {"procedure": "nearest", "cosine": "cosine"}, {"cosine": ".3f"})
