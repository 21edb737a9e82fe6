"""Names that other libraries use for arguments and settings, and what to write here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import ParamSpec, TypeVar

from tokmem.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")

_MODEL = 'TokMem(model, tokenizer), or TokMem("NAME")'
_VALIDATION = "fit(examples, validation)"
_FIT = "fit(..., lr=0.02), or TokMem(settings=FitSettings(...))"
_RECALL = "recall(query, ...), or TokMem(recall=RecallSettings(...))"

# A name alone is a setting, and is offered where there is such a setting; the others are code to write.
ELSEWHERE = {
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_steps": "min_steps",
    "steps": "min_steps",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "warmup_ratio": "warmup",
    "lr_scheduler_type": "schedule",
    "eval_steps": "validate_every",
    "save_steps": "checkpoint_every",
    "early_stopping_patience": "patience",
    "random_state": "seed",
    "logger": "report_to",
    "output_dir": "fit(examples, checkpoint=FOLDER)",
    "resume_from_checkpoint": "fit(examples, checkpoint=FOLDER)",
    "train_dataset": _VALIDATION,
    "eval_dataset": _VALIDATION,
    "eval_set": _VALIDATION,
    "validation_data": _VALIDATION,
    "validation_split": _VALIDATION,
    "max_length": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "do_sample": "temperature",
    "num_return_sequences": "recall([query] * n, temperature=...)",
    "stream": "memory.stream(query)",
    "procedure": 'procedures=[["NAME"]], a list for each query',
    "model": _MODEL,
    "model_name": _MODEL,
    "model_name_or_path": _MODEL,
    "pretrained_model_name_or_path": _MODEL,
    "torch_dtype": "dtype",
    "load_in_8bit": 'load_backbone(NAME, quantization="8bit")',
    "load_in_4bit": 'load_backbone(NAME, quantization="4bit")',
    "num_virtual_tokens": "width",
    "check": "load_backbone(NAME, check=False)",
    "dry_run": "memory.dry_run(examples)",
    "trust_remote_code": "TokMem(model, tokenizer): load the model yourself; its code has all your rights",
    "random_seed": "seed",
    "lr": _FIT,
    "epochs": _FIT,
    "batch_size": _FIT,
    "max_new_tokens": _RECALL,
    "temperature": _RECALL,
    "top_k": _RECALL,
    "mode": _RECALL,
}


def instead_of(name: str, known: Collection[str]) -> str:
    """What to write for another library's name of an argument; empty if it is none.

    Args:
        name: as the caller wrote it.
        known: the names that can be written there.
    """
    ours = ELSEWHERE.get(name, "")
    return ours if ours in known or not ours.isidentifier() else ""


def guides(function: Callable[P, T]) -> Callable[P, T]:
    """Refuses an unknown keyword argument as a wrong setting is refused, and says what to write.

    Raises:
        ConfigError: there is no such argument.
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in known:
                raise unknown("argument", name, known)
        return function(*args, **kwargs)

    return call


def unknown(what: str, name: str, known: Collection[str]) -> ConfigError:
    """Makes the error of a name that is none of the known ones.

    Args:
        what: what the name should be of, such as "setting".
        name: as the caller wrote it.
        known: the names that there are.
    """
    ours = instead_of(name, known)
    part = [other for other in known if name in other or other in name]
    close = "" if ours else ", ".join(part or get_close_matches(name, known, n=3))
    got = f"no {what} {name!r}{f' (close: {close})' if close else ''}"
    return ConfigError(got, f"one of {', '.join(known)}", f"write {ours}" if ours else "")
