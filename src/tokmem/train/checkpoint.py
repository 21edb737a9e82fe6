"""Checkpoints of a training run: safetensors and JSON, replaced as a whole and resumed bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from tokmem.errors import TrainingError
from tokmem.files import check_format, damaged, read_json, recover_folder, replace_folder
from tokmem.records import Encoded
from tokmem.tensors import check_shapes, read_tensors

FORMAT = 1
FACTS, TENSORS = "state.json", "state.safetensors"


@dataclass
class Progress:
    """The progress of a run, without its tensors.

    Attributes:
        step: number of optimizer steps done.
        loss: loss of the last step; None before the first step.
        first_loss: loss of the first step.
        best_loss: lowest validation loss so far; None before the first validation.
        best_step: the step with the lowest validation loss.
        stale: number of validations since `best_step`.
        supervised: number of supervised tokens seen.
        prompt: number of prompt tokens seen.
        seconds: wall time of training, over all sessions of the run.
    """

    step: int = 0
    loss: float | None = None
    first_loss: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    stale: int = 0
    supervised: int = 0
    prompt: int = 0
    seconds: float = 0.0


def has_checkpoint(folder: Path | None) -> bool:
    """Whether a folder holds the checkpoint of a run, or those of several runs in folders of its own."""
    return folder is not None and any(any(folder.glob(pattern)) for pattern in (FACTS, f"*/{FACTS}"))


@dataclass
class RunState:
    """All that a resumed run needs: parameters, the best parameters, the optimizer's moments, progress."""

    parameters: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    best: list[Tensor] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)

    @contextmanager
    def starting_over(self, folder: Path | None) -> Iterator[None]:
        """Puts the parameters back if the block fails and there is a checkpoint, so that the run resumes."""
        start = [p.detach().clone() for p in self.parameters] if folder else []
        try:
            yield
        except BaseException:
            if has_checkpoint(folder):
                _copy(start, self.parameters)
            raise

    def keep_best(self) -> None:
        """Keeps a copy of the current parameters as the best ones."""
        self.best = [p.detach().clone() for p in self.parameters]

    def restore_best(self) -> None:
        """Restores the best parameters, if any were kept."""
        _copy(self.best, self.parameters)

    def save(self, folder: Path, identity: str) -> None:
        """Writes the state as a folder; it replaces an older one as a whole."""
        tensors = {f"parameter.{i}": p.detach().cpu().contiguous() for i, p in enumerate(self.parameters)}
        tensors |= {f"best.{i}": t.cpu().contiguous() for i, t in enumerate(self.best)}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"moment.{index}.{n}": v.detach().cpu().contiguous() for n, v in moments.items()}
        data = save(tensors)
        facts = {
            "format": FORMAT,
            "identity": identity,
            "progress": asdict(self.progress),
            "tensors": hashlib.sha256(data).hexdigest(),
        }
        with replace_folder(folder, (FACTS, TENSORS)) as draft:
            # Bytes first: safetensors' own writer does not report a full disk.
            (draft / TENSORS).write_bytes(data)
            (draft / FACTS).write_text(json.dumps(facts, indent=1) + "\n")

    @torch.no_grad()
    def resume(self, folder: Path, identity: str) -> bool:
        """Restores a saved state.

        Returns:
            Whether there was one.

        Raises:
            TrainingError: the state belongs to a run with other data, settings, backbone or starting
                parameters.
            TokMemError: the state is damaged.
        """
        recover_folder(folder)
        if not (folder / FACTS).is_file():
            return False
        facts = _read_facts(folder)
        progress = _progress(facts, folder)
        if facts["identity"] != identity:
            raise TrainingError(
                f"checkpoint {folder} is of run {facts['identity']}",
                f"run {identity}: same data, settings, backbone and starting parameters",
                "resume with the settings it was started with, or remove the folder to start again",
            )
        tensors = self._read_tensors(folder, facts.get("tensors"))
        for i, parameter in enumerate(self.parameters):
            parameter.copy_(tensors[f"parameter.{i}"])
        self.best = [
            tensors[k].to(p.device) for i, p in enumerate(self.parameters) if (k := f"best.{i}") in tensors
        ]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("moment."):
                _, index, name = key.split(".")
                moments.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.progress = progress
        return True

    def _read_tensors(self, folder: Path, sha256: object) -> dict[str, Tensor]:
        """Reads the tensors of a checkpoint, and checks that they belong to the parameters."""
        path, do = folder / TENSORS, _remedy(folder)
        try:
            tensors = read_tensors(path, TrainingError, sha256)
            check_shapes(tensors, self._shapes(tensors), path, TrainingError)
        except TrainingError as error:
            raise damaged(path, error.got.removeprefix(f"{path} "), do) from error
        return tensors

    def _shapes(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of the shapes that a checkpoint must have. It may lack best parameters and moments."""
        wanted: dict[str, Tensor] = {}
        for i, parameter in enumerate(self.parameters):
            wanted[f"parameter.{i}"] = parameter
            if any(name.startswith("best.") for name in found):
                wanted[f"best.{i}"] = parameter
            if f"moment.{i}.step" in found:
                wanted |= {f"moment.{i}.{name}": parameter for name in ("exp_avg", "exp_avg_sq")}
                wanted[f"moment.{i}.step"] = torch.zeros(())
        return wanted


@torch.no_grad()
def _copy(values: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> None:
    for parameter, value in zip(parameters, values, strict=False):
        parameter.copy_(value)


def _remedy(folder: Path) -> str:
    return f"remove the folder {folder} and resume: this training starts again"


def _read_facts(folder: Path) -> dict[str, Any]:
    """Reads the identity and the progress of a checkpoint's run.

    Checkpoints of version 0.1.0 name neither a format nor a checksum.
    """
    path = folder / FACTS
    facts = read_json(path, dict, _remedy(folder))
    check_format(path, facts.get("format", FORMAT), FORMAT, TrainingError)
    if "identity" not in facts:
        raise damaged(path, "no state of a run: 'identity'", _remedy(folder))
    return facts


def _progress(facts: Mapping[str, Any], folder: Path) -> Progress:
    try:
        progress = Progress(**facts["progress"])
    except (KeyError, TypeError) as error:
        raise damaged(folder / FACTS, f"no state of a run: {error}", _remedy(folder)) from error
    for name, value in vars(progress).items():
        optional = name.endswith("loss")
        if isinstance(value, bool) or not isinstance(value, int | float | (type(None) if optional else int)):
            raise damaged(folder / FACTS, f"{name} is {value!r:.40}", _remedy(folder))
    return progress


def run_identity(facts: Mapping[str, Any], examples: Sequence[Encoded], tensors: Sequence[Tensor]) -> str:
    """The identity of a run: a hex digest of settings and other facts, encoded data and tensors."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for example in examples:
        digest.update(json.dumps([example.ids, example.supervised, example.prefix]).encode())
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
