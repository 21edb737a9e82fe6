"""`tokmem eval`: measure a saved bank on a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokmem.cli import options as o
from tokmem.cli.memory import open_memory
from tokmem.cli.shared import own_backbone, run_folder, show_results
from tokmem.cli.train import measure
from tokmem.errors import ConfigError, DataError
from tokmem.log import logger

if TYPE_CHECKING:
    from tokmem.tracks.data import DataConfig

EXAMPLES = "Example: tokmem eval --bank runs/train/banks/tokmem-query-0 --corpus my.jsonl"
_NAMED = 5  # procedures that a message names
# Options that composed queries do not take.
_OF_CORPUS = ("tasks_dir", "tasks", "num_tasks", "few_shot", "max_instruction_tokens", "resume")


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
    constrained: Annotated[
        bool, typer.Option("--constrained", help="Arguments of tools must be JSON of the tool's schema.")
    ] = False,
    save_path: o.SavePath = None,
    resume: o.Resume = False,
) -> None:
    """Measure a saved bank on the test examples of a corpus: routing, ROUGE-L, exact match.

    Test examples are those whose `split` says so; where no line has one, a tenth that a hash of instruction
    and query chooses. Procedures that the bank does not know are left out. Backbone and prompt are those that
    the bank was trained with, unless they are given.

    A --corpus of composed queries (.json, as `tokmem data compose` writes) is for a bank of tools, and all of
    it is asked: F1 of tools and of calls by number of calls.
    """
    from tokmem.bank.store import load_bank

    if corpus is not None and corpus.suffix == ".json":
        _measure_calls(bank, corpus, ctx.params)
        return
    if constrained:
        raise ConfigError("--constrained without composed queries", "a --corpus of them (.json)")
    loaded, origin = load_bank(bank)
    given: dict[str, Any] = {
        **ctx.params,
        "load_task_tokens": bank,
        "skip_training": True,
        "train_size": 0,
        "val_size": 0,
        "decouple_embeddings": not loaded.coupled,
        "model_name": model_name or own_backbone(bank, origin.backbone),
        "prompt": prompt or origin.training.get("prompt"),
    }
    config = o.atomic_config("eval", given)
    if not tasks:
        config = replace(config, data=_known_part(config.data, loaded.names))
    measure(config, run_folder(save_path, resume, Path("runs/eval")), resume)


def _measure_calls(bank: Path, corpus: Path, given: Mapping[str, Any]) -> None:
    """A bank of tools on composed queries."""
    from tokmem.recall.settings import RecallSettings
    from tokmem.tracks.tool_eval import CallsEvalConfig, measure_calls

    stray = [name for name in _OF_CORPUS if given[name]]
    if stray:
        option = f"--{stray[0].replace('_', '-')}"
        raise ConfigError(f"{option} with composed queries", "an option of other corpora", "leave it out")
    config = CallsEvalConfig(str(bank), str(corpus), given["test_size"])
    recall = {
        "mode": "chain",
        "constrained": given["constrained"],
        "batch_size": given["eval_batch_size"] or RecallSettings.batch_size,
        "max_new_tokens": given["max_new_tokens"] or RecallSettings.max_new_tokens,
    }
    memory = open_memory(bank, given, **recall)
    folder = run_folder(given["save_path"], False, Path("runs/eval"))
    show_results(measure_calls(config, memory, folder), folder)


def _known_part(data: DataConfig, names: tuple[str, ...]) -> DataConfig:
    """The procedures of the corpus that the bank knows; a warning names the others."""
    from tokmem.tracks.data import corpus_names

    offered, where = corpus_names(data), data.tasks_dir or data.corpus or "the generated procedures"
    known = tuple(name for name in names if name in offered)
    if not known:
        wanted = f"one of {', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"
        raise DataError(f"{where}: no procedure of the bank", wanted, "check bank and corpus")
    left = [name for name in offered if name not in known]
    if left:
        named = ", ".join(left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
        count = f"{len(left)} of {len(offered)}"
        logger.warning("%s: left out what the bank does not know (%s): %s", where, count, named)
    return replace(data, tasks=known)
