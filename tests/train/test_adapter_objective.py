"""LoRA through `fit`: the loss and gradient of a plain forward, isolation, and resuming bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import oracles
from tests.tiny import DIM, SPARE, VOCAB, tiny_model, tiny_plain_examples
from tests.train.lines import learned
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.data.replay import ReplayOrder
from tokmem.errors import TrainingError
from tokmem.log import Metrics
from tokmem.model.backbone import wrap_backbone
from tokmem.model.lora import Adapter, LoraSettings
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Encoded
from tokmem.train import loss as loss_module
from tokmem.train import step as step_module
from tokmem.train.adapter import AdapterObjective
from tokmem.train.fit import fit
from tokmem.train.objective import Piece
from tokmem.train.settings import FitReport, FitSettings

pytest.importorskip("peft")

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
SETTINGS = FitSettings(
    lr=0.02, weight_decay=0.01, epochs=3, batch_size=2, accumulation=2, window=4, validate_every=2
)


def objective(name: str = "llama", *, stage: int = 0, **shape: Any) -> AdapterObjective:
    adapter = Adapter(wrap_backbone(tiny_model(name), None, "tiny"), LoraSettings(**{"lora_r": 2} | shape))
    lm = MemoryLM(adapter.model, Bank(DIM, IdSpace(VOCAB, SPARE)))
    return AdapterObjective(lm, adapter, seed=0, stage=stage)


def weights(made: AdapterObjective) -> list[torch.Tensor]:
    return [p.detach().clone() for p in made.parameters]


def run(made: AdapterObjective, settings: FitSettings = SETTINGS, **options: Any) -> FitReport:
    """Twelve new examples and five that may be replayed among them."""
    order = ReplayOrder(settings.stream(12), 5, 0.3, 1)
    held = tiny_plain_examples(5, seed=1)
    return fit(made, tiny_plain_examples(17), settings, validation=held, order=order, **options)


@torch.no_grad()
def held_out(made: AdapterObjective, examples: list[Encoded], size: int = 4) -> float:
    return sum(float(loss.total) for loss in made.validation(examples, size, 64))


def total_of(made: AdapterObjective, given: Piece) -> torch.Tensor:
    """The loss of all parts of a micro-batch."""
    return torch.stack([loss.total for loss in made.losses([given])]).sum()


def piece(count: int, draw: tuple[int, int] = (0, 0)) -> Piece:
    examples = tiny_plain_examples(count)
    return Piece(examples, examples, range(count), "all", draw)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("llama", ("q_proj", "v_proj")),
        ("gemma2", ("q_proj", "down_proj")),
        ("mistral", ("k_proj",)),
        ("gpt-neox", ("query_key_value", "dense")),
    ],
)
def test_loss_and_gradient_are_those_of_a_plain_forward_with_labels(
    name: str, targets: tuple[str, ...], chunked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference is what PEFT makes of the saved adapter, on a model of its own.

    alpha / r = 1.5: at the 16 of the default alpha, a random model's gradients are so large that float32's
    rounding alone, of either side against float64, exceeds the tolerance.
    """
    from peft import PeftModel

    if chunked:
        monkeypatch.setattr(loss_module, "MOST_STATES", 3)
        monkeypatch.setattr(loss_module, "CPU_LOGITS", 3 * 40)
        monkeypatch.setattr(loss_module, "LEAST_PART", 40)
        monkeypatch.setattr(step_module, "CPU_TOKENS", 20)
    made = objective(name, target_modules=targets, lora_dropout=0.0, lora_alpha=3)
    with torch.no_grad():
        for parameter in made.parameters:
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    made.adapter.save(tmp_path / "a", {})
    theirs = PeftModel.from_pretrained(tiny_model(name), str(tmp_path / "a"), is_trainable=True).eval()
    right = [p for p in theirs.parameters() if p.requires_grad]
    want = oracles.labelled_loss(theirs, tiny_plain_examples(7))
    got, count = total_of(made, piece(7)), sum(sum(e.supervised) for e in tiny_plain_examples(7))
    torch.testing.assert_close(got / count, want, **CLOSE)
    (got / count).backward()
    for ours, wanted in zip(made.parameters, torch.autograd.grad(want, right), strict=True):
        assert wanted.abs().max() > 1e-4
        torch.testing.assert_close(ours.grad, wanted, **CLOSE)


def test_logits_are_made_at_response_positions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = objective(), []
    part = made.lm.head.part
    monkeypatch.setattr(
        made.lm.head, "part", lambda hidden, rows: seen.append(len(hidden)) or part(hidden, rows)
    )
    total_of(made, piece(6))
    assert set(seen) == {sum(sum(e.supervised) for e in tiny_plain_examples(6))}


def test_the_adapter_moves_and_the_backbone_does_not() -> None:
    made = objective("llama-tied")
    model = made.adapter.backbone.model
    before, start = {n: t.clone() for n, t in model.state_dict().items()}, weights(made)
    report = run(made)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all((a != b).any() for a, b in zip(weights(made), start, strict=True))
    assert (report.prefix_hits, report.prefix_misses) == (0, 0)


def test_the_loss_falls_and_tokens_are_counted_once(tmp_path: Path) -> None:
    examples = tiny_plain_examples(12)
    made = objective(lora_r=8)
    with Metrics(tmp_path / "m.jsonl") as metrics:
        report = fit(made, examples, FitSettings(lr=0.05, epochs=10), callbacks=[metrics])
    first, last = (held_out(each, examples) for each in (objective(lora_r=8), made))
    assert last < 0.8 * first
    assert report.supervised_tokens == 10 * sum(sum(e.supervised) for e in examples)
    assert report.prompt_tokens == 10 * sum(e.supervised.index(True) for e in examples)
    assert "memory_loss" not in (tmp_path / "m.jsonl").read_text()


class Stop(Exception):
    pass


class Interrupted(Metrics):
    """Ends the run between a step's metrics and its checkpoint, as a kill might."""

    def __init__(self, path: Path, last: int) -> None:
        super().__init__(path)
        self.last = last

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        super().write(step, values)
        if step == self.last:
            raise Stop


@pytest.mark.parametrize("last", [3, 8])
def test_an_interrupted_run_ends_with_the_same_adapter(tmp_path: Path, last: int) -> None:
    """Dropout and replays draw the same; the run stops in a step that its checkpoint does not hold yet."""
    settings = replace(SETTINGS, checkpoint_every=2)
    whole, first, second = (objective(lora_dropout=0.3) for _ in range(3))
    with Metrics(tmp_path / "whole.jsonl") as metrics:
        report = run(whole, settings, callbacks=[metrics])
    folder = {"checkpoint": tmp_path / "run"}
    with pytest.raises(Stop), Interrupted(tmp_path / "broken.jsonl", last) as metrics:
        run(first, settings, callbacks=[metrics], **folder)
    torch.rand(3)  # the global stream is elsewhere when a run is taken up
    with Metrics(tmp_path / "broken.jsonl") as metrics:
        again = run(second, settings, callbacks=[metrics], **folder)
    assert report.steps > last
    assert (again.steps, again.loss, again.best_loss) == (report.steps, report.loss, report.best_loss)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(second), strict=True))
    assert learned(tmp_path / "broken.jsonl") == learned(tmp_path / "whole.jsonl")


def test_dropout_depends_on_stage_step_and_micro_batch() -> None:
    made, other = objective(lora_dropout=0.5), objective(lora_dropout=0.5, stage=1)
    with torch.no_grad():
        for parameter in (*made.parameters, *other.parameters):
            parameter.fill_(0.1)
    losses = [total_of(made, piece(4, draw)).item() for draw in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert losses[0] == losses[1]
    assert len({*losses, total_of(other, piece(4)).item()}) == 4


def test_parts_draw_dropout_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "CPU_TOKENS", 1)
    made, example = objective(lora_dropout=0.5), tiny_plain_examples(1)[0]
    with torch.no_grad():
        for parameter in made.parameters:
            parameter.fill_(0.1)
    both = list(made.losses([Piece([example, example], [], [], "all", (0, 0))]))
    assert len(both) == 2
    assert both[0].total != both[1].total


def test_the_trial_of_packing_sees_no_dropout() -> None:
    made = objective(lora_dropout=0.5)
    with made.adapter.dropping(0, 0):
        before = torch.get_rng_state()
        assert made.lm.longest_packed == float("inf")
        assert torch.equal(before, torch.get_rng_state())
        assert any(module.training for module in made.lm.model.modules())


def test_validation_draws_nothing() -> None:
    made = objective(lora_dropout=0.5)
    with torch.no_grad():
        for parameter in made.parameters:
            parameter.fill_(0.1)
    held = tiny_plain_examples(5, seed=1)
    assert held_out(made, held, 2) == held_out(made, held, 2)
    whole = oracles.labelled_loss(made.adapter.model, held).item() * sum(sum(e.supervised) for e in held)
    assert held_out(made, held, 2) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        {"stage": 1},
        {"lora_alpha": 16},
        {"lora_dropout": 0.2},
        {"name": "llama-tied"},
    ],
)
def test_another_run_is_not_taken_up(tmp_path: Path, other: dict[str, Any]) -> None:
    run(objective(), checkpoint=tmp_path / "run")
    with pytest.raises(TrainingError, match=r"checkpoint .*run is of run \w+"):
        run(objective(**other), checkpoint=tmp_path / "run")


def test_other_replays_are_another_run(tmp_path: Path) -> None:
    run(objective(), checkpoint=tmp_path / "run")
    order = ReplayOrder(SETTINGS.stream(12), 5, 0.2, 1)
    held = tiny_plain_examples(5, seed=1)
    with pytest.raises(TrainingError, match=r"is of run \w+"):
        fit(
            objective(),
            tiny_plain_examples(17),
            SETTINGS,
            validation=held,
            order=order,
            checkpoint=tmp_path / "run",
        )


def test_no_examples_are_refused() -> None:
    with pytest.raises(TrainingError, match="0 examples"):
        fit(objective(), [], SETTINGS)


def test_epochs_of_unequal_length_are_validated_at_their_ends(tmp_path: Path) -> None:
    """Eleven new and 3.67 replayed an epoch, in pairs: 7 or 8 steps."""
    settings = FitSettings(lr=0.01, epochs=4, batch_size=2)
    order = ReplayOrder(settings.stream(11), 4, 0.25, 1)
    ends = [sum(len(order.epoch(e)) for e in range(n + 1)) for n in range(4)]
    lengths = {len(order.epoch(epoch)) for epoch in range(4)}
    with Metrics(tmp_path / "m.jsonl") as metrics:
        report = fit(
            objective(),
            tiny_plain_examples(15),
            settings,
            order=order,
            validation=tiny_plain_examples(2, seed=1),
            callbacks=[metrics],
        )
    validated = [
        int(line.split('"step": ')[1].split(",")[0])
        for line in (tmp_path / "m.jsonl").read_text().splitlines()
        if "validation_loss" in line
    ]
    assert validated == ends
    assert report.steps == ends[-1]
    assert lengths == {7, 8}
    assert report.supervised_tokens == sum(
        sum(tiny_plain_examples(15)[i].supervised)
        for epoch in range(4)
        for batch in order.epoch(epoch)
        for i in batch.indices
    )
