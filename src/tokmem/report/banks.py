"""Describes banks and their procedures for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokmem.records import Composition, counted
from tokmem.report.tables import Table

if TYPE_CHECKING:  # importing it takes seconds
    from tokmem.bank.bank import Bank


def bank_records(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describes each procedure for JSON: `procedure`, `ids` (of its memory tokens) and `description`.

    Args:
        facts: of a saved bank, from `read_facts`.
    """
    return [
        {"procedure": one["name"], "ids": one["ids"], "description": one["description"]}
        for one in facts["procedures"]
    ]


def bank_table(facts: Mapping[str, Any]) -> Table:
    """Makes a table of the procedures, their token ids and descriptions; `facts` as `bank_records` takes."""
    rows = [one | {"ids": ", ".join(map(str, one["ids"]))} for one in bank_records(facts)]
    return Table(rows, {"procedure": "procedure", "ids": "token ids", "description": "description"})


def bank_line(facts: Mapping[str, Any]) -> str:
    """Describes a bank in a line: its size, kind and backbone; `facts` as `bank_records` takes."""
    kind, origin = "coupled" if facts["coupled"] else "decoupled", facts["origin"]
    procedures = facts["procedures"]
    rows = sum(len(one["ids"]) for one in procedures)
    size = f"{counted(len(procedures))}, {kind}, {rows} rows of dimension {facts['dim']}"
    return f"{size}; backbone {origin['backbone']} ({origin['fingerprint']})"


def procedure_facts(bank: Bank, name: str) -> list[tuple[str, str]]:
    """Lists labels and facts of a procedure: description, token ids, norms of its rows.

    A composition token has no address; it has the procedures that it has learned to join.

    Raises:
        BankError: the bank has no such procedure.
    """
    ids = bank.slots.ids(name)
    address, steering = bank.rows(name)
    own = bank.procedures[name]
    chosen = ("address norm", f"{float(address.norm()):.4g}")
    if isinstance(own, Composition):
        chosen = ("joins", ", ".join(" + ".join(pair) for pair in own.pairs))
    return [
        ("procedure", name),
        ("description", own.description or "-"),
        ("token ids", ", ".join(map(str, ids))),
        chosen,
        ("steering norm", ", ".join(f"{norm:.4g}" for norm in steering.norm(dim=-1).tolist())),
    ]


def nearest_table(bank: Bank, name: str, count: int) -> Table:
    """Makes a table of the procedures whose addresses have the highest cosines with one's own, if it has one.

    Raises:
        BankError: the bank has no such procedure.
    """
    from torch.nn.functional import cosine_similarity

    cosines = cosine_similarity(bank.addresses(), bank.rows(name)[0][None]).tolist()
    ranked = sorted(zip(cosines, bank.routed, strict=True), reverse=True)
    near = [{"procedure": other, "cosine": value} for value, other in ranked if other != name]
    count = 0 if bank.procedures[name].joins else count
    return Table(near[:count], {"procedure": "nearest", "cosine": "cosine"}, {"cosine": ".3f"})
