"""The recorded session of docs/start.md is what its commands show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tokmem.model.catalog import CATALOG, SMOLLM2
from tokmem.model.converted import converted_folders
from tools.record_session import PAGE, sessions, shown

RECORDED = sessions(PAGE.read_text("utf-8"))


def words_alone(text: str) -> list[str]:
    """The words of a text without its numbers, frames and blanks: those of a table vary in width."""
    return re.findall(r"[^\W\d_]{2,}", text)


def test_the_session_goes_from_an_empty_folder_to_an_answer() -> None:
    assert [command.split()[:2] for command, _ in RECORDED] == [
        ["tokmem", "init"],
        ["tokmem", "train"],
        ["tokmem", "recall"],
    ]


def test_the_first_command_shows_what_was_recorded(tmp_path: Path) -> None:
    command, text = RECORDED[0]
    assert shown(command, tmp_path) == text


@pytest.mark.slow
def test_the_others_show_what_was_recorded(tmp_path: Path) -> None:
    """But for numbers: they depend on the machine."""
    wheel = CATALOG[SMOLLM2].wheel
    if not any(held.sha256 == wheel.member_sha256 for held in converted_folders()):
        pytest.skip("SmolLM2 is not in the cache; fetch it with `tokmem backbone get smollm2`")
    for command, text in RECORDED:
        assert words_alone(shown(command, tmp_path)) == words_alone(text), command
