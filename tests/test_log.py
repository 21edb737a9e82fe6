from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tokmem.errors import TokMemError
from tokmem.log import Metrics, configure, logger, postfix, progress


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_are_flushed_rounded_and_valid_json(tmp_path: Path) -> None:
    with Metrics(tmp_path / "run" / "m.jsonl") as metrics:
        metrics.write(
            3, {"loss": 1.23456789, "rate": 1e-9 / 3, "bad": float("nan"), "by": {"a": [2.00000001]}}
        )
        assert lines(metrics.path) == [
            {"step": 3, "loss": 1.23457, "rate": 3.33333e-10, "bad": "nan", "by": {"a": [2.0]}}
        ]


def test_truncate_drops_later_steps_and_goes_on(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m.jsonl") as metrics:
        for step in (1, 2, 3, 4):
            metrics.write(step, {"text": "a\u2028b"})
    with Metrics(tmp_path / "m.jsonl") as metrics:
        metrics.truncate(after_step=2)
        metrics.write(3, {"again": True})
    assert [line["step"] for line in lines(tmp_path / "m.jsonl")] == [1, 2, 3]
    assert lines(tmp_path / "m.jsonl")[2] == {"step": 3, "again": True}


def test_a_line_torn_by_a_kill_is_cut_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    with Metrics(path) as metrics:
        metrics.write(2, {})
    assert lines(path) == [{"step": 1}, {"step": 2}]


def test_truncate_refuses_a_foreign_line_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"loss": 1}\n')
    with Metrics(path) as metrics, pytest.raises(TokMemError, match="line 2"):
        metrics.truncate(0)
    assert len(lines(path)) == 2


@pytest.mark.parametrize("line", [b"\xff", b"[" * 3000, b'{"step": [1]}'])
def test_truncate_refuses_what_is_no_line_of_a_step(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b"\n")
    with Metrics(path) as metrics, pytest.raises(TokMemError, match="line 2"):
        metrics.truncate(0)


def test_bar_is_silent_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for force in (False, True):
        with progress(2, "training", force=force) as bar:
            postfix(bar, loss=1.23456, step=7)
            bar.update()
            bar.refresh()
        out, err = capsys.readouterr()
        assert out == ""
        assert ("training" in err) == ("loss 1.235, step 7" in err) == force


def lines_of_a_bar(
    seconds: float, steps: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, **bar: Any
) -> list[str]:
    """What is logged by a bar off a terminal whose steps take the given seconds."""
    now = [0.0]
    monkeypatch.setattr("tokmem.log.monotonic", lambda: now[0])
    with caplog.at_level("INFO", "tokmem"), progress(steps, "reading", **bar) as shown:
        for _ in range(steps):
            now[0] += seconds
            shown.update()
    return [record.message for record in caplog.records]


def test_off_a_terminal_lines_of_the_log_say_how_far_it_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines_of_a_bar(1.0, 100, caplog, monkeypatch, unit="query") == [
        "reading: 10 of 100 query, about 01:30 left",
        "reading: 40 of 100 query, about 01:00 left",
        "reading: 70 of 100 query, about 00:30 left",
        "reading: 100 of 100 query, about 00:00 left",
    ]
    assert "|" not in capsys.readouterr().err, "no bar is drawn"


def test_what_is_short_logs_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lines_of_a_bar(0.09, 100, caplog, monkeypatch) == []


def test_a_line_of_bytes_is_short(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = lines_of_a_bar(12.0, 1, caplog, monkeypatch, unit="B", unit_scale=True)
    assert line == "reading: 1.00 of 1.00 B, about 00:00 left"


@pytest.fixture
def _restored() -> Iterator[None]:
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("with_rich", [True, False])
def test_configure_twice_shows_a_record_once_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, with_rich: bool
) -> None:
    if not with_rich:
        monkeypatch.setitem(sys.modules, "rich.logging", None)
    configure("INFO")
    configure(logging.WARNING)
    logger.info("quiet")
    logger.warning("loud [b]")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("loud [b]") == 1
    assert "quiet" not in err


def test_a_program_without_logging_of_its_own_sees_warnings_alone() -> None:
    code = "from tokmem.log import logger; logger.info('hidden'); logger.warning('shown')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "shown\n")


def test_a_bar_off_a_terminal_counts_as_a_drawn_one_does() -> None:
    with progress(10, "bytes", initial=3) as bar:
        bar.update(4)
        assert (bar.n, bar.total) == (7, 10)
