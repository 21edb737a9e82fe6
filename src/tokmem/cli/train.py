"""`tokmem train`: learns one bank and measures it on the test split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokmem.bank.policy import STAND_INS
from tokmem.cli import published
from tokmem.cli.flags import Flags, given, track_config, training_given
from tokmem.cli.inputs import CORPUS, input_file
from tokmem.cli.memory import FASTEST, FITTING, backbone_of, for_speed
from tokmem.cli.outcome import recall_line, show_outcome
from tokmem.cli.shared import Out, Resume, console, load, run_folder
from tokmem.config import parse_yaml
from tokmem.config.texts import quoted
from tokmem.errors import ConfigError

if TYPE_CHECKING:  # importing them takes seconds
    from tokmem.data import Corpus
    from tokmem.model.backbone import Backbone
    from tokmem.train.settings import FitSettings

EXAMPLE = "tokmem train my.jsonl"
FLAGS = Flags(
    "atomic",
    # One memory token answers, so nothing is constrained.
    skip=("track", "name", "training.seed", "recall.mode", "recall.constrained"),
    defaults={
        "methods": "[tokmem_dc], or the method of the bank of --load-task-tokens",
        "backbone.model_name": "smollm2, or the bank's",
        "call_style": "plain, or the bank's",
        "addresses": "closed, unless a method, --preset, --renorm or --negatives is given",
        "stand_ins": f"{STAND_INS} where no method is named, or the bank's",
        "prompts": "query if no example of your corpus has an instruction; else instruction+query",
        "data.source": "by --corpus and --tasks-dir; else procedures",
        **FASTEST,
        **FITTING,
    },
)
RUN = Path("runs/train")
_TUNED = ("lora", "replay")
_TOKENS = ("tokmem", "tokmem_dc")
_CLOSED = "tokmem_dc+addresses=closed"
_OF_CLOSED = ((("shared", "ridge", "false_accept", "stand_ins"), (_CLOSED,)),)


def train(
    ctx: typer.Context,
    corpus: Annotated[Path | None, typer.Argument(help="JSON lines of your own, as --corpus.")] = None,
    out: Out = None,
    resume: Resume = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the first example as tokens, and the cost; train nothing.")
    ] = False,
    preset: published.Preset = None,
    decouple_embeddings: published.Decouple = False,
    continual_replay: published.ContinualReplay = False,
) -> None:
    """Learn procedures as memory tokens, measure them on the test examples, and save the bank.

    Without a corpus it learns `my.jsonl`, which `tokmem init` writes; --families demo learns generated
    procedures. Rate, batch size and epochs fit the corpus and the backbone unless you give them. Each
    procedure becomes a decoupled memory token whose address is computed (closed). --methods names published
    methods (tokmem, tokmem_dc) or rivals instead. --test-size 0 only learns. Backbone, prompts, call style
    and kind of tokens are those of the bank of --load-task-tokens.
    """
    settings = {"name": "train", **published.preset_settings(preset), **given(ctx)}
    named = corpus is not None or any(key.startswith("data.") for key in settings)
    if not named and Path(CORPUS).is_file():
        console().print(f"Corpus: {CORPUS}", markup=False)
        corpus, named = Path(CORPUS), True
    if corpus is not None:
        _take_corpus(settings, corpus)
    choose_source(settings)
    if resume and out is not None and "stand_ins" not in settings:
        settings["stand_ins"] = _earlier_stand_ins(out)
    if not (decouple_embeddings or continual_replay or preset):
        _choose_tokens(settings)
    _choose_methods(settings, decouple_embeddings, continual_replay)
    if "load_task_tokens" in settings:
        _keep_to_bank(settings, _saved_bank(settings))
    config = track_config("atomic", for_speed(settings))
    _check_read(config, given(ctx), settings)
    if not named:
        do = f"`tokmem init` writes {CORPUS} to begin with; --families demo learns generated procedures"
        raise ConfigError("no corpus", "JSON lines of examples: tokmem train FILE", do)
    folder = run_folder(out, resume, RUN)
    prepared = _prepared(config, settings, chooses=preset is None)
    if dry_run:
        _show_cost(*prepared)
    else:
        _learn(*prepared, folder, resume)


def _prepared(config: Any, given: Mapping[str, str], chooses: bool) -> tuple[Any, Corpus, Backbone]:
    """Loads corpus and backbone, and chooses the settings that were not given."""
    from tokmem.data import SPLITS
    from tokmem.tracks.atomic.data import check_corpus, load_corpus

    check_corpus(config.data)  # its errors need not wait for the backbone
    backbone = load(config.backbone)
    corpus = load_corpus(config.data, backbone)
    if "prompts" not in given and not any(e.instruction for split in SPLITS for e in corpus.examples(split)):
        config = replace(config, prompts=("query",))
    if chooses and not config.skip_training and {v.method for v in config.variants} <= {"base", *_TOKENS}:
        config = replace(config, training=_fitting(config, corpus, backbone, given))
    return config, corpus, backbone


def _show_cost(config: Any, corpus: Corpus, backbone: Backbone) -> None:
    from tokmem.methods.tokmem import TokMem

    variant = config.variants[0]
    if variant.method not in _TOKENS:
        raise ConfigError(f"--dry-run of {variant.method}", f"one of {', '.join(_TOKENS)}")
    own = variant.own(config)
    options = {"prompt": config.prompts[0], "max_length": config.max_length, "settings": config.training}
    options |= {"addresses": own.addresses, "start": own.start, "width": own.width}
    memory = TokMem(backbone, coupled=variant.method == "tokmem", **options)
    memory.add(corpus.procedures)
    console().print(str(memory.dry_run(corpus.examples("train"))), markup=False)


def _learn(config: Any, corpus: Corpus, backbone: Backbone, folder: Path, resume: bool) -> None:
    """Runs an atomic experiment, and shows its outcome."""
    from tokmem.tracks.run import run

    show_outcome(run(config, folder, resume=resume, backbone=backbone), corpus, folder)
    if not config.skip_training:
        _say_what_next(config, folder, corpus, backbone.id)


def _fitting(config: Any, corpus: Corpus, backbone: Backbone, given: Mapping[str, str]) -> FitSettings:
    """Chooses the training settings that were not given, by what is learned together, and says so."""
    from tokmem.data.schedule import plan
    from tokmem.train.defaults import describe, settings_for

    blocks = plan(len(corpus.names), config.stages, config.schedule, config.block_size)
    examples = len(corpus.examples("train")) // len(blocks)
    closed = all(v.own(config).addresses == "closed" for v in config.variants if v.method in _TOKENS)
    counts = Counter(turn.procedure for example in corpus.examples("train") for turn in example.turns)
    side_by_side = [*counts.values()] if closed else []
    settings = settings_for(examples, backbone, training_given(config, given), side_by_side)
    console().print(f"Training: {describe(settings, examples, backbone, side_by_side)}.", markup=False)
    return settings


def _take_corpus(settings: dict[str, str], corpus: Path) -> None:
    if "data.corpus" in settings:
        raise ConfigError(f"corpus {corpus} and --corpus", "one of them", "leave --corpus out")
    settings["data.corpus"] = quoted(str(corpus))


def choose_source(settings: dict[str, str]) -> None:
    """Sets the source that the corpus options imply.

    Raises:
        ConfigError: an option of generated procedures stands beside another source.
        DataError: the corpus does not exist.
    """
    if "data.tasks_dir" in settings:
        settings.setdefault("data.source", "sni")
    elif "data.corpus" in settings:
        input_file(Path(parse_yaml(settings["data.corpus"], "--corpus")))
        settings.setdefault("data.source", "jsonl")
    source = parse_yaml(settings.get("data.source", "procedures"), "--source")
    stray = next((key for key in ("data.families", "data.seed") if key in settings), None)
    if stray is not None and source != "procedures":
        raise ConfigError(
            f"{FLAGS.options()[stray]} beside source {source}",
            "an option of generated procedures",
            "leave one of them out",
        )


def _choose_tokens(settings: dict[str, str]) -> None:
    """Where no method is named, takes that of the saved bank, or decoupled tokens."""
    from tokmem.bank.store import load_bank
    from tokmem.methods.memory_settings import default_addresses

    if "methods" in settings:
        return
    asked: dict[str, Any] = {"renorm": "off", "negatives": 0}
    asked |= {key: parse_yaml(settings[key], f"--{key}") for key in asked if key in settings}
    coupled, addresses = False, default_addresses(coupled=False, **asked)
    if "load_task_tokens" in settings:
        bank, _ = load_bank(_saved_bank(settings))
        coupled, addresses = bank.coupled, "trained" if bank.statistics is None else "closed"
    settings["methods"] = quoted(["tokmem" if coupled else "tokmem_dc"])
    settings.setdefault("addresses", addresses)
    if parse_yaml(settings["addresses"], "--addresses") == "closed" and "load_task_tokens" not in settings:
        settings.setdefault("stand_ins", str(STAND_INS))


def _earlier_stand_ins(run: Path) -> str:
    """The number of stand-in queries of a run. Those of earlier versions have none, and do not say so."""
    path = run / "config.yaml"
    own = parse_yaml(path.read_text("utf-8"), str(path)) if path.is_file() else {}
    return str(own.get("stand_ins", 0) if isinstance(own, dict) else 0)


def _saved_bank(settings: Mapping[str, str]) -> Path:
    return Path(parse_yaml(settings["load_task_tokens"], "--load-task-tokens"))


def _choose_methods(settings: dict[str, str], decouple: bool, replay: bool) -> None:
    """Sets the methods, and what they imply: LoRA's rate is --lr, and blocks are a schedule."""
    methods = parse_yaml(settings.get("methods", "[]"), "--methods") or [None]
    methods = [published.switched_method(method, decouple, replay) for method in methods]
    settings["methods"] = quoted(methods)
    tuned = [method for method in methods if method.partition("+")[0] in _TUNED]
    if tuned == methods and "training.lr" in settings:
        settings.setdefault("lora.lr", settings["training.lr"])
    if replay or "block_size" in settings:
        settings.setdefault("schedule", "blocks")


def _check_read(config: Any, own: Mapping[str, str], settings: Mapping[str, str]) -> None:
    """Refuses options that no method reads; --lr may stand for LoRA's rate.

    Raises:
        ConfigError: no method reads an option.
    """
    from tokmem.methods.readers import readers, refuse_unread

    moved = {"training.lr"} if "lora.lr" in settings and "lora.lr" not in own else set()
    wanted = {key: readers("atomic", key, _OF_CLOSED) for key in own if key not in moved}
    present = {variant.method for variant in config.variants}
    if any(getattr(variant.own(config), "addresses", "") == "closed" for variant in config.variants):
        present.add(_CLOSED)
    refuse_unread(wanted, present, config.methods, FLAGS.options())


def _keep_to_bank(settings: dict[str, str], bank: Path) -> None:
    """Sets the backbone, call style and prompt mode of a bank; refuses another prompt mode."""
    from tokmem.bank.store import load_bank

    saved, origin = load_bank(bank)
    if saved.statistics is not None:
        _keep_policy(settings, asdict(saved.statistics.policy))
    settings.setdefault("backbone.model_name", quoted(backbone_of(bank, origin)))
    settings.setdefault("call_style", origin.training.get("call_style", "plain"))
    trained = origin.training.get("prompt")
    asked = parse_yaml(settings.setdefault("prompts", quoted([trained])), "--prompts")
    if trained is None:
        del settings["prompts"]
    elif asked != [trained]:
        raise ConfigError(
            f"--prompts {', '.join(asked)} and bank {bank}, which was trained with {trained}",
            f"{trained}: a bank's procedures share one prompt mode",
            "leave --prompts out; `tokmem eval --prompt` measures a bank with another",
        )


def _keep_policy(settings: Mapping[str, str], own: Mapping[str, Any]) -> None:
    """Refuses to compute a bank's addresses in another way than it did so far.

    Raises:
        ConfigError: an option differs from what the bank keeps.
    """
    if parse_yaml(settings.get("addresses", "closed"), "--addresses") != "closed":
        got = "--addresses trained and a bank that computes its addresses"
        raise ConfigError(got, "closed", "leave the option out, or train a new bank")
    for key, value in own.items():
        if key in settings and (asked := parse_yaml(settings[key], f"--{key}")) != value:
            raise ConfigError(
                f"{FLAGS.options()[key]} {asked} and a bank whose addresses are computed with {value}",
                str(value),
                "leave the option out, or learn a new bank with it",
            )


def _say_what_next(config: Any, folder: Path, corpus: Corpus, backbone: str) -> None:
    from tokmem.tracks.atomic.experiment import learner_name

    name, method = learner_name(config.methods[0], config.prompts[0], config.seeds[0]), config.methods[0]
    if not method.startswith("tokmem"):
        if method.partition("+")[0] in _TUNED:
            console().print(f"Adapter: {folder / 'learned' / name}", markup=False)
        return
    bank = folder / "banks" / name
    alone = len([*bank.parent.iterdir()]) == 1  # the folder of the run stands for it
    line = recall_line(folder if alone else bank, config, corpus, backbone)
    console().print(f"Bank: {bank}\nTry:  {line}", markup=False)
