from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import tiny_examples, tiny_lm
from tests.train.shared import fit_bank, shared_examples
from tests.train.test_fit import lines
from tokmem.log import Metrics
from tokmem.model.prefix import read_prefixes
from tokmem.train import speed
from tokmem.train.bank_objective import BankObjective
from tokmem.train.fit import fit
from tokmem.train.prefix_cache import Usage
from tokmem.train.settings import FitSettings
from tokmem.train.speed import SpeedMeter, peak_bytes, shown
from tokmem.train.step import frozen_prefix_loss


def test_a_meter_counts_from_where_a_run_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 110.0])
    monkeypatch.setattr(speed.time, "monotonic", lambda: next(now))
    meter = SpeedMeter(supervised=1000)
    got = meter.read(1500, Usage(hits=4, misses=2, read_tokens=300, peak_bytes=5 << 20))
    assert got.pop("peak_memory_mb") > 10
    assert got == {
        "supervised_tokens_per_second": 50,
        "unique_prompt_tokens_per_second": 30,
        "prefix_misses": 2,
        "prefix_hits": 4,
        "prefix_mb": 5,
    }
    assert shown(got) == {
        "supervised tokens/s": 50,
        "unique prompt tokens/s": 30,
        "prefix misses": 2,
        "prefix hits": 4,
        "prefix mb": 5,
    }


def test_the_peak_is_that_of_resident_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
    monkeypatch.setattr(speed, "STATUS", status)
    assert peak_bytes() == 2 << 20
    held = torch.ones(1 << 20)
    status.write_text("Name:\tpython\nVmRSS:\t    1024 kB\n")
    assert peak_bytes() > held.nbytes, "some sandboxes write no peak"
    status.unlink()
    assert peak_bytes() > held.nbytes, "elsewhere, what the system tells of the process"
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_bytes() == 0, "on a system that does not tell"


@pytest.mark.parametrize("frozen_prefix", [True, False])
def test_each_line_of_metrics_tells_how_fast_it_went(tmp_path: Path, frozen_prefix: bool) -> None:
    lm = tiny_lm("llama")
    settings = FitSettings(lr=0.01, epochs=2, batch_size=2, window=4, frozen_prefix=frozen_prefix)
    with Metrics(tmp_path / "m.jsonl") as metrics:
        report = fit_bank(lm, shared_examples(lm.bank, 8), settings, callbacks=[metrics])
    told = [line["speed"] for line in lines(tmp_path / "m.jsonl")]
    assert len(told) == report.steps == 8
    assert all(line["supervised_tokens_per_second"] > 0 for line in told)
    assert all(line["peak_memory_mb"] > 10 for line in told)
    if frozen_prefix:
        assert [line["prefix_misses"] for line in told] == [1, 1, 2, 2, 2, 2, 2, 2]
        assert [line["prefix_hits"] for line in told] == [0, 1, 1, 2, 3, 4, 5, 6]
        assert (told[-1]["prefix_hits"], told[-1]["prefix_misses"]) == (6, 2)
        assert told[0]["unique_prompt_tokens_per_second"] > 0
    else:
        assert all(len(line) == 2 for line in told)


class Waits(TorchDispatchMode):
    """Records what a GPU's host waits for: values that it reads, and shapes that follow from values."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.overloadpacket.__name__
        masked = name.startswith("index") and any(
            isinstance(x, Tensor) and x.dtype == torch.bool for x in (args[1] if name == "index" else ())
        )
        if masked or name.lstrip("_").startswith(tuple(n.lstrip("_") for n in self.NAMES)):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_waits_are_seen() -> None:
    x = torch.arange(3.0)
    with Waits() as waits:
        assert float(x[x > 0].sum()) == 3
    assert waits.found == ["index", "_local_scalar_dense"]


def test_a_step_does_not_wait_for_the_device() -> None:
    lm = tiny_lm("llama", False)
    examples = tiny_examples(lm.bank, 4)
    with Waits() as waits:
        assert lm.longest_packed > 100
    assert waits.found, "the trial compares"
    prefixes = read_prefixes(lm, [e.ids[: e.prefix] for e in examples])
    with Waits() as waits:
        frozen_prefix_loss(lm, examples, prefixes).total.backward()
        read_prefixes(lm, [e.ids[: e.prefix] for e in examples])
    assert waits.found == []


def test_a_whole_step_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the sums, whichever they are: the host sees to it that the loss is finite before rows move."""
    lm = tiny_lm("llama")
    settings = FitSettings(lr=0.01, batch_size=2, accumulation=3)
    objective = BankObjective(lm, **settings.prefixes)
    assert objective.lm.longest_packed > 100
    reads = []
    whole = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda x: reads.append(tuple(x.shape)) or whole(x))
    with Waits() as waits:
        fit(objective, tiny_examples(lm.bank, 12), settings)
    assert reads == [(1, 3), (1, 3)]
    assert set(waits.found) <= {"_local_scalar_dense"}
