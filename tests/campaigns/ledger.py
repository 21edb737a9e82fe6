"""Counts the trials of a campaign. A stopped campaign goes on after its last trial that was written."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import torch
import transformers

from tokmem.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from tokmem.provenance import source_state

ROOT = Path(__file__).parents[2]
WORK = ROOT / "runs" / "campaigns"
RESULTS = ROOT / "results" / "reliability"
WRITE_EVERY = 2.0  # seconds between two writes of the counts
SEED = int(os.environ.get("TOKMEM_CAMPAIGN_SEED", "0"))
SHARE = float(os.environ.get("TOKMEM_CAMPAIGN_SHARE", "1"))


class Ledger:
    """The rows of one campaign: what was tried, how often, and how often it failed.

    Args:
        campaign: its name; the result is `results/reliability/<campaign>.json`.
    """

    def __init__(self, campaign: str) -> None:
        self.campaign, self.path = campaign, WORK / f"{campaign}.json"
        self.rows: dict[str, dict[str, object]] = {}
        if self.path.is_file():
            self.rows = json.loads(self.path.read_text("utf-8"))

    def run(self, what: str, full: int, trial: Callable[[int], None], **facts: object) -> None:
        """Runs the trials that are missing, writes the result, and fails if any trial ever failed.

        Args:
            what: names the row.
            full: number of trials of a full campaign; `TOKMEM_CAMPAIGN_SHARE` runs a share of it.
            trial: one trial, by its number; it raises if something is wrong.
            facts: more entries of the row.
        """
        tally = self.tally(what, **facts)
        for number in range(tally.tried, max(1, round(full * SHARE))):
            with tally.counted(f"trial {number}"):
                trial(number)
        tally.finish()

    def tally(self, what: str, **facts: object) -> Tally:
        """The counts of a row, as they were written last."""
        return Tally(self, what, facts)

    def write(self, what: str, row: dict[str, object]) -> None:
        """Writes the progress, and the result that is committed."""
        self.rows[what] = row
        atomic_write_json(self.path, self.rows)
        state = source_state(ROOT / "src")
        versions = {"python": platform.python_version(), "torch": torch.__version__}
        versions["transformers"] = transformers.__version__
        rows = [{"what": name, **self.rows[name]} for name in self.rows]
        facts = {"kind": "reliability", "name": self.campaign, "rows": rows}
        origin = {"commit": state.commit, "dirty": state.dirty, "versions": versions}
        atomic_write_json(RESULTS / f"{self.campaign}.json", {**facts, "provenance": origin})


class Tally:
    """The counts of one row."""

    def __init__(self, ledger: Ledger, what: str, facts: dict[str, object]) -> None:
        self.ledger, self.what, self.facts = ledger, what, facts
        held = ledger.rows.get(what, {})
        self.tried, self.failed = int(str(held.get("tried", 0))), int(str(held.get("failed", 0)))
        self.seconds = float(str(held.get("seconds", 0)))
        self._since = self._written = time.monotonic()

    @contextmanager
    def counted(self, name: str, given: bytes = b"") -> Iterator[None]:
        """Counts the block as a trial. An error in it is a failure, kept in a file with what was given."""
        problem = ""
        try:
            yield
        except Exception:  # noqa: BLE001 a trial may fail in any way
            problem = traceback.format_exc()
        self.tried += 1
        if problem:
            self.failed += 1
            stem = WORK / "failures" / self.ledger.campaign / f"{self.what}, {name}".replace("/", "-")
            atomic_write_text(stem.with_name(f"{stem.name}.txt"), problem)
            atomic_write_bytes(stem.with_name(f"{stem.name}.given"), given)
        if time.monotonic() - self._written > WRITE_EVERY:
            self.write()

    def write(self) -> None:
        """Writes the counts."""
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = self._written = now
        row: dict[str, object] = {"tried": self.tried, "failed": self.failed, "seed": SEED}
        self.ledger.write(self.what, row | {"seconds": round(self.seconds, 1)} | self.facts)

    def finish(self) -> None:
        """Writes the counts, and fails if a trial failed."""
        self.write()
        assert not self.failed, f"{self.failed} of {self.tried}: {self.what}; see {WORK / 'failures'}"


def draws_of(what: str, number: int) -> int:
    """The seed of one trial: of the campaign's seed, what is tried, and its number."""
    return crc32(f"{SEED} {what} {number}".encode())
