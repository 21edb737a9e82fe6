"""Writes files and folders so that a crash, a kill or a full disk leaves the old one or the new one whole."""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from tokmem.errors import TokMemError
from tokmem.locks import hidden_beside, lock_folder
from tokmem.strict_json import parse_json

T = TypeVar("T")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")  # numpy's whole message of a full disk


def cache_folder(name: str) -> Path:
    """`tokmem/<name>` in the user's cache folder (XDG_CACHE_HOME, or ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokmem" / name


def as_path(given: object) -> Path:
    """The path that a caller gave.

    Raises:
        TokMemError: it is no path, or no file can have that name.
    """
    if not isinstance(given, str | Path):
        raise TokMemError(f"{type(given).__name__} {given!r:.60} as a folder", "the path of a folder")
    if "\0" in str(given):
        raise TokMemError(f"path {str(given)!r:.60}", "a path without a NUL character", "correct it")
    return Path(given)


def atomic_write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file as a whole; makes missing folders.

    Raises:
        TokMemError: the disk is full; an older file is still there, unchanged.
    """
    atomic_write_bytes(path, text.encode())


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Writes a file as a whole; makes missing folders.

    Raises:
        TokMemError: the disk is full; an older file is still there, unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        draft.write_bytes(data)
        _sync(draft)
        os.replace(draft, path)
    except OSError as error:
        _raise_if_full(error, path, draft, len(data))
        raise
    finally:
        draft.unlink(missing_ok=True)
    _sync(path.parent)


def remove_drafts(folder: Path) -> None:
    """Removes what killed writers of single files left below a folder that nobody else writes to."""
    for draft in folder.rglob(f".*.{'[0-9a-f]' * 8}.tmp"):
        draft.unlink(missing_ok=True)


def atomic_write_json(path: Path, value: object) -> None:
    """Writes a file of indented JSON as a whole.

    Raises:
        TokMemError: a number is not finite, which JSON cannot express, or the disk is full.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        do = "find where it arose, or write null"
        raise TokMemError(f"{path.name} would hold NaN or infinity: {error}", "finite numbers", do) from error
    atomic_write_text(path, text + "\n")


def read_json(path: Path, kind: type[T], do: str) -> T:
    """Reads a JSON file that a run wrote for itself.

    Args:
        path: the file; it exists.
        kind: the type of its value, `dict` or `list`.
        do: what to do if it is damaged.

    Raises:
        TokMemError: the file is cut short, is not strict JSON (see `parse_json`), or holds another type.
    """
    try:
        value = parse_json(path.read_bytes())
    except ValueError as error:
        raise damaged(path, f"no JSON: {error}", do) from error
    if not isinstance(value, kind):
        raise damaged(path, f"a {type(value).__name__}, no {kind.__name__}", do)
    return value


def read_object(path: Path, what: str, error: type[TokMemError]) -> dict[str, Any]:
    """Reads the JSON object in a file of a folder that a save wrote.

    Args:
        path: the file.
        what: what the save wrote, such as "a bank".
        error: the error to raise.

    Raises:
        TokMemError: as `error`; the file is missing, is not strict JSON (see `parse_json`) or no object.
    """
    missing = error(
        f"no {path.name} in {path.parent}", f"a folder written by saving {what}", "check the path"
    )
    if not path.is_file():
        raise missing
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError as fault:  # a writer has just replaced the folder
        raise missing from fault
    except ValueError as fault:
        raise error(
            f"{path} is truncated or no JSON ({fault})", "a whole file", "take it from a copy"
        ) from fault
    if not isinstance(value, dict):
        raise error(f"{path} holds {value!r:.80}", "a JSON object", "take it from a copy")
    return value


def check_format(path: Path, found: object, wanted: int, kind: type[TokMemError]) -> None:
    """Refuses a file of another format; a newer one says what to install.

    Args:
        path: the file.
        found: the format that it names.
        wanted: the newest format that this version reads.
        kind: the error to raise.

    Raises:
        TokMemError: as `kind`.
    """
    if type(found) is int and found > wanted:
        do = "pip install --upgrade tokmem: a newer version wrote it"
        raise kind(f"{path} has format {found}", f"at most format {wanted}", do)
    if type(found) is not int or found < 1:
        raise kind(f"{path} has format {found!r:.80}", f"format {wanted}", "take the file from a copy")


def damaged(path: Path, why: str, do: str) -> TokMemError:
    """The error for a file that a run wrote and cannot read."""
    return TokMemError(f"{path} is damaged ({why})", "the file as it was written", do)


@contextmanager
def replace_folder(target: Path, files: Sequence[str]) -> Iterator[Path]:
    """Gives an empty folder to fill. It takes the place of `target` as a whole when the block ends well.

    A block that fails leaves `target` as it was. Between its two renames `target` is missing for a moment. A
    process killed right there leaves the old folder hidden beside it; `recover_folder` and the next
    `replace_folder` put it back. A second writer of `target` waits (see `lock_folder`).

    Args:
        target: folder to write.
        files: names that such a folder may hold, as `fnmatch` patterns; the first is the file that marks it.

    Raises:
        TokMemError: `target` is a file or a folder that such a save did not write, the disk is full, or
            another process goes on writing `target`.
    """
    target = target.resolve()
    recover_folder(target)
    check_replaceable(target, files)
    target.parent.mkdir(parents=True, exist_ok=True)
    with lock_folder(target):
        recover_folder(target)  # again: the writer before may have been killed
        check_replaceable(target, files)
        with _filled(target) as draft:
            yield draft


@contextmanager
def _filled(target: Path) -> Iterator[Path]:
    """`replace_folder`, once the lock is held."""
    for leftover in target.parent.glob(f"{glob.escape(hidden_beside(target, 'new').name)}*"):
        shutil.rmtree(leftover)  # of a writer that was killed
    draft = hidden_beside(target, f"new-{os.getpid()}-{secrets.token_hex(4)}")
    old = hidden_beside(target, "old")
    _discard(old, target)
    draft.mkdir(parents=True)
    try:
        yield draft
        for file in draft.rglob("*"):
            _sync(file)
        _swap(draft, target, old)
    except Exception as error:
        problem = _of_system(error, target)
        if problem is None:
            raise
        _raise_if_full(problem, target, draft)
        if problem is error:
            raise
        raise problem from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _discard(old, target)


def _discard(old: Path, target: Path) -> None:
    """Removes an old folder under another name, so that no part of it is ever taken for the whole."""
    if old.exists():
        leftover = hidden_beside(target, f"new-{os.getpid()}-{secrets.token_hex(4)}")
        os.rename(old, leftover)
        shutil.rmtree(leftover, ignore_errors=True)


def check_replaceable(target: Path, files: Sequence[str]) -> None:
    """Refuses to replace a folder that may hold somebody's own files.

    Args:
        target: folder that a save would replace.
        files: as `replace_folder` takes them.

    Raises:
        TokMemError: `target` is the working folder or above it, a file, or a folder that is neither empty nor
            made of `files` alone.
    """
    target = target.resolve()
    other = "choose a folder that does not exist yet"
    if Path.cwd().resolve().is_relative_to(target):
        raise TokMemError(f"{target} is the working folder or holds it", "a folder of its own", other)
    if not target.exists():
        return
    if not target.is_dir():
        raise TokMemError(f"{target} is a file", "a folder", f"{other}, or remove the file")
    found = sorted(entry.name for entry in target.iterdir())
    foreign = next((name for name in found if not any(fnmatch(name, pattern) for pattern in files)), None)
    if foreign is not None:
        raise TokMemError(f"{target} holds {foreign!r}", f"an empty folder, or one with {files[0]}", other)
    if found and files[0] not in found:
        raise TokMemError(f"{target} holds {found[0]!r} and no {files[0]}", "a folder that has it", other)


def recover_folder(target: Path) -> bool:
    """Puts back the folder that a process killed in the midst of `replace_folder` left beside `target`.

    Returns:
        Whether there was something to put back. If `target` exists, nothing is done.

    Raises:
        TokMemError: another process goes on writing `target`.
    """
    target = target.resolve()
    old = hidden_beside(target, "old")
    if target.exists() or not old.is_dir():
        return False
    with lock_folder(target):  # a living writer is between its renames: wait
        if target.exists() or not old.is_dir():
            return False
        os.rename(old, target)
    return True


def _swap(draft: Path, target: Path, old: Path) -> None:
    if target.exists():
        os.rename(target, old)
    try:
        os.rename(draft, target)
    except BaseException:
        recover_folder(target)
        raise
    _sync(target.parent)


def _of_system(error: Exception, target: Path) -> OSError | None:
    """The error of the system behind an error: Rust names it in the text alone, numpy nowhere."""
    if isinstance(error, OSError):
        cut = error.errno is None and _CUT_SHORT.fullmatch(str(error))
        return OSError(errno.ENOSPC, str(error), str(target)) if cut else error
    found = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1])), str(target)) if found else None


def _raise_if_full(error: OSError, target: Path, draft: Path, needed: int | None = None) -> None:
    if error.errno not in _FULL:
        return
    free = shutil.disk_usage(target.parent).free + _size(draft)  # the draft is about to be removed
    raise TokMemError(
        f"disk full while writing {target}: {free:,} bytes free",
        "more than that" if needed is None else f"at least {needed:,} bytes",
        "free some space, or write to another disk",
    ) from error


def _size(draft: Path) -> int:
    files = draft.rglob("*") if draft.is_dir() else (draft,)
    return sum(file.stat().st_size for file in files if file.is_file())


def _sync(path: Path) -> None:
    """Makes a file, or the names in a folder, survive a power cut; only POSIX can open folders for this."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
