"""The geometry of a bank as a record: `tokmem analyze` writes it, and the report shows it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from torch import Tensor
from torch.nn.functional import avg_pool2d

from tokmem.bank.bank import Bank
from tokmem.bank.facts import Origin
from tokmem.errors import BankError
from tokmem.eval.geometry import cluster, cluster_order, cosines, neighbours, paired_cosines, project

KIND = "geometry"
_HEAT_CELLS = 128  # a finer picture shows no more, and its file would grow with P squared


def bank_geometry(bank: Bank, origin: Origin, name: str, k: int = 5) -> dict[str, Any]:
    """Measures the geometry of a bank's memory tokens, the first of each procedure.

    Args:
        bank: a bank with P procedures.
        origin: where the bank comes from.
        name: the bank's name in tables and plots.
        k: nearest neighbours of each procedure.

    Returns:
        plain numbers for JSON. `tables` has one entry if the bank is coupled; else it has one for addresses
        and one for steering, and `address_steering_cosines` has a number for each procedure.

    Raises:
        BankError: the bank has no procedure that queries are routed to.
    """
    if not bank.routed:
        got = f"bank {name} without a procedure that queries are routed to"
        raise BankError(got, "at least one such procedure", "train it first")
    addresses, steering = bank.addresses(), bank.steering.rows()[bank.head_slots]
    tables = {"memory tokens": addresses} if bank.coupled else {"addresses": addresses, "steering": steering}
    record = {
        "kind": KIND,
        "name": name,
        "backbone": origin.backbone,
        "backbone_fingerprint": origin.fingerprint,
        "coupled": bank.coupled,
        "procedures": list(bank.routed),
        "tables": [_table(title, rows, bank.routed, k) for title, rows in tables.items()],
    }
    if not bank.coupled:
        record["address_steering_cosines"] = _rounded(paired_cosines(addresses, steering))
    return record


def _table(title: str, rows: Tensor, names: Sequence[str], k: int) -> dict[str, Any]:
    similarity = cosines(rows)
    merges = cluster(similarity)
    order = cluster_order(similarity, merges)
    points, explained = project(rows)
    block = ceil(len(rows) / _HEAT_CELLS)
    heat = avg_pool2d(similarity[order][:, order][None], block, ceil_mode=True, count_include_pad=False)[0]
    return {
        "name": title,
        "norms": _rounded(rows.norm(dim=1)),
        "neighbours": [
            [{"procedure": names[other], "cosine": round(value, 4)} for other, value in near]
            for near in neighbours(similarity, k)
        ],
        "order": order,
        "merges": [[merge.left, merge.right, round(merge.distance, 4)] for merge in merges],
        "projection": _rounded(points),
        "explained": [round(share, 4) for share in explained],
        "heat_map": {"block": block, "cosines": _rounded(heat)},
    }


def _rounded(values: Tensor) -> Any:
    """Rounds to four decimals, as nested lists."""
    return [_rounded(value) if value.ndim else round(float(value), 4) for value in values]
