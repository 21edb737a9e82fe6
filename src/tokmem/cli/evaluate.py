"""`tokmem eval`: measure a saved bank on a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tokmem.cli import options as o
from tokmem.cli.shared import run_folder
from tokmem.cli.train import measure
from tokmem.errors import DataError

EXAMPLES = "Example: tokmem eval --bank runs/train/banks/tokmem-query-0 --corpus my.jsonl"


def evaluate(
    ctx: typer.Context,
    bank: Annotated[
        Path,
        typer.Option("--bank", "--load-task-tokens", help="Folder of the bank.", show_default=False),
    ],
    tasks_dir: o.TasksDir = None,
    corpus: o.CorpusFile = None,
    tasks: o.Tasks = None,
    num_tasks: o.NumTasks = None,
    test_size: o.TestSize = None,
    prompt: o.Prompt = None,
    few_shot: o.FewShot = None,
    max_instruction_tokens: o.MaxInstructionTokens = None,
    model_name: o.ModelName = None,
    dtype: o.DType = None,
    device: o.Device = None,
    quantization: o.QuantizationName = None,
    max_length: o.MaxLength = None,
    eval_batch_size: o.EvalBatchSize = None,
    max_new_tokens: o.MaxNewTokens = None,
    save_path: o.SavePath = None,
    resume: o.Resume = False,
) -> None:
    """Measure a saved bank on the test examples of a corpus: routing, ROUGE-L, exact match.

    Backbone and prompt are those that the bank was trained with, unless they are given.
    """
    from tokmem.bank.store import load_bank

    loaded, origin = load_bank(bank)
    given: dict[str, Any] = {
        **ctx.params,
        "load_task_tokens": bank,
        "skip_training": True,
        "train_size": 0,
        "val_size": 0,
        "decouple_embeddings": not loaded.coupled,
        "model_name": model_name or origin.backbone,
        "prompt": prompt or origin.training.get("prompt"),
    }
    if tasks_dir is not None and not tasks:
        given["tasks"] = _tasks_of(loaded.names, tasks_dir)
    measure(o.atomic_config("eval", given), run_folder(save_path, resume, Path("runs/eval")), resume)


def _tasks_of(names: tuple[str, ...], folder: Path) -> list[str]:
    """The bank's procedures that the folder has."""
    found = [name for name in names if (folder / f"{name}.json").is_file()]
    if not found:
        raise DataError(
            f"{folder}: no task of the bank", f"one of {', '.join(names[:5])}, ...", "check the path"
        )
    return found
