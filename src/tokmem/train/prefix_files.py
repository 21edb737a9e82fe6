"""Prefixes on disk: safetensors files, mapped into memory when read, the least recently used removed first.

Files may be removed at any time. A damaged one is reported, removed, and read anew through the backbone.
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
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tokmem.errors import TokMemError
from tokmem.files import atomic_write_bytes
from tokmem.log import logger
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import Prefix

SUFFIX = ".safetensors"
_OURS = re.compile(r"[0-9a-f]{32}/(?:[0-9a-f]+\.safetensors|\.[0-9a-f]+\.safetensors\..+\.tmp)")
# To be raised whenever a file's layout, or the arithmetic or batches by which prefixes are read, changes.
FORMAT = 1
# A draft this old, in seconds, was left by a process that was killed.
DRAFT_AGE = 3600
# The folder is looked through again after this part of the budget, for other runs write to it too.
SCAN_EVERY = 16


class PrefixFiles:
    """Groups of prefixes by digest, for one backbone as it computes here.

    Args:
        lm: the model that reads the prefixes.
        folder: holds a folder for each backbone.
        budget: most bytes in `folder`, those of other backbones included.
    """

    def __init__(self, lm: MemoryLM, folder: Path, budget: int) -> None:
        self.root, self.budget = folder, budget
        self.folder = folder / reader_identity(lm)
        self._room = 0  # bytes that may be written before the folder is looked through again

    def load(self, digest: str, stems: Sequence[Prefix | None], device: torch.device) -> list[Prefix] | None:
        """The group of that name, on top of its stems; None where it is missing or damaged."""
        path = self._path(digest)
        if not path.is_file():
            return None
        try:
            group = _unpack(*_open(path), stems, device)
        except FileNotFoundError:  # another run has removed it
            return None
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            logger.warning("damaged prefix file %s is read anew: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # it may be gone by now, or not ours to touch
            os.utime(path)  # least recently used goes by it
        return group

    def save(self, digest: str, group: Sequence[Prefix]) -> None:
        """Writes a group, in place of those not used for longest; one over the budget is left out."""
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
        """Removes what killed runs left, then the least recently used, until so many bytes are free."""
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
        """When each file and draft of ours was last used, its bytes, and its path; others are let alone."""
        for path in self.root.glob("*/*"):
            if _OURS.fullmatch(f"{path.parent.name}/{path.name}"):
                with suppress(FileNotFoundError):  # another process has removed it
                    status = path.stat()
                    yield status.st_mtime_ns, status.st_size, path


def _packed(group: Sequence[Prefix]) -> dict[str, Tensor]:
    """Keys and values of each layer side by side, (G, N, D), and the last states (S, d)."""
    tensors = {"hidden": torch.stack([p.hidden for p in group]).cpu()}
    for layer in range(len(group[0].layers)):
        for part, name in enumerate(("keys", "values")):
            row = torch.cat([p.layers[layer][part] for p in group], 1)
            tensors[f"{name}.{layer}"] = row.cpu()
    return tensors


def _open(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Tensors that lie in the mapped file, and its metadata.

    Raises:
        ValueError: a bit is not what was written.
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
    """Hex digest of what, beside token ids, the bits of a prefix follow from on one kind of machine.

    Every bit of the backbone's weights and buffers, its configuration, the attention kernel, the files'
    format, the versions of TokMem, torch and transformers, the device, and the threads of a CPU. CPU models
    of one instruction set are not told apart.
    """
    model, device = lm.model, lm.device
    config = {k: v for k, v in model.config.to_dict().items() if k != "_name_or_path"}
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    facts = {
        "format": FORMAT,
        "config": config,
        "attention": [model.config._attn_implementation, lm.longest_packed],
        "versions": [version("tokmem"), torch.__version__, transformers.__version__],
        "device": [device.type, where, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()],
        "precision": [torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:32]
