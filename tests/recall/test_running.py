"""Compares continuous batching and shared prefixes with padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import torch

from tests.recall.test_generate import eager, recall
from tests.tiny import DIM, SPARE, VOCAB, scaled_model, tiny_bank, tiny_lm, tiny_model
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix_tree import RECALL
from tokmem.recall import running, writer
from tokmem.recall.generate import Generation
from tokmem.recall.prompts import PromptReader, Segment, plan_segments
from tokmem.recall.running import CHUNK, RowCache

Prompt = tuple[int, ...]


def ids(rng: Random, count: int) -> Prompt:
    return tuple(rng.randrange(3, 90) for _ in range(count))


def mixed_prompts(seed: int = 0) -> list[Prompt]:
    """A system prompt, three instructions, two examples of one of them, one prompt twice, one on its own."""
    rng = Random(seed)
    system = ids(rng, 17)
    tasks = [system + ids(rng, n) for n in (30, 44, 26)]
    tasks.append(tasks[1] + ids(rng, 21))
    prompts = [rng.choice(tasks) + ids(rng, rng.randint(1, 9)) for _ in range(26)]
    prompts += [prompts[0], ids(rng, 5), tasks[0], tasks[1]]
    rng.shuffle(prompts)
    return prompts


def said(generations: Sequence[Generation]) -> list[Any]:
    return [(g.text, g.turns, g.finished, [c.procedure for c in g.route.choices]) for g in generations]


@pytest.mark.parametrize("mode", ["atomic", "chain"])
@pytest.mark.parametrize(
    ("name", "coupled", "width"),
    [
        ("llama", True, 1),
        ("llama-tied", False, 1),
        ("qwen2", True, 2),
        ("qwen3", False, 1),
        ("gpt-neox", False, 2),
    ],
)
def test_the_fast_path_writes_what_padded_batches_write(
    name: str, coupled: bool, width: int, mode: str
) -> None:
    lm = eager(tiny_lm(name, coupled, width=width))
    assert lm.longest_packed == float("inf")
    prompts = mixed_prompts()
    plain = recall(lm, prompts, mode=mode, continuous=False)
    for options in ({"shared_prefixes": False}, {"batch_size": 3}, {"batch_size": 64}):
        fast = recall(lm, prompts, mode=mode, **options)
        assert said(fast) == said(plain)
        for one, other in zip(fast, plain, strict=True):
            assert len(one.routes) == len(one.turns)
            for found, wanted in zip([one.route, *one.routes], [other.route, *other.routes], strict=True):
                assert found.memory_mass == pytest.approx(wanted.memory_mass, abs=1e-4)
                pairs = [[(c.procedure, pytest.approx(c.probability, abs=1e-4)) for c in wanted.choices]]
                assert pairs == [[(c.procedure, c.probability) for c in found.choices]]


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "mistral"])
def test_where_the_fast_path_is_not_exact_padded_batches_run(name: str, monkeypatch: Any) -> None:
    lm = eager(tiny_lm(name))
    prompts = mixed_prompts()[:8]
    plain = recall(lm, prompts, continuous=False)
    monkeypatch.setattr(lm, "packed", None)
    assert recall(lm, prompts) == plain


def test_short_prompts_run_and_long_ones_are_padded_beside_them() -> None:
    lm = eager(tiny_lm("mistral"))  # a window of 5
    prompts = [(2, 7), (2, *range(30, 40)), (2, 8, 9), (2, 11)]
    plain = recall(lm, prompts, continuous=False, max_new_tokens=2)
    fast = recall(lm, prompts, max_new_tokens=2)
    assert said(fast) == said(plain)


def test_an_empty_bank_runs_too() -> None:
    lm = MemoryLM(eager(tiny_lm("llama")).model, Bank(DIM, IdSpace(VOCAB, SPARE)))
    both = [recall(lm, mixed_prompts(), continuous=on) for on in (True, False)]
    assert both[0] == both[1]
    assert all(g.route is None and not g.routes for g in both[0])


def test_a_wave_is_routed_in_parts(monkeypatch: Any) -> None:
    lm = eager(tiny_lm("llama"))
    prompts = mixed_prompts()
    whole = said(recall(lm, prompts, batch_size=32))
    seen: list[int] = []
    native = lm.head.native
    monkeypatch.setattr(writer, "MAX_LOGITS", 3 * (lm.head.model_rows + len(lm.bank)))
    monkeypatch.setattr(lm.head, "native", lambda hidden: seen.append(len(hidden)) or native(hidden))
    assert said(recall(lm, prompts, batch_size=32, max_new_tokens=1)) != whole
    assert max(seen) == 3
    assert sum(seen) == len(prompts)
    assert said(recall(lm, prompts, batch_size=32)) == whole


def test_scores_are_scaled_as_the_model_scales_them() -> None:
    lm = eager(MemoryLM(scaled_model(), tiny_bank(False, "auto")))
    assert lm.longest_packed == float("inf")
    prompts = mixed_prompts()[:6]
    assert said(recall(lm, prompts)) == said(recall(lm, prompts, continuous=False))


def test_places_are_no_more_than_the_prompts(monkeypatch: Any) -> None:
    made: list[int] = []

    class Counted(RowCache):
        def __init__(self, places: int) -> None:
            made.append(places)
            super().__init__(places)

    monkeypatch.setattr(running, "RowCache", Counted)
    lm = eager(tiny_lm("llama"))
    recall(lm, mixed_prompts()[:1], batch_size=32)
    recall(lm, mixed_prompts(), batch_size=4)
    assert made == [1, 4]


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_p": 0.9}, {"reject": True}])
def test_an_answer_does_not_hang_on_the_prompts_beside_it(options: dict[str, Any]) -> None:
    lm = eager(tiny_lm("llama"))
    prompts = mixed_prompts()
    options = {"mode": "chain"} | options
    whole = said(recall(lm, prompts, **options))
    for size in (1, 7):
        assert said(recall(lm, prompts, batch_size=size, **options)) == whole
    assert said(recall(lm, prompts[:9], **options)) == whole[:9]
    assert said(recall(lm, prompts, continuous=False, **options)) == whole


def test_forced_chains_run_as_they_do_in_padded_batches() -> None:
    lm = eager(tiny_lm("gpt-neox", False, width=2))
    prompts = mixed_prompts()
    rng = Random(0)
    forced = [rng.choices(lm.bank.names, k=rng.randrange(4)) for _ in prompts]
    both = [recall(lm, prompts, forced, mode="chain", continuous=on) for on in (True, False)]
    assert said(both[0]) == said(both[1])


def test_what_prompts_share_is_read_once(monkeypatch: Any) -> None:
    lm = tiny_lm("llama")
    read: list[int] = []
    packed = lm.packed

    def counting(sequences: Sequence[Prompt], *rest: Any) -> Any:
        read.append(sum(map(len, sequences)))
        return packed(sequences, *rest)

    monkeypatch.setattr(lm, "packed", counting)
    rng = Random(0)
    system, tasks = ids(rng, 40), [ids(rng, 50) for _ in range(3)]
    prompts = sorted(system + task + ids(rng, 4) for task in tasks for _ in range(5))
    for tokens in (10_000, 60):
        read.clear()
        reader = PromptReader(lm, prompts, True, tokens)
        waves = []
        while len(reader):
            waves.append(reader.wave())
        assert sum(read) == 40 + 3 * 50 + 15 * 4
        assert len(waves) == 1 if tokens > 60 else len(waves) > 3
        assert sum(map(len, waves)) == 15
    read.clear()
    PromptReader(lm, prompts, False, 10_000).wave()
    assert sum(read) == sum(map(len, prompts))


def test_segments_spell_the_prompts_and_leave_each_an_end_of_its_own() -> None:
    rng = Random(3)
    for seed in range(20):
        prompts = sorted([*mixed_prompts(seed), *((2,) * n for n in range(1, 200, 7))])
        rng.shuffle(prompts)
        prompts.sort()
        ends = plan_segments(prompts, share=True)
        for prompt, end in zip(prompts, ends, strict=True):
            assert end.ids
            assert tuple(i for s in (*end.unread, end) for i in s.ids) == prompt
        shared = {segment for end in ends for segment in end.unread}
        saved = sum(map(len, prompts)) - sum(len(s.ids) for s in (*shared, *ends))
        assert saved >= RECALL.least_saved * len(shared)
    assert plan_segments([], share=True) == []


def test_prompts_that_have_little_in_common_stay_whole() -> None:
    prompts = [(2, 3, 4, 5), (2, 3, 4, 6), (2, 9)]
    assert [end.ids for end in plan_segments(prompts, share=True)] == prompts


def test_read_prompts_hold_the_states_of_plain_forwards() -> None:
    lm = tiny_lm("qwen3")
    prompts = sorted(mixed_prompts())
    reader = PromptReader(lm, prompts, True, 90)
    found = [read for _ in prompts if len(reader) for read in reader.wave()]
    for prompt, read in zip(prompts, found, strict=True):
        length = len(prompt)
        whole = (torch.tensor([prompt]), torch.ones(1, length, dtype=torch.long), torch.arange(length)[None])
        torch.testing.assert_close(read.hidden, lm.hidden(*whole)[0, -1], rtol=1e-4, atol=1e-4)
        assert sum(part[0][0].shape[1] for part in read.parts) == length


def test_places_are_filled_freed_and_grown() -> None:
    lm = MemoryLM(tiny_model("llama"), Bank(DIM, IdSpace(VOCAB, SPARE)))
    rng = Random(0)
    prompts = [ids(rng, n) for n in (3, CHUNK + 9, 5)]
    reads = [PromptReader(lm, [prompt], False, 1).wave()[0] for prompt in prompts]
    cache = RowCache(3)
    for read in reads:
        cache.enter(read)
    cache.leave(0)
    assert cache.lengths == [5, CHUNK + 9]
    assert cache.keys[0].shape[2] == 2 * CHUNK
    for place, read in ((0, reads[2]), (1, reads[1])):
        for layer, (key, value) in enumerate(read.parts[0]):
            assert torch.equal(cache.keys[layer][place, :, : key.shape[1]], key)
            assert torch.equal(cache.values[layer][place, :, : key.shape[1]], value)
    cache.leave(1)
    cache.leave(0)
    assert cache.lengths == []


def test_a_segment_knows_what_is_unread_before_it() -> None:
    first = Segment((1,), None)
    second = Segment((2,), first)
    third = Segment((3,), second)
    assert third.unread == [first, second]
    first.states = [(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))]
    assert third.unread == [second]
