"""`tokmem demo`: learns ten new procedures as ten tokens and recalls them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokmem.cli.shared import command_line, console, load, show_answer, show_results
from tokmem.errors import ConfigError
from tokmem.files import check_replaceable

if TYPE_CHECKING:  # importing them takes seconds
    from tokmem.data.corpus import Corpus
    from tokmem.model.backbone import Backbone
    from tokmem.tracks.atomic.config import AtomicConfig

EXAMPLE = "tokmem demo"
_ALOUD = 5
_WRITTEN = (  # what a demo's folder holds; the first marks it
    *("config.yaml", "banks", "cells", "checkpoints", "clock.json", "data.json", "learned"),
    *("metrics", "predictions", "report", "summary.json"),
)
_FILES = {"mini": "demo_mini.yaml"}  # demos of their own; every other backbone takes demo.yaml


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run; an earlier demo there is replaced.")] = Path(
        "runs/demo"
    ),
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that share the methods; 0 for one a core, at most four.")
    ] = 0,
    model_name: Annotated[
        str | None,
        typer.Option("--backbone", "--model-name", help="smollm2, mini, a hub id, a folder or a .gguf file."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
) -> None:
    """Teach a frozen model ten new procedures as ten tokens, measure them, and recall five queries aloud."""
    from tokmem.config import load_config
    from tokmem.tracks.atomic.config import AtomicConfig
    from tokmem.tracks.atomic.data import load_corpus
    from tokmem.tracks.atomic.experiment import learner_name
    from tokmem.tracks.run import run
    from tokmem.tracks.workers import cores

    named = [f"backbone.model_name={json.dumps(model_name)}"] if model_name else []
    with as_file(files("tokmem.tracks") / _FILES.get(model_name or "", "demo.yaml")) as path:
        config = _with_what_is_here(load_config(AtomicConfig, path, [*named, *(set_ or [])]))
    tokens = [m for name in ("tokmem_dc", "tokmem") for m in config.methods if m.partition("+")[0] == name]
    ours = next(iter(tokens), None)  # decoupled ones are better
    if ours is None or "query" not in config.prompts:
        raise ConfigError(
            "a demo without memory tokens or without prompt query",
            "method tokmem_dc or tokmem, and prompt query: the demo recalls with that bank",
        )
    _require_ours(out)
    backbone = load(config.backbone)
    corpus = load_corpus(config.data, backbone)
    if out.is_dir():  # only now that the new demo can start
        shutil.rmtree(out)
    retrieved = " and with retrieved examples in its prompt (rag)" if "rag" in config.methods else ""
    console().print(
        f"A frozen backbone ({backbone.id}) meets ten procedures. It is asked untrained (base){retrieved}, "
        "then learns one token each: coupled (tokmem), or decoupled (tokmem_dc).",
        markup=False,
    )
    workers = workers or min(4, cores())
    summary = run(config, out, workers=workers, backbone=backbone)
    show_results(summary, out)
    bank = out / "banks" / learner_name(ours, "query", config.seeds[0])
    _recall_aloud(config, backbone, corpus, bank)
    _write_page(summary, bank, out / "report")
    console().print(f'Try next:  {command_line("recall", bank)} "..."', markup=False)


def _with_what_is_here(config: AtomicConfig) -> AtomicConfig:
    """The demo without RAG where its text encoder is not at hand."""
    if "rag" not in config.methods:
        return config
    from transformers.utils import logging

    from tokmem.methods.retrieval.text_encoder import SentenceEncoder

    logging.disable_progress_bar()
    try:
        SentenceEncoder(config.demonstrations.retriever)
    except ConfigError as error:
        console().print(f"Without rag: {error.got}; {error.do}", markup=False)
        return replace(config, methods=tuple(method for method in config.methods if method != "rag"))
    return config


def _write_page(summary: Mapping[str, Any], bank: Path, out: Path) -> None:
    """Writes the run as a page with plots, if matplotlib is installed."""
    from tokmem.bank.store import load_bank
    from tokmem.report.bank_geometry import bank_geometry
    from tokmem.report.page import write_page

    loaded, origin = load_bank(bank)
    try:
        page = write_page([summary, bank_geometry(loaded, origin, bank.name)], out)
    except ConfigError as error:
        console().print(f"No page with plots: {error.got}; {error.do}", markup=False)
    else:
        console().print(f"Open:      {page}", markup=False)


def _require_ours(folder: Path) -> None:
    """Refuses a folder that holds anything but an earlier demo."""
    if folder.is_dir():
        check_replaceable(folder, _WRITTEN)
        config = folder / "config.yaml"
        if config.is_file() and "\nname: demo\n" not in config.read_text("utf-8"):
            raise ConfigError(
                f"{folder} holds another run", "a demo or a new folder", "name another one with --out"
            )
    elif folder.exists():
        raise ConfigError(f"{folder} is a file", "a folder", "name another one with --out")


def _recall_aloud(config: AtomicConfig, backbone: Backbone, corpus: Corpus, bank: Path) -> None:
    """Loads the bank back and answers a test query of some procedures, without instructions."""
    from tokmem.methods.tokmem import TokMem

    step = max(1, len(corpus.names) // _ALOUD)
    examples = [corpus.test[name][0] for name in corpus.names[::step][:_ALOUD] if corpus.test[name]]
    recall = replace(config.recall, top_k=3)
    memory = TokMem.load(bank, backbone, max_length=config.max_length, recall=recall)
    console().print(
        f"\nRecalled aloud, by the query alone, with the bank read back from {bank}:\n", markup=False
    )
    for example, answer in zip(examples, memory.answer(examples), strict=True):
        show_answer(answer, memory.bank.procedures, reference=" | ".join(example.accepted))
