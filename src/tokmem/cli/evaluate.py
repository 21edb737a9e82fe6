"""`tokmem eval`: measures a saved bank on a corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tokmem.cli.flags import Flags, given
from tokmem.cli.inputs import input_file
from tokmem.cli.memory import FASTEST, OF_BANK, Prompt, bank_config, bank_itself, open_memory
from tokmem.cli.shared import Out, Resume, load, run_folder, show_results
from tokmem.cli.train import choose_source
from tokmem.config import parse_yaml
from tokmem.config.texts import quoted
from tokmem.errors import ConfigError

EXAMPLE = "tokmem eval runs/train --corpus my.jsonl"
FLAGS = Flags(
    "atomic",
    keys=("data.*", "backbone.*", "recall.*", "max_length"),
    skip=("data.source", "data.train_size", "data.val_size", "recall.mode"),
    defaults=OF_BANK | FASTEST,
)
# Settings that composed queries have too.
_OF_CALLS = ("data.corpus", "data.test_size", "backbone.", "recall.", "max_length")


def evaluate(
    ctx: typer.Context,
    bank: Annotated[
        Path | None, typer.Argument(metavar="BANK", help="Folder of the bank.", callback=bank_itself)
    ] = None,
    named: Annotated[
        Path | None, typer.Option("--bank", help="The same as BANK.", callback=bank_itself)
    ] = None,
    prompt: Prompt = None,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Measure a saved bank on the test examples of a corpus: routing, ROUGE-L, exact match.

    Test examples are those whose `split` says so. If no line has a split, a hash of instruction and query
    chooses a tenth. Procedures that the bank does not know are left out.

    A --corpus of composed queries (.json, as `tokmem data compose` writes them) is for a bank of tools. All
    its queries are asked: F1 of tools and of calls, by number of calls.
    """
    from tokmem.tracks.atomic.data import check_corpus
    from tokmem.tracks.run import run

    bank, settings = _one_bank(bank, named), given(ctx)
    corpus = parse_yaml(settings.get("data.corpus", "null"), "--corpus")
    if corpus is not None and corpus.endswith(".json"):
        if resume:
            raise ConfigError("--resume with composed queries", "a run of another corpus", "leave it out")
        _measure_calls(bank, Path(corpus), settings, prompt, out)
        return
    if settings.get("recall.constrained") == "true":
        raise ConfigError("--constrained without composed queries", "a --corpus of them (.json)")
    config = _config(bank, settings, prompt)
    check_corpus(config.data)  # its errors need not wait for the backbone
    folder = run_folder(out, resume, Path("runs/eval"))
    show_results(run(config, folder, resume=resume, backbone=load(config.backbone)), folder)


def _one_bank(bank: Path | None, named: Path | None) -> Path:
    """Returns the folder that was given as an argument or as --bank.

    Raises:
        ConfigError: none was given, or two.
    """
    if bank and named:
        raise ConfigError(f"{bank} and --bank {named}", "one of them", "leave one out")
    found = bank or named
    if found is None:
        raise ConfigError("no bank", "the folder of one", "write tokmem eval BANK")
    return found


def _config(bank: Path, settings: dict[str, str], prompt: str | None) -> Any:
    """Makes the experiment that measures a bank and trains nothing."""
    from tokmem.bank.store import load_bank
    from tokmem.data.choose import known_procedures
    from tokmem.tracks.atomic.data import corpus_names

    loaded, origin = load_bank(bank)
    prompt = prompt or origin.training.get("prompt")
    choose_source(settings)
    own = {
        "name": "eval",
        "methods": "[tokmem]" if loaded.coupled else "[tokmem_dc]",
        "load_task_tokens": quoted(str(bank)),
        "skip_training": "true",
        "data.train_size": "0",
        "data.val_size": "0",
        **({"prompts": quoted([prompt])} if prompt else {}),
    }
    config = bank_config(bank, origin, {**own, **settings})
    if config.data.tasks:
        return config
    where = config.data.tasks_dir or config.data.corpus or "the generated procedures"
    known = known_procedures(corpus_names(config.data), loaded.names, where)
    return replace(config, data=replace(config.data, tasks=known))


def _measure_calls(
    bank: Path, corpus: Path, settings: dict[str, str], prompt: str | None, out: Path | None
) -> None:
    """Measures a bank of tools on composed queries."""
    from tokmem.tracks.compositional.evaluate import CallsEvalConfig, CallsEvaluation
    from tokmem.tracks.run import carry_out

    input_file(corpus)  # its error need not wait for the backbone
    stray = next((key for key in settings if not key.startswith(_OF_CALLS)), None)
    if stray is not None:
        option = FLAGS.options()[stray]
        raise ConfigError(f"{option} with composed queries", "an option of other corpora", "leave it out")
    size = parse_yaml(settings.pop("data.test_size", "null"), "--test-size")
    config = CallsEvalConfig(str(bank), str(corpus), size)
    del settings["data.corpus"]
    memory = open_memory(bank, {"recall.mode": "chain", **settings}, prompt)
    folder = run_folder(out, False, Path("runs/eval"))
    experiment = CallsEvaluation(config, memory, folder)
    show_results(carry_out(experiment, config, folder, memory.backbone), folder)
