"""Checkpoints of a training run: safetensors and JSON, replaced as a whole and resumed bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tokmem.errors import TrainingError
from tokmem.files import damaged, read_json, recover_folder, replace_folder
from tokmem.records import Encoded


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


@dataclass
class RunState:
    """All that a resumed run needs: parameters, the best parameters, the optimizer's moments, progress."""

    parameters: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    best: list[Tensor] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)

    def keep_best(self) -> None:
        """Keeps a copy of the current parameters as the best ones."""
        self.best = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def restore_best(self) -> None:
        """Restores the best parameters, if any were kept."""
        for parameter, kept in zip(self.parameters, self.best, strict=False):
            parameter.copy_(kept)

    def save(self, folder: Path, identity: str) -> None:
        """Writes the state as a folder; it replaces an older one as a whole."""
        tensors = {f"parameter.{i}": p.detach().cpu().contiguous() for i, p in enumerate(self.parameters)}
        tensors |= {f"best.{i}": t.cpu().contiguous() for i, t in enumerate(self.best)}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"moment.{index}.{n}": v.detach().cpu().contiguous() for n, v in moments.items()}
        with replace_folder(folder, ("state.json", "state.safetensors")) as draft:
            # Bytes first: safetensors' own writer does not report a full disk.
            (draft / "state.safetensors").write_bytes(save(tensors))
            facts = {"identity": identity, "progress": asdict(self.progress)}
            (draft / "state.json").write_text(json.dumps(facts, indent=1) + "\n")

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
        if not (folder / "state.json").is_file():
            return False
        known, progress = _read_facts(folder)
        if known != identity:
            raise TrainingError(
                f"checkpoint {folder} is of run {known}",
                f"run {identity}: same data, settings, backbone and starting parameters",
                "resume with the settings it was started with, or remove the folder to start again",
            )
        tensors = _read_tensors(folder, self.parameters)
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


def _remedy(folder: Path) -> str:
    return f"remove the folder {folder} and resume: this training starts again"


def _read_facts(folder: Path) -> tuple[str, Progress]:
    """Reads the identity and the progress of a checkpoint's run."""
    path = folder / "state.json"
    facts = read_json(path, dict, _remedy(folder))
    try:
        return facts["identity"], Progress(**facts["progress"])
    except (KeyError, TypeError) as error:
        raise damaged(path, f"no state of a run: {error}", _remedy(folder)) from error


def _read_tensors(folder: Path, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint, and checks that all parameters are among them."""
    path = folder / "state.safetensors"
    try:
        tensors = load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise damaged(path, str(error), _remedy(folder)) from error
    for i, parameter in enumerate(parameters):
        found = tensors.get(f"parameter.{i}")
        if found is None or found.shape != parameter.shape:
            raise damaged(path, f"no parameter {i} of shape {tuple(parameter.shape)}", _remedy(folder))
    return tensors


def run_identity(facts: Mapping[str, Any], examples: Sequence[Encoded], tensors: Sequence[Tensor]) -> str:
    """The identity of a run: a hex digest of settings and other facts, encoded data and tensors."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for example in examples:
        digest.update(json.dumps([example.ids, example.supervised, example.prefix]).encode())
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
