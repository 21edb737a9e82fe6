"""Shared and cached prefixes: the plain loop's gradients, and a bit-equal bank whatever the cache holds."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from tests.tiny import CONFIGS, tiny_examples, tiny_lm
from tests.train.shared import fit_bank, shared_examples
from tests.train.test_oracle import CLOSE, oracle
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import read_prefixes
from tokmem.train import prefix_cache
from tokmem.train.bank_objective import BankObjective
from tokmem.train.objective import Piece
from tokmem.train.prefix_cache import PrefixCache
from tokmem.train.prefix_files import PrefixFiles, reader_identity
from tokmem.train.settings import FitReport, FitSettings

SETTINGS = FitSettings(lr=0.02, epochs=3, batch_size=2, window=4)


def run(
    lm: MemoryLM | None = None, settings: FitSettings = SETTINGS, **changes: Any
) -> tuple[Any, FitReport]:
    """Rows after training on twelve examples of three tasks, five more for validation."""
    lm = lm or tiny_lm("llama", False)
    held = shared_examples(lm.bank, 5, seed=1)
    report = fit_bank(lm, shared_examples(lm.bank, 12), replace(settings, **changes), validation=held)
    return torch.cat([table.rows() for table in lm.bank.tables]), report


def same(first: tuple[Any, FitReport], second: tuple[Any, FitReport]) -> bool:
    return torch.equal(first[0], second[0]) and first[1].best_loss == second[1].best_loss


@pytest.mark.parametrize("name", CONFIGS)
def test_shared_prefixes_equal_the_plain_loop(name: str) -> None:
    """Backbones that cannot be packed share nothing and are still right."""
    lm = tiny_lm(name, False)
    examples = shared_examples(lm.bank, 7)
    wanted = oracle(lm, examples)
    objective = BankObjective(lm, frozen_prefix=True, cache_bytes=1 << 20)
    objective.begin(examples, [])
    pieces = [Piece(examples[i : i + 3], examples, range(i, min(i + 3, 7)), "w", (0, i)) for i in (0, 3, 6)]
    sums = list(objective.losses(pieces))
    count = sum(sum(e.supervised) for e in examples)
    assert len(sums) == 1
    assert sums[0].count == count
    (sums[0].total / count).backward()
    torch.testing.assert_close(sums[0].total.detach() / count, wanted[0], **CLOSE)
    for table, right in zip(lm.bank.tables, wanted[1], strict=True):
        torch.testing.assert_close(table.fresh.grad, right, **CLOSE)
    prompts = sum(e.prefix for e in examples)
    read = objective.cache.usage.read_tokens
    assert read < 0.6 * prompts if lm.longest_packed == float("inf") else read == prompts


def test_a_step_of_several_micro_batches_is_the_sum_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them go through the model together."""
    together, _ = run(accumulation=3)
    monkeypatch.setattr("tokmem.train.bank_objective.suitable_tokens", lambda lm: 0)
    apart, _ = run(accumulation=3)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("tokens", "logits"), [(20, 1 << 23), (1024, 60), (1024, 1 << 23)])
def test_merged_micro_batches_are_bounded(tokens: int, logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their tokens, prefixes included, and by the logits of the memory tokens."""
    monkeypatch.setattr("tokmem.train.bank_objective.suitable_tokens", lambda lm: tokens)
    monkeypatch.setattr("tokmem.train.bank_objective.MAX_LOGITS", logits)
    lm = tiny_lm("llama", False)
    parts = [[e] for e in shared_examples(lm.bank, 12)]
    merged = BankObjective(lm, frozen_prefix=True, cache_bytes=0)._merged(parts)
    for chosen in merged:
        some = [e for i in chosen for e in parts[i]]
        rows = len(lm.bank) * sum(sum(e.supervised) for e in some)
        assert len(some) == 1 or (sum(len(e.ids) for e in some) <= 4 * tokens and rows <= logits)
    assert (len(merged) == 1) == (tokens == 1024 and logits > 60)


def test_merged_micro_batches_keep_few_tokens_with_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokmem.train.bank_objective.suitable_tokens", lambda lm: 60)
    lm = tiny_lm("llama", False)
    parts = [[e] for e in tiny_examples(lm.bank, 12)]
    assert sum(len(part[0].ids) for part in parts) <= 4 * 60, "all of them fit but for their suffixes"
    merged = BankObjective(lm, frozen_prefix=True, cache_bytes=0)._merged(parts)
    suffixes = [sum(len(e.ids) - e.prefix for i in chosen for e in parts[i]) for chosen in merged]
    assert 1 < len(merged) < 12
    assert max(suffixes) <= 4 * 60 / 8


def test_sharing_moves_no_figure_and_can_be_turned_off() -> None:
    shared, report = run()
    alone, other = run(share_prefixes=False)
    torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-5)
    assert report.best_loss == pytest.approx(other.best_loss, rel=1e-5)
    assert report.read_tokens < 0.6 * other.read_tokens
    assert other.read_tokens == report.prompt_tokens / 3 + sum(
        e.prefix for e in shared_examples(tiny_lm("llama").bank, 5, seed=1)
    )


def test_the_bank_is_the_same_whatever_was_kept(tmp_path: Path) -> None:
    disk = {"prefix_disk_mb": 8, "prefix_cache_dir": str(tmp_path)}
    plenty, none = run(), run(prefix_cache_mb=0)
    cold, warm = run(**disk), run(**disk, prefix_cache_mb=0)
    assert all(same(plenty, other) for other in (none, cold, warm))
    assert none[1].read_tokens > 2 * plenty[1].read_tokens == 2 * cold[1].read_tokens
    assert cold[1].prefix_disk_hits == 0
    assert (warm[1].read_tokens, warm[1].prefix_misses) == (0, 0)
    assert warm[1].prefix_disk_hits > 5
    assert warm[1].prefix_bytes < plenty[1].prefix_bytes


def test_the_folder_is_in_the_users_cache_unless_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run(prefix_disk_mb=8)
    assert list((tmp_path / "tokmem" / "prefixes").rglob("*.safetensors"))


def test_a_file_without_its_facts_is_read_anew(tmp_path: Path) -> None:
    disk = {"prefix_disk_mb": 8, "prefix_cache_dir": str(tmp_path)}
    first = run(**disk)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(save(load(path.read_bytes())))
    assert same(first, run(**disk))


def test_padded_and_packed_readers_have_files_of_their_own(tmp_path: Path) -> None:
    """Their last bits differ."""
    disk = {"prefix_disk_mb": 8, "prefix_cache_dir": str(tmp_path), "share_prefixes": False}
    run(**disk)
    padded = run(**disk, packed_rows=False)
    assert padded[1].prefix_disk_hits == 0
    assert run(**disk, packed_rows=False)[1].read_tokens == 0


def test_stems_read_together_are_dropped_and_found_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU."""
    alone, _ = run()
    monkeypatch.setattr(prefix_cache, "stem_tokens", lambda lm: 1000)
    disk = {"prefix_disk_mb": 8, "prefix_cache_dir": str(tmp_path)}
    plenty, none, warm = run(**disk), run(prefix_cache_mb=0), run(**disk)
    assert same(plenty, none)
    assert same(plenty, warm)
    assert warm[1].read_tokens == 0
    torch.testing.assert_close(plenty[0], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("warm", [True, False])
def test_a_resumed_run_ends_with_the_same_bank(
    tmp_path: Path, warm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From memory, from disk, or read again: where it is taken up, nothing is in memory."""
    whole = run()
    disk = {"prefix_disk_mb": 8, "prefix_cache_dir": str(tmp_path / "kept")} if warm else {}
    settings = replace(SETTINGS, checkpoint_every=1, **disk)
    lm, held = tiny_lm("llama", False), shared_examples(tiny_lm("llama").bank, 5, seed=1)
    given = (shared_examples(lm.bank, 12), settings)

    class Stop(Exception):
        pass

    def stop(self: BankObjective) -> None:
        stop.steps += 1
        if stop.steps == 11:
            raise Stop

    stop.steps = 0
    monkeypatch.setattr(BankObjective, "after_step", stop)
    with pytest.raises(Stop):
        fit_bank(lm, *given, validation=held, checkpoint=tmp_path / "run")
    monkeypatch.undo()
    lm = tiny_lm("llama", False)
    report = fit_bank(lm, *given, validation=held, checkpoint=tmp_path / "run")
    rows = torch.cat([table.rows() for table in lm.bank.tables])
    assert same(whole, (rows, report))
    assert (report.read_tokens == 0) == warm


def test_windows_of_the_last_epoch_are_not_kept() -> None:
    """One epoch holds no more at once than a window, its stems and the one before."""
    _, one = run(epochs=1)
    _, three = run(epochs=3)
    assert one.prefix_bytes < 0.8 * three.prefix_bytes


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        data[-40] ^= 1
        path.write_bytes(data)
    elif how == "header":
        data[data.index(b'"lengths":"[') + len('"lengths":"[')] ^= 1  # another digit
        path.write_bytes(data)
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("how", ["cut", "flipped", "header", "empty"])
def test_a_damaged_file_is_read_anew(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    disk = {"prefix_disk_mb": 8, "prefix_cache_dir": str(tmp_path)}
    first = run(**disk)
    files = sorted(tmp_path.rglob("*.safetensors"))
    kept = {path: load(path.read_bytes()) for path in files}
    for path in files[::2]:
        damage(path, how)
    with caplog.at_level(logging.WARNING, "tokmem"):
        second = run(**disk)
    assert same(first, second)
    assert caplog.text.count("damaged prefix file") == len(files[::2])
    assert 0 < second[1].read_tokens < first[1].read_tokens
    for path in files:
        again = load(path.read_bytes())
        assert all(torch.equal(tensor, again.pop(name)) for name, tensor in kept[path].items())
        assert not again


def test_the_disk_budget_holds_and_the_least_recently_used_goes(tmp_path: Path) -> None:
    lm = tiny_lm("llama", False)
    examples = shared_examples(lm.bank, 12)
    cache = PrefixCache(lm, 0, share=False, files=PrefixFiles(lm, tmp_path, 0))
    cache.begin(examples)
    cache.window(0, examples[:3])
    assert not list(tmp_path.rglob("*.safetensors"))
    cache.files = PrefixFiles(lm, tmp_path, 1 << 30)
    for key in (1, 2, 3):
        cache.window(key, examples[3 * key : 3 * key + 3])
    sizes = {path: path.stat().st_size for path in tmp_path.rglob("*.safetensors")}
    first = min(sizes, key=lambda path: path.stat().st_mtime_ns)
    cache.window("used again", examples[3:6])
    assert cache.usage.disk_hits == 1
    cache.files = PrefixFiles(lm, tmp_path, sum(sizes.values()) + 100)
    cache.window(0, examples[:3])
    left = set(tmp_path.rglob("*.safetensors"))
    assert first in left
    assert len(left) <= 3
    assert sum(path.stat().st_size for path in left) <= cache.files.budget
    assert not list(tmp_path.rglob("*.tmp"))


def kept_files(lm: MemoryLM, folder: Path, count: int = 1) -> tuple[PrefixFiles, list[Any]]:
    """Files of so many groups of one prompt each, named by number, and the groups."""
    files = PrefixFiles(lm, folder, 1 << 30)
    groups = [read_prefixes(lm, [(5, 6, 7, 8, i)]) for i in range(count)]
    for number, group in enumerate(groups):
        files.save(str(number), group)
    return files, groups


def test_a_file_that_another_run_removes_is_a_silent_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lm = tiny_lm("llama")
    files, [group] = kept_files(lm, tmp_path)

    def fail(error: type[OSError]) -> Any:
        def raises(*_: object, **__: object) -> None:
            raise error("as another run had it")

        return raises

    with caplog.at_level(logging.WARNING, "tokmem"):
        for error in (FileNotFoundError, PermissionError):
            monkeypatch.setattr("tokmem.train.prefix_files.os.utime", fail(error))
            (found,) = files.load("0", [None], lm.device)
            assert torch.equal(found.hidden, group[0].hidden)
        monkeypatch.setattr(Path, "is_file", lambda self: True)
        assert files.load("gone", [None], lm.device) is None
    assert not caplog.text
    damage(next(tmp_path.rglob("*.safetensors")), "cut")
    monkeypatch.setattr(Path, "unlink", fail(PermissionError))
    assert files.load("0", [None], lm.device) is None


def test_drafts_of_killed_runs_are_removed(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    [group] = kept_files(lm, tmp_path)[1]
    path = next(tmp_path.rglob("*.safetensors"))
    old, new = (path.with_name(f".{path.name}.{name}.tmp") for name in ("old", "new"))
    for draft in (old, new):
        draft.write_bytes(bytes(path.stat().st_size))
    os.utime(old, (0, 0))
    PrefixFiles(lm, tmp_path, 2 * path.stat().st_size).save("1", group)
    assert [f.name for f in tmp_path.rglob("*.*") if f.is_file()].count(old.name) == 0
    assert new.exists()
    assert not path.exists(), "the draft in use counts"


def test_files_of_others_are_let_alone(tmp_path: Path) -> None:
    """A cache folder may be one that holds models, too."""
    lm = tiny_lm("llama")
    foreign = tmp_path / "model" / "model.safetensors"
    foreign.parent.mkdir()
    foreign.write_bytes(bytes(1 << 16))
    os.utime(foreign, (0, 0))
    [group] = kept_files(lm, tmp_path)[1]
    [ours] = [path for path in tmp_path.rglob("*.safetensors") if path != foreign]
    PrefixFiles(lm, tmp_path, ours.stat().st_size + 100).save("1", group)
    assert foreign.exists()
    assert not ours.exists()


def test_the_folder_is_not_looked_through_at_each_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, inner = [], PrefixFiles._found
    monkeypatch.setattr(PrefixFiles, "_found", lambda self: scans.append(1) or inner(self))
    kept_files(tiny_lm("llama"), tmp_path, 5)
    assert len(scans) == 1


@pytest.mark.parametrize("frozen_prefix", [True, False])
def test_weights_are_hashed_for_frozen_prefixes_alone(tmp_path: Path, frozen_prefix: bool) -> None:
    lm = tiny_lm("llama")
    disk = {"disk_bytes": 1 << 20, "disk_folder": tmp_path}
    objective = BankObjective(lm, frozen_prefix=frozen_prefix, cache_bytes=0, **disk)
    assert (objective.cache.files is not None) == frozen_prefix


def test_another_backbone_has_files_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("llama")
    own = reader_identity(lm)
    assert own == reader_identity(tiny_lm("llama", False, seed=3)), "the bank does not matter"
    changed = tiny_lm("llama")
    with torch.no_grad():
        weight = changed.model.model.layers[0].mlp.up_proj.weight
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    kernel = tiny_lm("llama")
    kernel.model.config._attn_implementation = "eager"
    setting, moved = tiny_lm("llama"), tiny_lm("llama")
    setting.model.config.rms_norm_eps *= 2
    moved.model.config._name_or_path = "elsewhere"
    assert own == reader_identity(moved), "the place of the weights does not matter"
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    others = [reader_identity(lm)]
    monkeypatch.undo()
    monkeypatch.setattr("tokmem.train.prefix_files.FORMAT", 0)
    others += [reader_identity(lm)]
    monkeypatch.undo()
    others += [reader_identity(changed), reader_identity(kernel), reader_identity(setting)]
    assert len({own, *others}) == 6


def test_what_does_not_fit_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    lm = tiny_lm("llama")
    examples = shared_examples(lm.bank, 12)
    cache = PrefixCache(lm, 1000)
    cache.begin(examples)
    with caplog.at_level(logging.WARNING, "tokmem"):
        for start in range(0, 12, 3):
            cache.window(start, examples[start : start + 3])
    assert caplog.text.count("raise prefix_cache_mb") == 1
    assert len(cache._windows) == 1


def test_groups_are_read_once_while_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, seen = tiny_lm("llama"), []
    inner = prefix_cache.read_prefixes
    monkeypatch.setattr(
        prefix_cache, "read_prefixes", lambda lm, ids, **more: seen.extend(ids) or inner(lm, ids, **more)
    )
    examples = shared_examples(lm.bank, 9)
    cache = PrefixCache(lm, 1 << 20)
    cache.begin(examples)
    for _ in range(2):
        for start in (0, 3, 6):
            cache.window(start, examples[start : start + 3])
    distinct = {e.ids[: e.prefix] for e in examples}
    assert len(seen) == len(set(seen)) <= 4 + len(distinct)
    assert sum(map(len, seen)) == cache.usage.read_tokens
