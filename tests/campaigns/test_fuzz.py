"""Damaged files of every kind: only `TokMemError`s leave the public functions that read them."""

from __future__ import annotations

import os
import resource
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
pytest.importorskip("peft")
pytest.importorskip("gguf")

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.campaigns.kinds import Kind, all_kinds
from tests.campaigns.ledger import SEED, SHARE, Ledger
from tokmem.errors import TokMemError
from tokmem.log import logger

pytestmark = pytest.mark.slow
LONGEST = 10  # seconds for a file
MOST_MEMORY = 1 << 30  # bytes above what the process has


@contextmanager
def bounded() -> Iterator[None]:
    """Bounds the memory of the process within the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def hung(*_: object) -> None:
    raise AssertionError(f"no end within {LONGEST} s")


def fuzz(kind: Kind, ledger: Ledger) -> None:
    """Reads damaged files; counts what is not refused by a `TokMemError` and not read."""
    whole = {path: path.read_bytes() for path in kind.path.parent.iterdir() if path.is_file()}
    tally = ledger.tally(kind.what)
    left = max(1, round(kind.full * SHARE)) - tally.tried
    if left <= 0:
        return tally.finish()

    @seed(SEED + tally.tried)
    @settings(
        max_examples=left,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.strategy(), st.booleans())
    def one(content: bytes, signed: bool) -> None:
        with tally.counted(f"mutation {tally.tried}", content):
            try:
                kind.path.write_bytes(content)
                if signed and kind.sign:
                    kind.sign()
                signal.alarm(LONGEST)
                kind.read()
            except TokMemError:
                pass
            finally:
                signal.alarm(0)
                for path, data in whole.items():
                    path.write_bytes(data)

    with bounded(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one()
    return tally.finish()


def test_damaged_files_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(logger, "disabled", True)
    before = signal.signal(signal.SIGALRM, hung)
    ledger = Ledger("fuzz")
    try:
        for kind in all_kinds(tmp_path):
            with subtests.test(kind.what):
                fuzz(kind, ledger)
    finally:
        signal.signal(signal.SIGALRM, before)
