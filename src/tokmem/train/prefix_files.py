"""Prefixes on disk: safetensors files that are mapped into memory when they are read.

The least recently used files are removed first. Anyone may remove files at any time. A damaged file is
reported and removed, and its prefixes run through the backbone again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tokmem.errors import TokMemError
from tokmem.files import atomic_write_bytes
from tokmem.installation import version_of
from tokmem.log import logger
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import Prefix

SUFFIX = ".safetensors"
_OURS = re.compile(r"[0-9a-f]{32}/(?:[0-9a-f]+\.safetensors|\.[0-9a-f]+\.safetensors\..+\.tmp)")
# Raise this whenever the layout of a file changes, or the arithmetic or the batches that read prefixes.
FORMAT = 1
# Seconds; an older draft was left by a killed process.
DRAFT_AGE = 3600
# The folder is listed again after this part of the budget was written; other runs write to it too.
SCAN_EVERY = 16


class PrefixFiles:
    """Groups of prefixes by digest, for one backbone on this kind of machine.

    Args:
        lm: the model that reads the prefixes.
        folder: folder that holds a subfolder for each backbone.
        budget: most bytes in `folder`, with those of other backbones.
    """

    def __init__(self, lm: MemoryLM, folder: Path, budget: int) -> None:
        self.root, self.budget = folder, budget
        self.folder = folder / reader_identity(lm)
        self._room = 0  # bytes to write before the folder is listed again

    def load(self, digest: str, stems: Sequence[Prefix | None], device: torch.device) -> list[Prefix] | None:
        """Loads a group on top of its stems; returns None if it is missing or damaged."""
        path = self._path(digest)
        if not path.is_file():
            return None
        try:
            group = _unpack(*_open(path), stems, device)
        except FileNotFoundError:  # another run removed it
            return None
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            logger.warning("damaged prefix file %s; its prefixes are read again: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # the file may be gone, or belong to another user
            os.utime(path)  # marks it as recently used
        return group

    def save(self, digest: str, group: Sequence[Prefix]) -> None:
        """Writes a group, and removes the least recently used ones for it; skips a group over the budget."""
        if sum(p.nbytes for p in group) > self.budget:
            return
        tensors = _packed(group)
        lengths = json.dumps([p.layers[0][0].shape[-2] for p in group])
        data = save(tensors, {"lengths": lengths, "crc32": _checksum(tensors, lengths)})
        if len(data) > self.budget:
            return
        try:
            self._make_room(len(data))
            atomic_write_bytes(self._path(digest), data)
        except (TokMemError, OSError) as error:
            logger.warning("prefixes are not kept on disk: %s", error)

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}{SUFFIX}"

    def _make_room(self, size: int) -> None:
        if size > self._room:
            self._room = max(size, self.budget // SCAN_EVERY)
            self._leave(self._room)
        self._room -= size

    def _leave(self, room: int) -> None:
        """Removes old drafts, then the least recently used files, until `room` bytes are free."""
        found = sorted(self._found())
        held = sum(bytes_ for _, bytes_, _ in found)
        late = time.time_ns() - DRAFT_AGE * 10**9
        left = [(bytes_, path) for used, bytes_, path in found if path.suffix != SUFFIX and used < late]
        kept = [(bytes_, path) for _, bytes_, path in found if path.suffix == SUFFIX]
        for index, (bytes_, path) in enumerate([*left, *kept]):
            if index >= len(left) and held + room <= self.budget:
                return
            path.unlink(missing_ok=True)
            held -= bytes_

    def _found(self) -> Iterator[tuple[int, int, Path]]:
        """Yields the time of last use, the size and the path of each file and draft that this class wrote."""
        for path in self.root.glob("*/*"):
            if _OURS.fullmatch(f"{path.parent.name}/{path.name}"):
                with suppress(FileNotFoundError):  # another process removed it
                    status = path.stat()
                    yield status.st_mtime_ns, status.st_size, path


def _packed(group: Sequence[Prefix]) -> dict[str, Tensor]:
    """The tensors of a file: keys and values (G, N, D) of each layer, side by side; last states (S, d)."""
    tensors = {"hidden": torch.stack([p.hidden for p in group]).cpu()}
    for layer in range(len(group[0].layers)):
        for part, name in enumerate(("keys", "values")):
            row = torch.cat([p.layers[layer][part] for p in group], 1)
            tensors[f"{name}.{layer}"] = row.cpu()
    return tensors


def _open(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Maps a file; returns its tensors and its metadata.

    Raises:
        ValueError: the checksum differs.
    """
    with safe_open(path, "pt") as file:
        facts = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if _checksum(tensors, facts.get("lengths", "")) != facts.get("crc32"):
        raise ValueError("its checksum differs")
    return tensors, facts


def _unpack(
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, str],
    stems: Sequence[Prefix | None],
    device: torch.device,
) -> list[Prefix]:
    lengths = json.loads(facts["lengths"])
    pairs = [
        zip(
            *(tensors[f"{name}.{i}"].to(device).split(lengths, 1) for name in ("keys", "values")), strict=True
        )
        for i in range((len(tensors) - 1) // 2)
    ]
    layers = zip(*pairs, strict=True)
    return [Prefix(*parts) for parts in zip(layers, tensors["hidden"].to(device), stems, strict=True)]


def _checksum(tensors: Mapping[str, Tensor], lengths: str) -> str:
    total = zlib.crc32(lengths.encode())
    for name in sorted(tensors):
        total = zlib.crc32(_bytes(tensors[name]), total)
    return f"{total:08x}"


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().view(-1)
    return memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]


def reader_identity(lm: MemoryLM) -> str:
    """Hex digest of everything, beside token ids, that decides the bits of a prefix on one kind of machine.

    It covers the weights and buffers of the backbone, its configuration, the attention kernel, the format of
    the files, the versions of TokMem, torch and transformers, the device, and the threads of a CPU. It does
    not distinguish CPU models of one instruction set.
    """
    model, device = lm.model, lm.device
    config = {k: v for k, v in model.config.to_dict().items() if k != "_name_or_path"}
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    facts = {
        "format": FORMAT,
        "config": config,
        "attention": [model.config._attn_implementation, lm.longest_packed],
        "versions": [version_of("tokmem"), torch.__version__, transformers.__version__],
        "device": [device.type, where, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()],
        "precision": [torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:32]
