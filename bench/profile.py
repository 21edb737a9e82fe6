"""Says where the time of a suffix step goes: `python -m bench.profile`.

A suffix step is the rest of a training step after its prompts were read: forward and backward over memory
tokens and responses, and AdamW. Its kernels are summed by kind. The rate of its matrix products is compared
with one large product of the same type in the same run; the difference is what better kernels could gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch.profiler import ProfilerActivity, profile

from bench.contenders import FrozenPrefix, suffix_step
from bench.epochs import timed
from bench.setup import Settings, build_bank, build_model, load_queries, prepare
from bench.train_step import describe, parse
from tokmem.errors import ConfigError
from tokmem.files import atomic_write_json
from tokmem.model.hardware import pick_device
from tokmem.model.prefix import read_prefixes
from tokmem.report.tables import Table
from tokmem.train.optim import Group, build_adamw

OUT = Path("results/bench/profile.json")
LARGE = 4096  # rows of the product that the others are compared with
LAYERS, VOCABULARY, ATTENTION = (
    "matrix products of the layers",
    "matrix products with the vocabulary",
    "attention",
)
COLUMNS = {"part": "part of a suffix step", "seconds": "seconds", "share": "share", "gflops": "GFLOP/s"}
FORMATS = {"seconds": ".3f", "share": ".1%", "gflops": ".0f"}


def kind(name: str, shapes: Sequence[Sequence[int]], settings: Settings) -> str | None:
    """Returns the part of the step that a kernel belongs to, by its name and input shapes, or None."""
    if "scaled_dot_product" in name or "attention" in name or name == "aten::bmm":
        return ATTENTION
    if name in ("aten::mm", "aten::addmm"):
        widest = max(settings.hidden, settings.intermediate)
        return VOCABULARY if max(shapes[-1]) > widest else LAYERS  # the last is the weight
    return None


def kernels(steps: Callable[[], object], settings: Settings) -> dict[str, tuple[float, float]]:
    """Returns seconds and floating-point operations of the large kernels in the steps, by part."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True) as recorded:
        steps()
    sums: dict[str, tuple[float, float]] = dict.fromkeys((LAYERS, VOCABULARY, ATTENTION), (0.0, 0.0))
    for event in recorded.key_averages(group_by_input_shape=True):
        part = kind(event.key, [s for s in event.input_shapes if s], settings)
        if part:
            seconds, work = sums[part]
            sums[part] = seconds + event.self_cpu_time_total / 1e6, work + (event.flops or 0)
    return sums


@torch.no_grad()
def large_rate(settings: Settings, device: torch.device) -> float:
    """Returns operations per second of a product of many rows with a layer's widest weight."""
    dtype = getattr(torch, settings.dtype)
    left = torch.randn(LARGE, settings.hidden, device=device).to(dtype)
    right = torch.randn(settings.hidden, settings.intermediate, device=device).to(dtype)
    torch.mm(left, right)
    seconds = median(timed(lambda: torch.mm(left, right), device) for _ in range(5))
    return 2.0 * LARGE * settings.hidden * settings.intermediate / seconds


def summarise(
    sums: Mapping[str, tuple[float, float]], whole: float, large: float, count: int
) -> list[dict[str, Any]]:
    """Makes a row for each part of `count` steps that took `whole` seconds; says what faster products gain.

    Args:
        sums: seconds and operations of each part.
        whole: seconds of all steps.
        large: operations per second of a large product.
        count: number of steps.
    """

    def row(part: str, seconds: float, work: float = 0.0) -> dict[str, Any]:
        rate = {"gflops": work / seconds / 1e9} if work else {}
        return {"part": part, "seconds": seconds / count, "share": seconds / whole, **rate}

    products = [sums[part] for part in (LAYERS, VOCABULARY)]
    ideal = whole - sum(seconds - work / large for seconds, work in products)
    return [
        *(row(LAYERS, *sums[LAYERS]), row(VOCABULARY, *sums[VOCABULARY]), row(ATTENTION, sums[ATTENTION][0])),
        row("norms, rotary embeddings, activations, graph, AdamW", whole - sum(s for s, _ in sums.values())),
        row("whole", whole),
        row(f"whole, products as fast as one of {LARGE:,} rows", ideal) | {"gflops": large / 1e9},
    ]


def run(settings: Settings) -> dict[str, Any]:
    """Measures and returns the content of the result file."""
    if pick_device(settings.device) != "cpu":
        raise ConfigError(f"device {settings.device}", "cpu: a GPU's kernels run while the host goes on")
    prepare(settings)
    queries, model = load_queries(settings), build_model(settings)
    ours = FrozenPrefix(model, build_bank(settings, model, queries.names))
    lm, optimizer = ours.lm, build_adamw([Group([ours.rows])], settings.lr, 0.0)
    read = [read_prefixes(lm, [e.ids[: e.prefix] for e in batch]) for batch in queries.batches]

    def steps() -> None:
        for batch, prefixes in zip(queries.batches, read, strict=True):
            suffix_step(lm, optimizer, batch, prefixes)

    steps()  # warms up
    whole = min(timed(steps, lm.device) for _ in range(3))  # without the recorder's own time
    sums, large = kernels(steps, settings), large_rate(settings, lm.device)
    return {
        "rows": summarise(sums, whole, large, len(queries.batches)),
        **describe(settings, model, queries),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the result file, prints the table."""
    settings, out = parse(arguments, __doc__ or "", OUT, steps=6, procedures=10)
    result = run(settings)
    atomic_write_json(out, result)
    Console().print(Table(result["rows"], COLUMNS, FORMATS, "Where a suffix step's time goes").rich())


if __name__ == "__main__":
    main()
