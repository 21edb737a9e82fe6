"""Two processes train what one does."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.train.parallel_run import main, train
from tokmem.train.parallel import Processes, join_processes


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def report(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("frozen_prefix", [True, False])
def test_two_processes_train_the_bank_of_one(tmp_path: Path, frozen_prefix: bool) -> None:
    """Float32 sums in another order: rows within 1e-4 after twelve steps at a high rate."""
    torch.multiprocessing.spawn(main, (2, free_port(), tmp_path, frozen_prefix), nprocs=2)
    alone = tmp_path / "alone"
    alone.mkdir()
    single = train(alone, "single", frozen_prefix=frozen_prefix)
    wanted = load_file(alone / "single.safetensors")
    first, second = (load_file(tmp_path / f"process{i}.safetensors") for i in (0, 1))
    for name, rows in wanted.items():
        torch.testing.assert_close(first[name], rows, rtol=1e-4, atol=1e-4)
        assert torch.equal(first[name], second[name])
        assert torch.equal(load_file(tmp_path / "again1.safetensors")[name], second[name])
    one, two = report(tmp_path, "process0"), report(tmp_path, "process1")
    assert one["best_loss"] == two["best_loss"] == pytest.approx(single.best_loss, rel=1e-4)
    assert one["supervised_tokens"] == two["supervised_tokens"] == single.supervised_tokens
    if frozen_prefix:  # each reads its own prompts
        assert max(one["read_tokens"], two["read_tokens"]) < 0.8 * single.read_tokens
    lines = [path.read_text().splitlines() for path in (tmp_path / "process0.jsonl", alone / "single.jsonl")]
    assert len(lines[0]) == len(lines[1]) > 12
    assert (tmp_path / "process1.jsonl").read_text() == ""


def test_alone_where_nothing_was_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes() == Processes(0, 1)
    parameter = torch.nn.Parameter(torch.ones(2))
    Processes().add_gradients([parameter])
    assert parameter.grad is None
    assert Processes().add(torch.ones(2)).tolist() == [1, 1]


def test_texts_alone_are_ones_own() -> None:
    assert Processes().gather("päß") == ["päß"]


def test_everything_has_one_owner() -> None:
    both = [Processes(index, 3) for index in range(3)]
    assert all(sum(p.own(i) for p in both) == 1 for i in range(10))


def test_the_others_go_on_where_the_first_one_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(Processes, "wait", lambda self: waits.append(self.index))
    with pytest.raises(ValueError, match="no checkpoint"), Processes(0, 2).in_turn():
        raise ValueError("no checkpoint")
    assert waits == [0]


class FakeState:
    """What accelerate knows of two processes, of which the other one adds zeros."""

    device = torch.device("cpu")
    waited = 0

    def wait_for_everyone(self) -> None:
        FakeState.waited += 1


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> tuple[Processes, Processes]:
    """Two processes; the sum over both is what the asked one has."""
    monkeypatch.setattr("accelerate.PartialState", FakeState)
    monkeypatch.setattr("accelerate.utils.reduce", lambda tensor, kind: tensor.clone())
    return Processes(0, 2), Processes(1, 2)


def test_sums_and_texts_of_two_processes(pair: tuple[Processes, Processes]) -> None:
    first, second = pair
    assert second.totals([1.5, 2.0]) == [1.5, 2.0]
    assert second.gather("héllo") == ["", "héllo"]
    assert first.from_first(lambda: "told") == "told"
    assert second.from_first(lambda: pytest.fail("the first one makes it")) == ""
    assert first.value_of_first(lambda: {"a": [1, "é"]}) == {"a": [1, "é"]}
    before = FakeState.waited
    second.wait()
    assert FakeState.waited == before + 1


def test_gradients_are_added_and_values_are_copied(pair: tuple[Processes, Processes]) -> None:
    first, second = pair
    one, two = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    one.grad = torch.tensor([1.0, 2.0])
    second.add_gradients([one, two])
    assert [p.grad.tolist() for p in (one, two) if p.grad is not None] == [[1.0, 2.0], [0.0, 0.0]]
    first.copy_first([one])
    assert one.tolist() == [1.0, 1.0]
    second.copy_first([one])
    assert one.tolist() == [0.0, 0.0], "it has what the first one gave"
