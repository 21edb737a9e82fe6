"""Options that several commands share, and the settings that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokmem.errors import ConfigError

if TYPE_CHECKING:
    from tokmem.tracks.atomic import AtomicConfig
    from tokmem.tracks.backbone import BackboneConfig

_DATA, _MODEL, _TRAINING = "Corpus", "Backbone", "Training"
_RECALL, _OUTPUT = "Recall", "Output"

TasksDir = Annotated[
    Path | None, typer.Option(help="Folder of Super-NaturalInstructions task files.", rich_help_panel=_DATA)
]
CorpusFile = Annotated[
    Path | None,
    typer.Option("--corpus", help="Your own JSON lines, or composed queries (.json).", rich_help_panel=_DATA),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", "--tasks", help="A procedure to take; may be repeated.", rich_help_panel=_DATA),
]
NumTasks = Annotated[
    int | None, typer.Option(help="How many procedures; all by default.", rich_help_panel=_DATA)
]
TrainSize = Annotated[
    int | None,
    typer.Option(help="Training examples a procedure (500; --corpus: all).", rich_help_panel=_DATA),
]
ValSize = Annotated[
    int | None,
    typer.Option(help="Validation examples a procedure (10; --corpus: all).", rich_help_panel=_DATA),
]
TestSize = Annotated[
    int | None, typer.Option(help="Test examples a procedure (50; --corpus: all).", rich_help_panel=_DATA)
]
FewShot = Annotated[
    int | None, typer.Option(help="Demonstrations before each query (0).", rich_help_panel=_DATA)
]
MaxInstructionTokens = Annotated[
    int | None, typer.Option(help="Drop examples with longer prompts.", rich_help_panel=_DATA)
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model-name",
        "--backbone",
        help="mini or mini-tools (bundled), a hub id, or a local folder.",
        rich_help_panel=_MODEL,
    ),
]
DType = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...", rich_help_panel=_MODEL)]
QuantizationName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="none, 8bit or 4bit.", rich_help_panel=_MODEL),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        metavar="MODE",
        help="instruction+query, or query alone: the memory token replaces the instruction.",
        rich_help_panel=_DATA,
    ),
]
MaxLength = Annotated[
    int | None, typer.Option(help="Most tokens in a sequence (1024).", rich_help_panel=_MODEL)
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Rate and decay of the paper, or of its published scripts: paper or scripts.",
        rich_help_panel=_TRAINING,
    ),
]
NumEpochs = Annotated[
    int | None,
    typer.Option("--num-epochs", "--epochs", help="Passes over the examples (1).", rich_help_panel=_TRAINING),
]
BatchSize = Annotated[
    int | None, typer.Option(help="Examples in a micro-batch (4).", rich_help_panel=_TRAINING)
]
Accumulation = Annotated[
    int | None, typer.Option(help="Micro-batches in a step (1).", rich_help_panel=_TRAINING)
]
LearningRate = Annotated[
    float | None,
    typer.Option("--lr", help="AdamW's rate (0.005; scripts 0.001).", rich_help_panel=_TRAINING),
]
ValidateEvery = Annotated[
    int | None,
    typer.Option(help="Steps between validations; by default once an epoch.", rich_help_panel=_TRAINING),
]
Shuffle = Annotated[
    bool | None,
    typer.Option(
        "--shuffle-train/--no-shuffle-train", help="Shuffle the examples, or not.", rich_help_panel=_TRAINING
    ),
]
Seed = Annotated[int | None, typer.Option(help="Of starting rows and order (0).", rich_help_panel=_TRAINING)]
Plain = Annotated[
    bool, typer.Option("--plain", help="The plain, slower training path.", rich_help_panel=_TRAINING)
]
StartName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Starting rows: mean, description, sampled or orthogonal.",
        rich_help_panel=_TRAINING,
    ),
]
Width = Annotated[int | None, typer.Option(help="Memory tokens a procedure (1).", rich_help_panel=_TRAINING)]
RenormName = Annotated[
    str | None,
    typer.Option(
        "--renorm",
        metavar="WHEN",
        help="Rescale new rows to the norm of old ones: off, stage or step.",
        show_default=False,
        rich_help_panel=_TRAINING,
    ),
]
Negatives = Annotated[
    int | None,
    typer.Option(
        help="Query states to keep of each procedure, to train newcomers against (0).",
        rich_help_panel=_TRAINING,
    ),
]
Decouple = Annotated[
    bool,
    typer.Option(
        "--decouple-embeddings", help="Address and steering apart (TokMem+DC).", rich_help_panel=_TRAINING
    ),
]
SkipTraining = Annotated[
    bool,
    typer.Option(
        "--skip-training", help="Only evaluate the bank of --load-task-tokens.", rich_help_panel=_TRAINING
    ),
]
LoadTaskTokens = Annotated[
    Path | None,
    typer.Option(
        help="A saved bank: to evaluate, or to add this corpus's procedures to.", rich_help_panel=_TRAINING
    ),
]
MethodName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="tokmem, or a rival: base, icl, rag, rag_instructed, lora or replay.",
        rich_help_panel=_TRAINING,
    ),
]
BlockSize = Annotated[
    int | None,
    typer.Option(help="Learn the tasks in blocks of so many, one after another.", rich_help_panel=_TRAINING),
]
EvalBatchSize = Annotated[
    int | None, typer.Option(help="Queries answered together (32).", rich_help_panel=_RECALL)
]
MaxNewTokens = Annotated[
    int | None, typer.Option(help="Most tokens in a response (256).", rich_help_panel=_RECALL)
]
SavePath = Annotated[
    Path | None,
    typer.Option(help="The run's folder; by default the next free one under runs.", rich_help_panel=_OUTPUT),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run of --save-path.", rich_help_panel=_OUTPUT)
]

SETTINGS = {
    "tasks_dir": "data.tasks_dir",
    "corpus": "data.corpus",
    "tasks": "data.tasks",
    "num_tasks": "data.num_tasks",
    "train_size": "data.train_size",
    "val_size": "data.val_size",
    "test_size": "data.test_size",
    "few_shot": "data.few_shot",
    "max_instruction_tokens": "data.max_instruction_tokens",
    "model_name": "backbone.model_name",
    "dtype": "backbone.dtype",
    "device": "backbone.device",
    "quantization": "backbone.quantization",
    "num_epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "gradient_accumulation_steps": "training.accumulation",
    "lr": "training.lr",
    "validate_every_n_steps": "training.validate_every",
    "shuffle_train": "training.shuffle",
    "eval_batch_size": "recall.batch_size",
    "max_new_tokens": "recall.max_new_tokens",
    "start": "start",
    "width": "width",
    "renorm": "renorm",
    "negatives": "negatives",
    "max_length": "max_length",
    "lora_r": "lora.lora_r",
    "lora_alpha": "lora.lora_alpha",
    "lora_dropout": "lora.lora_dropout",
    "target_modules": "lora.target_modules",
    "load_model": "lora.load_model",
    "continual_replay_ratio": "replay.continual_replay_ratio",
    "block_size": "block_size",
    "skip_training": "skip_training",
    "load_task_tokens": "load_task_tokens",
}
"""The setting of an experiment that an option gives."""


def atomic_config(name: str, given: Mapping[str, Any]) -> AtomicConfig:
    """The experiment that a command's options describe: one method, one prompt mode, one seed.

    Args:
        name: of the experiment.
        given: values by option; None leaves the default.

    Raises:
        ConfigError: a value is not one that its setting takes.
    """
    from tokmem.config.convert import build
    from tokmem.tracks.atomic import AtomicConfig

    method = _method(given)
    sections = ("data", "backbone", "training", "recall", "lora", "replay")
    raw: dict[str, Any] = {"name": name} | {section: {} for section in sections}
    raw["training"] |= _preset(given.get("preset") or "paper")
    for option, key in SETTINGS.items():
        if (value := given.get(option)) is not None and value != []:
            section, _, leaf = key.rpartition(".")
            (raw[section] if section else raw)[leaf] = str(value) if isinstance(value, Path) else value
    raw["data"]["source"] = (
        "sni" if given.get("tasks_dir") else "jsonl" if given.get("corpus") else "procedures"
    )
    if given.get("plain"):
        raw["training"]["frozen_prefix"] = False
    if modules := given.get("target_modules"):
        raw["lora"]["target_modules"] = [module.strip() for module in modules.split(",")]
    if method in _ADAPTED and given.get("lr") is not None:
        raw["lora"]["lr"] = given["lr"]
    if given.get("continual_replay") or given.get("block_size"):
        raw["schedule"] = "blocks"
    raw["methods"] = [method]
    raw["prompts"] = [given.get("prompt") or "instruction+query"]
    raw["seeds"] = [given.get("seed") or 0]
    return build(AtomicConfig, raw, None, "")


_ADAPTED = ("lora", "replay")
_OF_LORA = ("lora_r", "lora_alpha", "lora_dropout", "target_modules", "load_model", "continual_replay_ratio")


def _method(given: Mapping[str, Any]) -> str:
    """The method that the options name.

    Raises:
        ConfigError: options of different methods were given.
    """
    method: str = given.get("method") or ("replay" if given.get("continual_replay") else "tokmem")
    if given.get("continual_replay") and method == "lora":
        method = "replay"
    stray = [name for name in _OF_LORA if given.get(name) is not None and method not in _ADAPTED]
    stray += ["continual_replay"] * bool(given.get("continual_replay") and method != "replay")
    stray += ["decouple_embeddings"] * bool(given.get("decouple_embeddings") and "tokmem" not in method)
    if stray:
        raise ConfigError(
            f"--{stray[0].replace('_', '-')} and method {method}",
            "options of one method",
            "leave it out, or name its method with --method",
        )
    return "tokmem_dc" if given.get("decouple_embeddings") else method


def prompt_of(bank: Path, given: str | None) -> str | None:
    """The prompt mode that a bank was trained with, which goes on; None where it says none.

    Raises:
        BankError: the bank is damaged.
        ConfigError: another mode is given.
    """
    from tokmem.bank.store import load_bank

    trained: str | None = load_bank(bank)[1].training.get("prompt", given)
    if given not in (None, trained):
        raise ConfigError(
            f"--prompt {given} and bank {bank}, which was trained with {trained}",
            f"{trained}: a bank's procedures share one prompt mode",
            "leave --prompt out; `tokmem eval --prompt` measures a bank with another",
        )
    return trained


def backbone_config(given: Mapping[str, Any]) -> BackboneConfig:
    """The backbone that a command's options describe.

    Raises:
        ConfigError: a value is not one that its setting takes.
    """
    from tokmem.config.convert import build
    from tokmem.tracks.backbone import BackboneConfig

    names = [key.removeprefix("backbone.") for key in SETTINGS.values() if key.startswith("backbone.")]
    raw = {name: given[name] for name in names if given.get(name) is not None}
    return build(BackboneConfig, raw, None, "backbone")


def _preset(name: str) -> dict[str, Any]:
    from tokmem.train.settings import PRESETS

    if name not in PRESETS:
        raise ConfigError(f"preset {name!r}", f"one of {', '.join(PRESETS)}")
    return dict(PRESETS[name])
