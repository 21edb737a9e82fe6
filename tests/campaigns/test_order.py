"""Random sequences of edits: what was not edited stays bit-equal, rows and forced answers; sums are right."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.campaigns.ledger import SEED, SHARE, Ledger, Tally
from tests.tiny import DIM, SPARE, VOCAB, tiny_model
from tokmem.bank.bank import Bank
from tokmem.bank.closed import close
from tokmem.bank.policy import ClosedForm
from tokmem.bank.slots import IdSpace
from tokmem.bank.statistics import Statistics
from tokmem.bank.store import Origin, load_bank, save_bank
from tokmem.model.memory_lm import MemoryLM
from tokmem.records import Procedure

pytestmark = pytest.mark.slow
SEQUENCES = 1_000
STEPS = 20
MODEL = tiny_model("llama")
READ = {"backbone": "tiny"}
names = st.sampled_from([f"p{number}" for number in range(12)])
draws = st.integers(0, 1 << 30)


def random_rows(draw: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(draw)) * 0.3


def response(bank: Bank, name: str) -> torch.Tensor:
    """The logits over ordinary tokens after a query and a procedure's memory token."""
    ids = torch.tensor([[2, 7, 11, *bank.slots.ids(name)]])
    with torch.no_grad():
        return MemoryLM(MODEL, bank).logits(ids, torch.ones_like(ids))[0, -1, : SPARE[0]]


class Edits(RuleBasedStateMachine):
    """A bank beside what it must hold."""

    coupled, closed, shared = True, False, "updated"
    tally: Tally

    def __init__(self) -> None:
        super().__init__()
        self.bank = self.empty()
        self.rows: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.ids: dict[str, tuple[int, ...]] = {}
        self.answers: dict[str, torch.Tensor] = {}
        self.states: dict[str, list[torch.Tensor]] = {}

    def empty(self) -> Bank:
        bank = Bank(DIM, IdSpace(VOCAB, SPARE), coupled=self.coupled)
        if self.closed:
            bank.statistics = Statistics(DIM, ClosedForm(shared=self.shared), READ)
        return bank

    def put(self, bank: Bank, name: str, draw: int) -> None:
        """Adds a procedure with random rows, or computed addresses."""
        bank.freeze()
        address = None if self.coupled else random_rows(draw + 1, 1, DIM)
        bank.add([Procedure(name)], random_rows(draw, 1, 1, DIM), address)
        if bank.statistics is not None:
            states = random_rows(draw + 2, 5, DIM) + random_rows(draw + 3, DIM)
            bank.statistics.add(name, states, states[:, 0])
            bank.keep_states(name, states[:2])
            self.states.setdefault(name, []).append(states)
            close(bank, [name])

    def note(self, *changed: str) -> None:
        """Takes down what procedures hold now."""
        for name in changed:
            self.rows[name] = self.bank.rows(name)
            self.ids[name] = self.bank.slots.ids(name)
            self.answers[name] = response(self.bank, name)

    @rule(name=names, draw=draws)
    def add(self, name: str, draw: int) -> None:
        if name not in self.bank and name not in self.states:
            self.put(self.bank, name, draw)
            self.note(name)

    @precondition(lambda self: len(self.bank))
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        name = data.draw(st.sampled_from(self.bank.names))
        self.bank.remove([name])
        self.forget(name)

    def forget(self, name: str) -> None:
        for held in (self.rows, self.ids, self.answers):
            held.pop(name)

    @precondition(lambda self: len(self.bank))
    @rule(data=st.data(), new=names)
    def rename(self, data: Any, new: str) -> None:
        old = data.draw(st.sampled_from(self.bank.names))
        if new not in self.bank and new not in self.states:
            self.bank.rename(old, new)
            for held in (self.rows, self.ids, self.answers, self.states):
                if old in held:
                    held[new] = held.pop(old)

    @rule(name=names, draw=draws)
    def merge(self, name: str, draw: int) -> None:
        if name in self.bank or name in self.states or (self.shared == "frozen" and self.closed):
            return
        other = self.empty()
        self.put(other, name, draw)
        self.bank.freeze()
        self.bank.merge(other)
        self.note(name)

    @precondition(lambda self: len(self.bank) > 1 and not self.closed)
    @rule(data=st.data())
    def slice(self, data: Any) -> None:
        kept = data.draw(st.lists(st.sampled_from(self.bank.names), min_size=1, unique=True))
        dropped = [name for name in self.bank.names if name not in kept]
        self.bank = self.bank.slice(kept)
        for name in dropped:
            self.forget(name)

    @precondition(lambda self: len(self.bank) and not self.closed)
    @rule(data=st.data(), draw=draws)
    def relearn(self, data: Any, draw: int) -> None:
        """Only the rows of one procedure may move."""
        name = data.draw(st.sampled_from(self.bank.names))
        self.bank.freeze()
        self.bank.thaw([name])
        with torch.no_grad():
            for table in self.bank.tables:
                table.fresh.add_(random_rows(draw, *table.fresh.shape))
        self.bank.freeze()
        self.note(name)

    @rule()
    def save_and_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            save_bank(self.bank, Path(folder) / "bank", Origin("tiny", "f"))
            self.bank = load_bank(Path(folder) / "bank")[0]

    @invariant()
    def nothing_else_moves(self) -> None:
        assert set(self.bank.names) == set(self.rows)
        for name, (address, steering) in self.rows.items():
            found = self.bank.rows(name)
            assert torch.equal(found[1], steering), name
            assert self.bank.slots.ids(name) == self.ids[name]
            if not self.closed or self.shared == "frozen":
                assert torch.equal(found[0], address), name

    def teardown(self) -> None:
        for name, wanted in self.answers.items():
            assert torch.equal(response(self.bank, name), wanted), name
        if self.closed and len(self.bank):
            self.check_statistics()

    def check_statistics(self) -> None:
        """Sums are those of all states, also of procedures that were removed (in the scatter)."""
        found, anew = self.bank.statistics, Statistics(DIM, ClosedForm(), READ)
        assert found is not None
        for name, groups in self.states.items():
            for states in groups:
                anew.add(name, states, states[:, 0])
        torch.testing.assert_close(found.scatter, anew.scatter)
        assert found.freedom == anew.freedom
        for name in self.bank.names:
            assert found.counts[name] == anew.counts[name]
            torch.testing.assert_close(found.sums[name], anew.sums[name])


def machine(**options: Any) -> type[Edits]:
    return type("Machine", (Edits,), options)


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("coupled bank", {}),
        ("decoupled bank", {"coupled": False}),
        ("closed addresses, frozen", {"coupled": False, "closed": True, "shared": "frozen"}),
        ("closed addresses, updated", {"coupled": False, "closed": True}),
    ],
)
def test_edits_move_what_they_name_alone(what: str, options: dict[str, Any]) -> None:
    ledger = Ledger("order")
    tally = ledger.tally(what)
    left = max(1, round(SEQUENCES * SHARE)) - tally.tried
    if left <= 0:
        return tally.finish()

    class Counted(machine(**options)):
        def teardown(self) -> None:
            super().teardown()
            with tally.counted(f"sequence {tally.tried}"):
                pass

    given = settings(
        max_examples=left,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED)(Counted), settings=given)
    return tally.finish()
