from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from tokmem.errors import TokMemError
from tokmem.files import atomic_write_json, atomic_write_text, recover_folder, replace_folder


def tree(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_json_is_written_whole_and_nan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    atomic_write_json(path, {"ü": [1, None]})
    with pytest.raises(TokMemError, match=r"a\.json"):
        atomic_write_json(path, {"loss": float("nan")})
    assert json.loads(path.read_text("utf-8")) == {"ü": [1, None]}
    assert tree(tmp_path).keys() == {"deep/a.json"}


def test_full_disk_keeps_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(TokMemError, match=r"disk full while writing .*a\.txt.*at least 12,345 bytes"):
        atomic_write_text(path, "x" * 12_345)
    assert tree(tmp_path) == {"a.txt": "old"}


def test_other_errors_pass_through_and_leave_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write_text(tmp_path / "a.txt", "new")
    assert tree(tmp_path) == {}


def fill(target: Path, text: str) -> None:
    with replace_folder(target, ("sub",)) as draft:
        (draft / "sub").mkdir()
        (draft / "sub" / text).write_text(text)


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "bank.old").mkdir()
    (tmp_path / "bank.old" / "mine").write_text("a backup made by hand")
    fill(tmp_path / "bank", "one")
    fill(tmp_path / "bank", "two")
    assert tree(tmp_path) == {"bank/sub/two": "two", "bank.old/mine": "a backup made by hand"}


def fill_half(target: Path, error: Exception) -> None:
    with replace_folder(target, ("sub",)) as draft:
        (draft / "half").write_text("half")
        raise error


def test_failing_block_leaves_the_old_folder(tmp_path: Path) -> None:
    fill(tmp_path / "bank", "one")
    with pytest.raises(ZeroDivisionError):
        fill_half(tmp_path / "bank", ZeroDivisionError())
    assert tree(tmp_path) == {"bank/sub/one": "one"}


def test_full_disk_leaves_the_old_folder(tmp_path: Path) -> None:
    fill(tmp_path / "bank", "one")
    with pytest.raises(TokMemError, match="bytes free; wanted: more than that"):
        fill_half(tmp_path / "bank", OSError(errno.ENOSPC, "No space left on device"))
    assert tree(tmp_path) == {"bank/sub/one": "one"}


def break_second_rename(monkeypatch: pytest.MonkeyPatch, error: BaseException, times: int) -> None:
    """Lets the first rename pass and the following ones fail."""
    real, calls = os.rename, iter(range(100))

    def rename(source: Path, target: Path) -> None:
        if 0 < next(calls) <= times:
            raise error
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)


def test_failing_swap_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "bank", "one")
    break_second_rename(monkeypatch, PermissionError(), times=1)
    with pytest.raises(PermissionError):
        fill(tmp_path / "bank", "two")
    assert tree(tmp_path) == {"bank/sub/one": "one"}


@pytest.mark.parametrize("by_loader", [True, False])
def test_kill_between_the_renames_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_loader: bool
) -> None:
    target = tmp_path / "bank"
    fill(target, "one")
    with monkeypatch.context() as patch:
        break_second_rename(
            patch, KeyboardInterrupt(), times=2
        )  # the second is the way back: killed for good
        with pytest.raises(KeyboardInterrupt):
            fill(target, "two")
    assert not target.exists()
    if by_loader:
        assert recover_folder(target)
        assert not recover_folder(target)
    else:
        with pytest.raises(ZeroDivisionError):
            fill_half(target, ZeroDivisionError())
    assert tree(tmp_path) == {"bank/sub/one": "one"}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "bank").write_text("precious")
    with pytest.raises(TokMemError, match="is a file"):
        fill(tmp_path / "bank", "one")
    assert tree(tmp_path) == {"bank": "precious"}


def a_bank(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "bank.json").write_text("{}")
    return folder


@pytest.mark.parametrize("there", ["absent", "empty", "marked", "marked and patterned"])
def test_own_folders_are_replaced(tmp_path: Path, there: str) -> None:
    target = tmp_path / "bank"
    if there == "empty":
        target.mkdir()
    elif there != "absent":
        a_bank(target)
    if there == "marked and patterned":
        (target / "old.safetensors").write_text("")
    with replace_folder(target, ("bank.json", "*.safetensors")) as draft:
        (draft / "bank.json").write_text("new")
    assert tree(tmp_path) == {"bank/bank.json": "new"}


@pytest.mark.parametrize("mine", ["notes.txt", ".git/config", "sub/bank.json", "a.safetensors"])
@pytest.mark.parametrize("marked", [True, False])
def test_a_folder_with_files_of_ones_own_is_refused(tmp_path: Path, mine: str, marked: bool) -> None:
    target = tmp_path / "precious"
    (target / mine).parent.mkdir(parents=True)
    (target / mine).write_text("mine")
    if marked:
        (target / "bank.json").write_text("{}")
    before = tree(tmp_path)
    with (
        pytest.raises(TokMemError, match=r"precious holds .* choose a folder"),
        replace_folder(target, ("bank.json", "bank.safetensors")),
    ):
        pytest.fail("the block must not run")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("written", ["", ".", "..", "{cwd}", "link"])
def test_the_working_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    cwd = a_bank(tmp_path / "above" / "cwd")
    (cwd / "link").symlink_to(cwd)
    monkeypatch.chdir(cwd)
    with (
        pytest.raises(TokMemError, match="is the working folder or holds it"),
        replace_folder(Path(written.format(cwd=cwd)), ("bank.json", "*")),
    ):
        pytest.fail("the block must not run")
    assert (cwd / "bank.json").read_text() == "{}"


def test_what_a_killed_writer_began_to_remove_is_never_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the old folder would be taken for the whole, and refused by each reader and writer."""
    target = tmp_path / "bank"

    def save(text: str) -> None:
        with replace_folder(target, ("a", "b")) as draft:
            (draft / "a").write_text(text)
            (draft / "b").write_text(text)

    def killed(folder: Path, *_: object, **__: object) -> None:
        if (folder / "a").exists():
            (folder / "a").unlink()
            raise KeyboardInterrupt

    save("old")
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        save("new")
    monkeypatch.undo()
    assert (target / "a").read_text() == "new"
    shutil.rmtree(target)
    assert not recover_folder(target)
    save("newer")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank"]


@pytest.mark.parametrize(
    ("number", "wanted", "says"),
    [(errno.ENOSPC, TokMemError, "disk full"), (errno.EROFS, OSError, "Read-only"), (None, KeyError, "x")],
)
def test_an_error_of_a_library_in_rust_is_read(
    tmp_path: Path, number: int | None, wanted: type[Exception], says: str
) -> None:
    with pytest.raises(wanted, match=says), replace_folder(tmp_path / "bank", ("a",)):
        raise KeyError("x") if number is None else Exception(f"No space, or so (os error {number})")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("letter", ["x", "ä"])
def test_a_name_too_long_for_the_files_beside_it_is_refused_before_any_work(
    tmp_path: Path, letter: str
) -> None:
    fits, long = (letter * (size // len(letter.encode())) for size in (220, 240))
    fill(tmp_path / fits, "new")
    for refuses in (lambda: fill(tmp_path / long, "new"), lambda: recover_folder(tmp_path / long)):
        with pytest.raises(TokMemError, match=r"whose name has 240 bytes.*at most 220.*choose a shorter"):
            refuses()
    assert tree(tmp_path).keys() == {f"{fits}/sub/new"}
