"""TokMem with closed-form addresses: procedures do not depend on each other, nor on their order."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone, tiny_lm
from tokmem.bank.calibration import fit_reference
from tokmem.bank.closed import close, gate_of, reference_of
from tokmem.bank.moments import Moments
from tokmem.bank.store import load_bank
from tokmem.errors import BankError, ConfigError, DataError, TrainingError
from tokmem.log import Callback, Metrics
from tokmem.methods import closed
from tokmem.methods.call_states import ELSEWHERE, _summed, best_ordinary, elsewhere
from tokmem.methods.corrections import Corrections
from tokmem.methods.tokmem import TokMem
from tokmem.methods.tokmem_lora import TokMemLora
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure, Turn
from tokmem.train.parallel import Processes
from tokmem.train.settings import FitSettings
from tokmem.train.step import plain_states

NAMES = ("capital", "date", "sum", "river")
QUERIES = ("France", "a country", "Today", "Italy", "a river", "Japan")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def memory(backbone: Backbone, **options: Any) -> TokMem:
    settings = FitSettings(lr=0.05, epochs=2, batch_size=2)
    recall = RecallSettings(max_new_tokens=4)
    fixed = {"coupled": False, "addresses": "closed", "settings": settings, "recall": recall, "stand_ins": 0}
    return TokMem(backbone, **fixed | options)


def examples(*names: str, queries: Sequence[str] = QUERIES) -> list[Example]:
    return [Example(q, (Turn(n, f"{n} of {q}"),), f"tell me the {n} of") for n in names for q in queries]


def learn(made: TokMem, *names: str, **options: Any) -> TokMem:
    made.learn([Procedure(n) for n in names], examples(*names), examples(*names)[:1], **options)
    return made


def assert_same(made: TokMem, other: TokMem) -> None:
    """Rows to 1e-4 (shapes of products differ), the same routes with the same probabilities."""
    for name in made.bank.names:
        (address, steering), (its_address, its_steering) = made.bank.rows(name), other.bank.rows(name)
        torch.testing.assert_close(steering, its_steering, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(address, its_address, rtol=1e-4, atol=1e-4)
    asked = examples(*made.bank.names)
    for answer, its in zip(made.answer(asked), other.answer(asked), strict=True):
        assert answer.route is not None
        assert its.route is not None
        assert answer.turns == its.turns
        assert answer.route.rejected == its.route.rejected
        assert answer.route.choices[0].probability == pytest.approx(
            its.route.choices[0].probability, abs=1e-4
        )


def test_a_procedure_alone_and_among_others_has_the_same_steering(backbone: Backbone) -> None:
    among, start = learn(memory(backbone), *NAMES), memory(backbone)
    start.add([Procedure("date")])
    alone = learn(memory(backbone), "date")
    row = alone.bank.rows("date")[1]
    torch.testing.assert_close(row, among.bank.rows("date")[1], rtol=1e-5, atol=1e-5)
    assert float((row - start.bank.rows("date")[1]).abs().max()) > 1e-2


def test_the_steering_of_procedures_side_by_side_is_that_of_single_runs(backbone: Backbone) -> None:
    """An oracle: AdamW on the mean loss of one example a step, a procedure at a time, on the plain path."""
    plain = replace(memory(backbone).settings, frozen_prefix=False, packed_rows=False)
    fast, slow = learn(memory(backbone), *NAMES), memory(backbone, settings=plain)
    for name in NAMES:
        learn(slow, name)
        torch.testing.assert_close(slow.bank.rows(name)[1], fast.bank.rows(name)[1], rtol=1e-4, atol=1e-4)


def test_every_order_gives_the_same_memory(backbone: Backbone) -> None:
    whole = learn(memory(backbone), *NAMES)
    for order in list(permutations(NAMES))[::7]:
        single = memory(backbone)
        for name in order:
            learn(single, name)
        merged = learn(memory(backbone), *order[:2])
        merged.bank.merge(learn(memory(backbone), *order[2:]).bank)
        assert_same(single, whole)
        assert_same(merged, whole)


def test_queries_reach_their_procedures(backbone: Backbone) -> None:
    made, fresh = learn(memory(backbone), *NAMES), examples(*NAMES, queries=("Peru", "the sun"))
    for asked, least in ((examples(*NAMES), 23), (fresh, 5)):
        routes = [answer.route for answer in made.answer(asked)]
        pairs = zip(routes, asked, strict=True)
        assert (
            sum(route is not None and route.procedure == e.turns[0].procedure for route, e in pairs) >= least
        )


def test_the_fit_alone_rejects(backbone: Backbone) -> None:
    """With `reject` plain text is written where no procedure fits well enough, else a memory token."""
    made, asked = learn(memory(backbone, shared="frozen"), *NAMES), examples(*NAMES)
    statistics = made.bank.statistics
    assert statistics is not None
    assert statistics.reference is not None
    fits = [
        answer.route.fit for answer in made.recall(asked) if answer.route and answer.route.fit is not None
    ]
    middle = torch.tensor(sorted(fits)[len(asked) // 2], dtype=torch.float64) - 1e-9
    statistics.reference, statistics.gate = replace(statistics.reference, least_fit=middle), None
    answers = made.recall(asked, reject=True)
    assert [answer.route.rejected for answer in answers if answer.route] == [fit < middle for fit in fits]
    assert [not answer.turns for answer in answers] == [fit < middle for fit in fits]
    assert all(answer.turns for answer in made.recall(asked))


def test_a_saved_memory_goes_on_learning(backbone: Backbone, tmp_path: Path) -> None:
    learn(memory(backbone), *NAMES[:3]).save(tmp_path / "bank")
    options = {"settings": memory(backbone).settings, "recall": memory(backbone).recall_settings}
    loaded = TokMem.load(tmp_path / "bank", backbone, **options)
    assert loaded.notes["addresses"] == "closed"
    assert_same(learn(loaded, NAMES[3]), learn(memory(backbone), *NAMES))


def test_a_removed_procedure_is_learned_anew(backbone: Backbone) -> None:
    made = learn(memory(backbone), *NAMES)
    steering = made.bank.rows("sum")[1]
    made.bank.remove(["sum"])
    learn(made, "sum")
    torch.testing.assert_close(made.bank.rows("sum")[1], steering, rtol=1e-5, atol=1e-5)
    assert made.bank.statistics is not None
    assert made.bank.statistics.counts == dict.fromkeys(NAMES, 6)


def test_frozen_rows_keep_their_bits(backbone: Backbone) -> None:
    made = learn(memory(backbone, shared="frozen"), *NAMES[:3])
    before = {name: made.bank.rows(name) for name in NAMES[:3]}
    learn(made, NAMES[3])
    for name, rows in before.items():
        assert all(torch.equal(row, its) for row, its in zip(made.bank.rows(name), rows, strict=True))


def test_fit_takes_pairs_and_adds_their_procedures(backbone: Backbone) -> None:
    made = memory(backbone, prompt="query")
    pairs = {name: [(f"tell me the {name} of {q}", f"{name} of {q}") for q in QUERIES] for name in NAMES}
    report = made.fit(pairs, lr=0.02)
    assert (report.steps, report.examples) == (2 * 6, 4 * 12)
    assert made.bank.statistics is not None
    assert made.bank.statistics.counts == dict.fromkeys(NAMES, 6)
    assert all(answer.route and answer.route.fit is not None for answer in made.recall(["a river", "Italy"]))


def test_procedures_with_unequal_numbers_of_examples_train_apart(backbone: Backbone) -> None:
    made = memory(backbone)
    few = examples("date", queries=QUERIES[:2])
    made.learn([Procedure(n) for n in ("date", "sum", "river")], [*few, *examples("sum", "river")], [])
    assert made.bank.statistics is not None
    assert made.bank.statistics.counts == {"date": 2, "sum": 6, "river": 6}
    alone = memory(backbone)
    alone.learn([Procedure("date")], few, [])
    torch.testing.assert_close(made.bank.rows("date")[1], alone.bank.rows("date")[1], rtol=1e-5, atol=1e-5)


def chains() -> list[Example]:
    """Queries of one or two calls, in every order."""
    single = examples(*NAMES)
    pairs = [(a, b) for a in NAMES for b in NAMES if a != b]
    double = [
        Example(f"{a} then {b} of {q}", (Turn(a, f"{a} of {q}"), Turn(b, f"{b} of {q}")))
        for a, b in pairs
        for q in QUERIES[:3]
    ]
    return [*single, *double]


def test_chains_count_the_states_before_every_call_and_elsewhere(backbone: Backbone) -> None:
    made = memory(backbone, recall=RecallSettings(mode="chain", max_new_tokens=24))
    train = chains()
    made.learn([Procedure(n) for n in NAMES], train, train[:4])
    statistics, calls = made.bank.statistics, [t.procedure for e in train for t in e.turns]
    assert statistics is not None
    assert statistics.counts == {name: calls.count(name) for name in NAMES}
    assert statistics.rest.count == ELSEWHERE * len(calls)
    assert float(fit_reference(statistics, made.bank.states).call.norm()) > 0


def test_chains_call_where_a_call_stands_and_less_elsewhere(backbone: Backbone) -> None:
    """The row that is common to all addresses keeps memory tokens out of responses, and costs few calls."""
    made = memory(backbone, recall=RecallSettings(mode="chain", max_new_tokens=24))
    train = chains()
    made.learn([Procedure(n) for n in NAMES], train, [])
    statistics = made.bank.statistics
    assert statistics is not None
    called, elsewhere = calls_at(made, train)
    statistics.rest = Moments(statistics.dim)  # as if no state but those of calls had been seen
    close(made.bank)
    called_without, elsewhere_without = calls_at(made, train)
    assert min(called, called_without) > 0.85
    assert elsewhere < 0.7 * elsewhere_without


@torch.no_grad()
def calls_at(made: TokMem, examples: Sequence[Example]) -> tuple[float, float]:
    """Share of positions at which a memory token wins: where a call stands, and elsewhere."""
    states, targets = plain_states(made.lm, [made.encoder.encode(e) for e in examples])
    wins = made.lm.head.memory(states).amax(-1) > best_ordinary(made.lm, states)
    call = torch.isin(targets, torch.tensor([ids[0] for ids in made.bank.memory.values()]))
    return float(wins[call].float().mean()), float(wins[~call].float().mean())


def test_only_single_calls_of_this_stage_are_learned(backbone: Backbone) -> None:
    chain = Example("both", (Turn("date", "a"), Turn("sum", "b")))
    for wrong in (chain, *examples("river", queries=("Italy",))):
        with pytest.raises(DataError, match=r"one turn: recall takes one|procedure 'river'"):
            memory(backbone).learn(
                [Procedure("date"), Procedure("sum")], [*examples("date", "sum"), wrong], []
            )
    made = learn(memory(backbone), "date")
    with pytest.raises(DataError, match="no examples of sum"):
        made.learn([Procedure("sum")], examples("date"), [])
    made.bank.freeze()
    with pytest.raises(TrainingError, match="no procedures to learn"):
        made.fit(examples("date"))
    with pytest.raises(DataError, match="'dates'"):
        made.fit(examples("dates"))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"coupled": True}, "tokmem_dc"), ({"renorm": "stage"}, "addresses closed and renorm stage")],
)
def test_what_does_not_go_with_closed_addresses_is_refused(
    backbone: Backbone, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        memory(backbone, **options)


@pytest.mark.parametrize(
    ("options", "coupled", "closed"),
    [
        ({}, False, True),
        ({"shared": "frozen", "width": 2}, False, True),
        ({"recall": RecallSettings(mode="chain")}, False, True),
        ({"addresses": "closed", "negatives": 3}, False, True),
        ({"addresses": "trained"}, False, False),
        ({"negatives": 3}, False, False),
        ({"renorm": "step"}, False, False),
        ({"coupled": True}, True, False),
    ],
)
def test_addresses_are_computed_unless_something_excludes_it(
    backbone: Backbone, tmp_path: Path, options: dict[str, Any], coupled: bool, closed: bool
) -> None:
    made = TokMem(backbone, **options)
    assert (made.bank.coupled, made.bank.statistics is not None) == (coupled, closed)
    made.add("date")
    made.save(tmp_path / "bank")
    loaded = TokMem.load(tmp_path / "bank", backbone)
    assert (loaded.bank.coupled, loaded.bank.statistics is not None) == (coupled, closed)


def test_fit_chooses_passes_by_what_a_step_takes(backbone: Backbone) -> None:
    """A procedure needs about 150 steps, and each step takes one of its examples."""
    alone, chained = TokMem(backbone), TokMem(backbone, recall=RecallSettings(mode="chain"))
    for made in (alone, chained):
        made.add(NAMES)
    report = alone.fit(examples(*NAMES), lr=0.001)
    assert (report.steps, report.examples) == (25 * 6, 25 * 24)
    assert chained.dry_run(examples(*NAMES)).steps == 75 * 2


def test_procedures_are_learned_one_after_the_other(backbone: Backbone) -> None:
    """What is added and not learned yet changes no answer."""
    made, alone = memory(backbone), memory(backbone)
    made.add(["date", "sum"])
    made.fit(examples("date"))
    alone.add("date")
    alone.fit(examples("date"))
    assert torch.equal(made.bank.rows("date")[0], alone.bank.rows("date")[0])
    made.fit(examples("sum"))
    assert made.bank.statistics is not None
    assert made.bank.statistics.counts == {"date": 6, "sum": 6}
    assert_same(made, learn(memory(backbone), "date", "sum"))


def test_an_adapter_that_trains_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match="beside an adapter"):
        TokMemLora(copy.deepcopy(backbone), freeze_after_first=True, coupled=False, addresses="closed")


def test_a_saved_bank_of_the_other_kind_is_not_restored(backbone: Backbone, tmp_path: Path) -> None:
    learn(memory(backbone), "date").save(tmp_path / "bank")
    with pytest.raises(BankError, match="computed addresses; wanted: trained ones"):
        memory(backbone, addresses="trained").restore(tmp_path / "bank")
    memory(backbone).restore(tmp_path / "bank")


@pytest.mark.parametrize(
    ("name", "value"), [("shared", "updated"), ("ridge", 0.5), ("false_accept", 0.01), ("stand_ins", 0)]
)
def test_a_saved_bank_keeps_how_it_computes_addresses(
    backbone: Backbone, tmp_path: Path, name: str, value: Any
) -> None:
    own: dict[str, Any] = {"shared": "frozen", "ridge": 0.1, "false_accept": 0.2, "stand_ins": 2}
    learn(memory(backbone, **own), "date").save(tmp_path / "bank")
    for options in ({}, own):
        found = TokMem.load(tmp_path / "bank", backbone, **options).bank.statistics
        assert found is not None
        assert asdict(found.policy) == own
    options = {name: value}
    with pytest.raises(ConfigError, match=f"{name} .* addresses are computed with"):
        TokMem.load(tmp_path / "bank", backbone, **options)


def test_trained_banks_do_not_turn_closed(backbone: Backbone, tmp_path: Path) -> None:
    trained = memory(backbone, addresses="trained")
    learn(trained, "date")
    with pytest.raises(BankError, match="1 trained ones"):
        memory(backbone, bank=trained.bank)


def test_states_of_another_prompt_mode_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    learn(memory(backbone), "date").save(tmp_path / "bank")
    other = TokMem.load(tmp_path / "bank", backbone, prompt="query")
    with pytest.raises(BankError, match=r"prompt mode query; wanted: prompt mode instruction\+query"):
        learn(other, "sum")


def test_procedures_that_cannot_be_told_apart_are_named(
    backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    made = memory(backbone)
    twins = [
        Example(e.query, (Turn(n, "x"),), e.instruction) for n in ("one", "two") for e in examples("date")
    ]
    made.learn([Procedure(n) for n in ("one", "two", "sum")], [*twins, *examples("sum")], [])
    named = [r.getMessage() for r in caplog.records if "take each other's queries" in r.getMessage()]
    assert len(named) == 1
    assert named[0].startswith("one and two")


def test_a_resumed_stage_is_the_same(backbone: Backbone, tmp_path: Path) -> None:
    whole = learn(memory(backbone), *NAMES[:2])
    for _ in range(2):  # the second time every procedure is taken from its checkpoint
        with Metrics(tmp_path / "metrics.jsonl") as metrics:
            made = learn(
                memory(backbone), *NAMES[:2], checkpoint=tmp_path / "checkpoint", callbacks=[metrics]
            )
        assert_same(made, whole)
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [*range(1, 13), 12]


@pytest.mark.parametrize("mode", ["atomic", "chain"])
def test_a_new_procedure_without_examples_is_refused_before_training(
    backbone: Backbone, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = memory(backbone, recall=RecallSettings(mode=mode, max_new_tokens=24))
    monkeypatch.setattr("tokmem.methods.closed.fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(DataError, match="no examples of river"):
        made.learn([Procedure(n) for n in ("date", "river")], examples("date"), [])


def test_empty_responses_have_no_position_elsewhere() -> None:
    """Two memory tokens (7, 8) in a row, then a response of two tokens and one of none."""
    chosen = elsewhere(torch.tensor([7, 8, 1, 2, 7]), {7, 8}, seed=0)
    assert chosen.tolist() == [2, 3]


@pytest.mark.parametrize("mode", ["atomic", "chain"])
def test_a_dry_run_counts_what_learning_does(backbone: Backbone, mode: str) -> None:
    made = memory(backbone, recall=RecallSettings(mode=mode, max_new_tokens=4))
    train = [*examples("date", queries=QUERIES[:2]), *examples("sum", "river")]
    made.add(["date", "sum", "river"])
    before = [row.clone() for row in made.bank.rows("date")]
    found = made.dry_run(train, lr=0.02)
    assert all(map(torch.equal, before, made.bank.rows("date")))
    report = made.fit(train, lr=0.02)
    assert found.steps == report.steps
    assert (found.examples * found.epochs, found.epochs) == (report.examples, 2)
    assert found.learned_tokens * found.epochs == report.supervised_tokens
    assert ("<|mem:date|>", False) in found.tokens


class Recorder(Callback):
    """Notes where training began and ended; stops it at a step."""

    def __init__(self, stop: int = 0) -> None:
        self.stop, self.calls = stop, list[tuple[str, int]]()

    def on_begin(self, step: int, steps: int) -> None:
        self.calls.append((f"begins of {steps}", step))

    def on_step(self, step: int, values: Mapping[str, Any]) -> None:
        if step == self.stop:
            raise KeyboardInterrupt

    def on_validation(self, step: int, loss: float) -> None:
        self.calls.append(("validation", step))

    def on_end(self, step: int) -> None:
        self.calls.append(("ends", step))

    def on_failure(self, step: int) -> None:
        self.calls.append(("fails", step))


def test_callbacks_are_told_of_all_groups_as_of_one_run_that_may_resume(
    backbone: Backbone, tmp_path: Path
) -> None:
    """Four steps of `date`, then twelve of the others; the first run stops in its sixth step."""
    settings = replace(memory(backbone).settings, checkpoint_every=1)
    train = [*examples("date", queries=QUERIES[:2]), *examples("sum", "river")]

    def run(recorder: Recorder) -> list[tuple[str, int]]:
        made = memory(backbone, settings=settings)
        procedures = [Procedure(n) for n in ("date", "sum", "river")]
        with Metrics(tmp_path / "metrics.jsonl") as metrics:
            made.learn(
                *(procedures, train, train[-1:]),
                checkpoint=tmp_path / "checkpoint",
                callbacks=[metrics, recorder],
            )
        return recorder.calls

    stopped = Recorder(stop=6)
    with pytest.raises(KeyboardInterrupt):
        run(stopped)
    assert stopped.calls == [("begins of 16", 0), ("fails", 6)]
    assert run(Recorder()) == [("begins of 16", 5), ("validation", 16), ("ends", 16)]
    assert run(Recorder()) == [("begins of 16", 16), ("ends", 16)]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 17))


def test_a_second_training_on_the_same_examples_counts_no_state_twice(backbone: Backbone) -> None:
    made = memory(backbone)
    made.add("date")
    made.fit(examples("date"))
    made.fit([*examples("date"), *examples("date", queries=["Peru", "Chile"])])
    assert made.bank.statistics is not None
    assert made.bank.statistics.counts == {"date": 8}
    assert len(made.bank.states["date"]) == 8, "of both trainings"
    made.remove("date")
    made.add("date")
    made.fit(examples("date"))
    assert made.bank.statistics.counts == {"date": 6}


def test_a_second_training_counts_the_chains_that_are_new(backbone: Backbone) -> None:
    settings = RecallSettings(mode="chain", max_new_tokens=24)
    made, anew, train = memory(backbone, recall=settings), memory(backbone, recall=settings), chains()
    made.add(NAMES)
    anew.add(NAMES)
    made.fit(train[:-2])
    found = made.bank.statistics
    assert found is not None
    counts, rest = dict(found.counts), found.rest.count
    made.fit(train[:-2])
    assert (found.counts, found.rest.count) == (counts, rest)
    made.fit(train)
    anew.fit(train)
    assert anew.bank.statistics is not None
    assert found.counts == anew.bank.statistics.counts != counts
    assert found.rest.count == anew.bank.statistics.rest.count > rest


def test_one_procedure_has_no_fit_to_reject_by(backbone: Backbone) -> None:
    """There are no others to compare distances with."""
    alone = learn(memory(backbone), "date")
    assert gate_of(alone.bank) is None
    several = learn(memory(backbone), *NAMES)
    assert gate_of(several.bank) is not None
    several.remove(*NAMES[1:])
    assert gate_of(several.bank) is None
    assert not math.isnan(float(reference_of(several.bank).least_fit))
    for made in (alone, several):
        route = made.route(examples(*made.bank.names)[0])
        assert route.fit is None
    frozen = learn(memory(backbone, shared="frozen"), *NAMES)
    assert gate_of(frozen.bank.slice(NAMES[:1])) is not None, "it keeps the reference of all"


def test_an_interruption_while_chains_are_read_loses_no_state(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    made = memory(backbone, recall=RecallSettings(mode="chain", max_new_tokens=24))
    made.add(NAMES)
    reading = closed.states_of_targets
    monkeypatch.setattr(closed, "states_of_targets", stop)
    with pytest.raises(KeyboardInterrupt):
        made.fit(chains())
    monkeypatch.setattr(closed, "states_of_targets", reading)
    made.fit(chains())
    assert made.bank.statistics is not None
    assert {*made.bank.statistics.counts} == {*NAMES}


def test_a_merged_bank_knows_what_it_counted(backbone: Backbone) -> None:
    made, other = (learn(memory(backbone), name) for name in ("date", "sum"))
    made.bank.merge(other.bank)
    made.bank.thaw()
    made.fit([*examples("date"), *examples("sum")])
    assert made.bank.statistics is not None
    assert made.bank.statistics.counts == {"date": 6, "sum": 6}


def test_threads_may_recall_at_once(backbone: Backbone) -> None:
    made = learn(memory(backbone), *NAMES[:2])
    asked, own = examples(*NAMES[:2]), backbone.model.model.config._attn_implementation
    expected = [answer.text for answer in made.recall(asked)]

    def recalled(_: int) -> list[str]:
        return [answer.text for answer in made.recall(asked)]

    with ThreadPoolExecutor(3) as pool:
        assert all(found == expected for found in pool.map(recalled, range(12)))
    assert backbone.model.model.config._attn_implementation == own


def test_an_interrupted_training_can_be_started_again(backbone: Backbone) -> None:
    class Interrupt(Callback):
        def on_step(self, step: int, values: Mapping[str, Any]) -> None:
            raise KeyboardInterrupt

    made, wanted = memory(backbone), [*examples("date"), *examples("sum", queries=QUERIES[:3])]
    made.add(["date", "sum"])
    with pytest.raises(KeyboardInterrupt):
        made.fit(wanted, callbacks=[Interrupt()])
    assert {*made.bank.fresh_names} == {"date", "sum"}
    made.fit(wanted)
    assert made.bank.statistics is not None
    assert made.bank.statistics.counts == {"date": 6, "sum": 3}


def test_procedures_of_few_examples_take_as_many_steps_as_asked(backbone: Backbone) -> None:
    made = memory(backbone, settings=FitSettings(min_steps=12))
    made.add(["date", "sum"])
    wanted = [*examples("date"), *examples("sum", queries=QUERIES[:2])]
    planned, told = made.dry_run(wanted), []

    class Seen(Callback):
        def on_begin(self, step: int, steps: int) -> None:
            told.append(steps)

    report = made.fit(wanted, callbacks=[Seen()])
    assert (report.steps, planned.steps, told) == (24, 24, [24])
    assert "24 steps: at most 6 times 8 examples" in str(planned)


def test_what_has_no_effect_is_told(backbone: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    made = memory(backbone)
    made.add("date")
    made.fit(examples("date"), examples("date")[:1], patience=1, accumulation=2)
    assert "patience 1 and accumulation 2 have no effect" in caplog.text


def test_a_fit_that_is_refused_adds_no_procedure(backbone: Backbone) -> None:
    made = learn(memory(backbone), "date")
    made.bank.freeze()
    with pytest.raises(DataError, match="no examples"):
        made.fit([], procedure="sum")
    with pytest.raises(DataError, match="an example of 'date', which is learned already"):
        made.fit({"date": [("a", "b")], "sum": [("c", "d")]})
    with pytest.raises(DataError, match="no examples"):
        made.dry_run([])
    assert made.bank.names == ("date",)
    assert made.bank.slots.retired == (), "no token id is lost"
    made.add(["sum", "river"])
    with pytest.raises(DataError, match="'river', which has no training examples"):
        made.fit({"sum": [("c", "d")]}, {"river": [("e", "f")]})


def test_addresses_are_checked(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match="close"):
        TokMem(backbone, addresses="close")  # type: ignore[arg-type]


def test_corrections_keep_what_the_bank_knows_of_its_training(backbone: Backbone, tmp_path: Path) -> None:
    made = learn(memory(backbone), "date", "sum")
    made.save(tmp_path / "bank", {"seed": 3})
    loaded = TokMem.load(tmp_path / "bank", backbone)
    loaded.add("river")
    corrections = Corrections(loaded, tmp_path / "bank")
    with pytest.raises(BankError, match="'river', which has learned nothing"):
        corrections.add(Example("Italy"), "river")
    corrections.add(Example("Italy"), "sum")
    assert corrections.learn() == 1
    assert load_bank(tmp_path / "bank")[1].training["seed"] == 3


def test_corrections_go_into_the_bank_that_another_process_has_saved_meanwhile(
    backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learn(memory(backbone), "date", "sum", "river").save(tmp_path / "bank")
    corrections = Corrections(TokMem.load(tmp_path / "bank", backbone), tmp_path / "bank")
    for name in ("sum", "river"):
        corrections.add(Example("Italy"), name)
    other = learn(TokMem.load(tmp_path / "bank", backbone), "capital")
    other.remove("river")
    other.save(tmp_path / "bank")
    assert corrections.learn() == 1
    assert "a correction to river is lost" in caplog.text
    bank = load_bank(tmp_path / "bank")[0]
    assert bank.names == ("date", "sum", "capital")
    assert bank.statistics is not None
    assert other.bank.statistics is not None
    assert bank.statistics.counts["sum"] > other.bank.statistics.counts["sum"]
    corrections.add(Example("Italy"), "capital")
    assert corrections.learn() == 1, "it knows the new bank"


def test_a_training_that_is_refused_leaves_no_new_procedure(backbone: Backbone, tmp_path: Path) -> None:
    learn(memory(backbone), "date", "sum").save(tmp_path / "bank")
    made = TokMem.load(tmp_path / "bank", backbone, prompt="query")
    with pytest.raises(BankError, match="statistics with prompt mode query"):
        made.fit({"new": [("France", "Paris"), ("Italy", "Rome")]})
    assert [*made] == ["date", "sum"]
    assert made.bank.slots.retired == ()


_CHAIN = [Example(q, (Turn("date", f"{q}!"), Turn("sum", q[::-1]))) for q in QUERIES]
_GROUPS = [*examples("date", queries=QUERIES[:2]), *examples("sum", "river")]


@pytest.mark.parametrize("stop", [2, 5, 9])
@pytest.mark.parametrize(
    ("options", "train"),
    [
        ({}, _GROUPS),
        ({"recall": RecallSettings(mode="chain")}, _CHAIN),
        ({"addresses": "trained"}, _GROUPS),
        ({"addresses": "trained", "coupled": True, "renorm": "step"}, _CHAIN),
    ],
    ids=["side by side", "chains", "trained", "coupled chains"],
)
def test_the_same_memory_resumes_bit_for_bit(
    backbone: Backbone, tmp_path: Path, options: dict[str, Any], train: list[Example], stop: int
) -> None:
    def fit(made: TokMem, **more: Any) -> None:
        made.fit(train, train[-1:], epochs=4, batch_size=2, checkpoint_every=1, lr=0.05, **more)

    whole, made = memory(backbone, **options), memory(backbone, **options)
    for one in (whole, made):
        one.add(["river", "date", "sum"])
    fit(whole)
    begun = Recorder()
    with pytest.raises(KeyboardInterrupt):
        fit(made, checkpoint=tmp_path / "run", callbacks=[Recorder(stop)])
    fit(made, checkpoint=tmp_path / "run", callbacks=[begun])
    assert begun.calls[0][1] == stop - 1, "it goes on at the last checkpoint"
    assert made.bank.names == whole.bank.names
    for name in whole.bank.names:
        assert all(map(torch.equal, made.bank.rows(name), whole.bank.rows(name)))
    if whole.bank.statistics is not None and made.bank.statistics is not None:
        assert made.bank.statistics.counts == whole.bank.statistics.counts


def test_an_interruption_after_training_resumes(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the states of chains are read, all steps are done already."""
    whole, made = (memory(backbone, recall=RecallSettings(mode="chain")) for _ in range(2))
    for one in (whole, made):
        one.add(["date", "sum"])
    whole.fit(_CHAIN, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(closed, "states_of_targets", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            made.fit(_CHAIN, epochs=1, checkpoint=tmp_path / "run")
    made.fit(_CHAIN, epochs=1, checkpoint=tmp_path / "run")
    for name in whole.bank.names:
        assert all(map(torch.equal, made.bank.rows(name), whole.bank.rows(name)))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_rows_stay_where_an_interrupted_training_saved_nothing(backbone: Backbone, tmp_path: Path) -> None:
    made = memory(backbone)
    made.add("date")
    start = made.bank.rows("date")[1]
    with pytest.raises(KeyboardInterrupt):
        made.fit(
            examples("date"),
            epochs=1,
            lr=0.05,
            checkpoint_every=100,
            checkpoint=tmp_path / "run",
            callbacks=[Recorder(3)],
        )
    assert not torch.equal(start, made.bank.rows("date")[1])


def test_the_moments_of_processes_are_those_of_all_states(monkeypatch: pytest.MonkeyPatch) -> None:
    states = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own, other = Moments.of(states[:2]), Moments.of(states[2:])
    told: list[Tensor] = []

    def add(self: Processes, tensor: Tensor) -> Tensor:
        told.append(tensor)
        return sum(told, torch.zeros_like(tensor))

    monkeypatch.setattr(Processes, "add", add)
    lm = tiny_lm("llama")
    for part in (own, other):
        both = _summed(part, lm, Processes(0, 2))
    wanted = Moments.of(states)
    assert both.count == 9
    torch.testing.assert_close(both.total, wanted.total)
    torch.testing.assert_close(both.scatter, wanted.scatter)
