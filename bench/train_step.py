"""Times one training step of TokMem beside the plain loop and PEFT: `python -m bench.train_step`.

All three train the same rows of the same backbone on the same real queries, in one run on one machine. A
round is one step of each in turn, with a batch of its own, so a slowing machine slows all alike. A step is
forward, backward and AdamW; TokMem's step also reads the queries' prefixes. Before anything is timed, all
must give the same loss and the same gradient of the rows in float32. In another dtype the result says how far
each is then from the plain loop in float32. Peak memory is measured in a fresh process each, on the batch
with the most positions.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor
from transformers import PreTrainedModel

from bench.contenders import BUILDERS, Contender, Trainer
from bench.peak import measure_peak
from bench.setup import RANDOM, SHAPE, Queries, Settings, build_bank, build_model, load_queries, prepare
from tokmem.errors import TrainingError
from tokmem.files import atomic_write_json
from tokmem.model.backbone import load_backbone
from tokmem.model.catalog import MINI, SMOLLM2
from tokmem.model.fingerprint import fingerprint
from tokmem.model.hardware import pick_device
from tokmem.provenance import provenance
from tokmem.records import Encoded
from tokmem.report.tables import Table

TOLERANCE = (1e-5, 1e-3)  # allowed relative differences from TokMem's loss and rows' gradient in float32
DTYPES = ("bfloat16", "float16", "float32")
OUT = Path("results/bench/train_step.json")
Seconds = Mapping[str, float]


class Work(NamedTuple):
    """What a contender computes of a batch: its loss, and the gradient of its rows in float32."""

    loss: float
    gradient: Tensor

    def apart(self, other: Work) -> tuple[float, float]:
        """Relative distances of loss and gradient to another's."""
        distance = (self.gradient - other.gradient).norm() / other.gradient.norm()
        return abs(self.loss - other.loss) / other.loss, float(distance)


def worked(contenders: Mapping[str, Contender], batch: Sequence[Encoded]) -> dict[str, Work]:
    """Computes loss and gradient of each contender on a batch; changes nothing."""
    found = {}
    for name, contender in contenders.items():
        loss = contender.loss(batch)
        (gradient,) = torch.autograd.grad(loss, [contender.rows])
        found[name] = Work(float(loss.detach()), gradient.float())
    return found


def check_equal_work(exact: Mapping[str, Work]) -> None:
    """Refuses to time contenders that do not compute the same thing in float32.

    Raises:
        TrainingError: a loss or a gradient differs by more than the tolerance.
    """
    for name, work in exact.items():
        loss, gradient = work.apart(exact["tokmem"])
        if not (loss <= TOLERANCE[0] and gradient <= TOLERANCE[1]):
            raise TrainingError(
                f"{name} is apart from tokmem by {loss:.2g} in loss and {gradient:.2g} in gradient",
                f"at most {TOLERANCE[0]} and {TOLERANCE[1]} in float32",
            )


def agreement(
    settings: Settings, model: PreTrainedModel, names: Sequence[str], queries: Queries
) -> dict[str, Any]:
    """Checks that all contenders do equal work on one query, and measures what the dtype costs each.

    Args:
        settings: of the measurement.
        model: the backbone.
        names: contenders to compare.
        queries: the data; the first query is compared, because float32 takes twice the memory.

    Returns:
        for each contender `loss` and `gradient`: in float32 the relative distances to TokMem's, and in
        another dtype `rounding_loss` and `rounding_gradient` too, the distances to the plain loop in float32.

    Raises:
        TrainingError: the contenders do not compute the same thing in float32.
    """

    def work(model: PreTrainedModel) -> dict[str, Work]:
        bank = lambda: build_bank(settings, model, queries.names)  # noqa: E731 each has its own
        return worked({name: BUILDERS[name](model, bank()) for name in names}, queries.batches[0][:1])

    whole = settings.dtype == "float32"
    exact = work(model if whole else deepcopy(model).float())
    check_equal_work(exact)
    found: dict[str, Any] = {"tolerance": TOLERANCE}
    for name, one in exact.items():
        loss, gradient = one.apart(exact["tokmem"])
        found[name] = {"loss": loss, "gradient": gradient}
    for name, one in ({} if whole else work(model)).items():
        loss, gradient = one.apart(exact["plain"])
        found[name] |= {"rounding_loss": loss, "rounding_gradient": gradient}
    return found


def time_rounds(trainers: Mapping[str, Trainer], queries: Queries, device: torch.device) -> list[Seconds]:
    """Returns the seconds of each contender's step in each round; all warm up on the first batch."""
    for trainer in trainers.values():
        trainer.step(queries.batches[0])
    return [{name: _seconds(t, batch, device) for name, t in trainers.items()} for batch in queries.batches]


def _seconds(trainer: Trainer, batch: Sequence[Encoded], device: torch.device) -> float:
    wait(device)
    started = time.perf_counter()
    trainer.step(batch)
    wait(device)
    return time.perf_counter() - started


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summarise(
    rounds: Sequence[Seconds], tokens: Sequence[int], peaks: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Makes a row a contender with medians over the rounds; ratios are taken within a round."""
    return [
        {
            "name": name,
            "tokens_per_second": median(n / r[name] for n, r in zip(tokens, rounds, strict=True)),
            "step_seconds": median(r[name] for r in rounds),
            "speedup": median(r["plain"] / r[name] for r in rounds),
            **peaks[name],
            "memory_share": peaks[name]["peak_gb"] / peaks["plain"]["peak_gb"],
        }
        for name in rounds[0]
    ]


def run(settings: Settings) -> dict[str, Any]:
    """Measures everything and returns the content of the result file.

    Raises:
        TrainingError: the contenders do not compute the same thing.
    """
    peaks = {name: measure_peak(name, settings) for name in BUILDERS}
    prepare(settings)
    queries = load_queries(settings)
    model = build_model(settings)
    agreed = agreement(settings, model, tuple(BUILDERS), queries)
    # Each contender has its own bank, because a step changes the rows.
    contenders = {
        name: build(model, build_bank(settings, model, queries.names)) for name, build in BUILDERS.items()
    }
    trainers = {name: Trainer(contender, settings.lr) for name, contender in contenders.items()}
    device = torch.device(pick_device(settings.device))
    rounds = time_rounds(trainers, queries, device)
    facts = describe(settings, model, queries)
    return {
        "rows": summarise(rounds, [sum(len(e.ids) for e in batch) for batch in queries.batches], peaks),
        **facts,
        "supervised_share": facts["queries"]["supervised_tokens"] / facts["queries"]["tokens"],
        "agreement": agreed,
        "rounds": rounds,
    }


def describe(settings: Settings, model: PreTrainedModel, queries: Queries) -> dict[str, Any]:
    """Returns what a result file says about the measurement and its origin."""
    return {
        "backbone": named(settings),
        "model": describe_model(model, settings),
        "queries": describe_queries(queries),
        "threads": torch.get_num_threads(),
        "provenance": provenance(
            settings.seed, queries.checksum, fingerprint(model), pick_device(settings.device)
        ),
    }


def named(settings: Settings) -> str:
    """Returns a result's name of the backbone: the last part of a folder, because no result holds a path."""
    if settings.backbone == RANDOM:
        return "random weights"
    return Path(settings.backbone).name if Path(settings.backbone).is_dir() else settings.backbone


def describe_model(model: PreTrainedModel, settings: Settings) -> dict[str, Any]:
    """Returns shape and size of the backbone."""
    weights = f"{named(settings)}, tied embeddings" if settings.backbone == RANDOM else named(settings)
    shape = {
        k: getattr(settings, k) for k in ("layers", "hidden", "heads", "kv_heads", "intermediate", "vocab")
    }
    parameters = list(model.parameters())
    return {
        "architecture": f"{type(model).__name__}, {weights}",
        **shape,
        "dtype": settings.dtype,
        "parameters": sum(p.numel() for p in parameters),
        "model_gb": sum(p.nbytes for p in parameters) / 1e9,
        "memory_tokens": settings.procedures,
    }


def describe_queries(queries: Queries) -> dict[str, Any]:
    """Returns the sizes of the training data, in tokens."""
    examples = [example for batch in queries.batches for example in batch]
    return {
        "source": queries.source,
        "per_step": len(queries.batches[0]),
        "steps": len(queries.batches),
        "tokens": sum(len(e.ids) for e in examples),
        "supervised_tokens": sum(sum(e.supervised) for e in examples),
        "mean_prompt_tokens": fmean(e.prefix for e in examples),
        "mean_supervised_tokens": fmean(sum(e.supervised) for e in examples),
        "padded_positions": sum(len(b) * max(len(e.ids) for e in b) for b in queries.batches),
        "cut": queries.cut,
    }


def show(result: Mapping[str, Any]) -> None:
    """Prints the table."""
    columns = {
        "name": "step",
        "tokens_per_second": "tokens/s",
        "speedup": "x plain",
        "step_seconds": "seconds",
        "peak_gb": "peak GB",
        "memory_share": "of plain",
    }
    formats = dict.fromkeys(("speedup", "step_seconds", "peak_gb", "memory_share"), ".2f")
    model, queries = result["model"], result["queries"]
    title = (
        f"Training step: {model['parameters'] / 1e6:,.0f} M parameters ({model['model_gb']:.2f} GB), "
        f"{queries['per_step']} queries of {queries['source']}, {result['supervised_share']:.1%} supervised"
    )
    Console().print(Table(result["rows"], columns, formats, title).rich())


def parse(
    arguments: Sequence[str] | None, about: str = __doc__ or "", out: Path = OUT, **defaults: object
) -> tuple[Settings, Path]:
    """Parses settings and result file from the command line."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="result file (default: one of the backbone's own)")
    parser.add_argument("--steps", type=int, default=5, help="timed rounds")
    parser.add_argument("--batch", type=int, default=4, help="queries a step")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--tasks-dir",
        default=os.environ.get("TOKMEM_SNI_DIR"),
        help="Super-NaturalInstructions task files (or TOKMEM_SNI_DIR); without them, generated procedures",
    )
    parser.add_argument(
        "--tokenizer", help="folder of a tokenizer (default: the backbone's, or the bundled one)"
    )
    parser.add_argument("--procedures", type=int, default=50, help="memory tokens in the bank")
    parser.add_argument("--max-length", type=int, default=512, help="most tokens in a sequence")
    parser.add_argument("--dtype", default="bfloat16", choices=DTYPES)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--backbone",
        default=SMOLLM2,
        help="a name, a hub id, a folder, or random: weights of the shape below",
    )
    for name, value in SHAPE.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.set_defaults(**defaults)
    given = vars(parser.parse_args(arguments))
    wanted = given.pop("out")
    if given["backbone"] != RANDOM:
        given |= shape_of(given["backbone"])
        if Path(given["backbone"]).is_dir():
            given["backbone"] = str(Path(given["backbone"]).resolve())  # peaks are measured elsewhere
    given["tokenizer"] = given["tokenizer"] or (MINI if given["backbone"] == RANDOM else given["backbone"])
    if Path(given["tokenizer"]).is_dir():
        given["tokenizer"] = str(Path(given["tokenizer"]).resolve())
    if given["tasks_dir"]:
        given["tasks_dir"] = str(Path(given["tasks_dir"]).resolve())
    settings = Settings(**given)
    own = out if settings.backbone == RANDOM else out.with_stem(f"{out.stem}_{Path(named(settings)).name}")
    return settings, wanted or own


def shape_of(backbone: str) -> dict[str, int]:
    """Returns the shape of a backbone with weights, under the names of `SHAPE`.

    Raises:
        TokMemError: there is no such backbone.
    """
    config = load_backbone(backbone).model.config
    names = {
        "layers": "num_hidden_layers",
        "hidden": "hidden_size",
        "heads": "num_attention_heads",
        "kv_heads": "num_key_value_heads",
        "intermediate": "intermediate_size",
        "vocab": "vocab_size",
    }
    return {name: getattr(config, theirs) for name, theirs in names.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the result file, prints the table."""
    settings, out = parse(arguments)
    result = run(settings)
    atomic_write_json(out, result)
    show(result)


if __name__ == "__main__":
    main()
