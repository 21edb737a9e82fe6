"""Trackers receive what `fit` tells its callbacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny_examples, tiny_lm
from tests.train.shared import fit_bank
from tokmem.errors import ConfigError
from tokmem.log import Callback
from tokmem.train.settings import FitSettings
from tokmem.train.trackers import Tracker


def test_tensorboard_receives_steps_validations_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    lm = tiny_lm("llama", False)
    settings = FitSettings(lr=0.01, epochs=2, report_to=("tensorboard",))
    fit_bank(lm, tiny_examples(lm.bank, 8), settings, validation=tiny_examples(lm.bank, 4, seed=1))
    (run,) = (tmp_path / "runs" / "trackers").iterdir()
    events = EventAccumulator(str(run))
    events.Reload()
    assert [one.step for one in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [one.step for one in events.Scalars("validation_loss")] == [2, 4]
    assert {"lr", "supervised_tokens_per_second"} <= set(events.Tags()["scalars"])
    assert next(run.rglob("hparams.yml")).read_text().count("lr: 0.01") == 1


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """What a stand-in for wandb hears."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    heard: list[tuple[str, object]] = []

    class StandIn:
        def __init__(self, project: str, name: str) -> None:
            heard.append((project, len(name) > 0))

        def __getattr__(self, call: str) -> object:
            return lambda *values, **options: heard.append((call, options.get("step")))

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", StandIn)
    monkeypatch.setattr("tokmem.train.trackers.find_spec", lambda name: name == "wandb")
    return heard


def test_trackio_and_wandb_get_one_project_and_a_name_for_the_run(heard: list[tuple[str, object]]) -> None:
    lm = tiny_lm("llama", False)
    fit_bank(lm, tiny_examples(lm.bank, 8), FitSettings(lr=0.01, epochs=1, report_to=("wandb",)))
    steps = [("log", 1), ("log", 2)]
    assert heard == [
        ("tokmem", True),
        ("start", None),
        ("store_init_configuration", None),
        *steps,
        ("finish", None),
    ]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_closes_the_run(
    heard: list[tuple[str, object]], error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Callback):
        def on_step(self, step: int, values: object) -> None:
            raise error

        def on_failure(self, step: int) -> None:
            raise OSError("no server")

    lm, settings = tiny_lm("llama", False), FitSettings(lr=0.01, epochs=1, report_to=("wandb",))
    with pytest.raises(error):
        fit_bank(lm, tiny_examples(lm.bank, 8), settings, callbacks=[Fails()])
    assert [call for call, _ in heard].count("finish") == 1
    assert "Fails cannot be told of a failure: no server" in caplog.text


def test_a_tracker_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match=r"report_to no_such_tracker.*pip install no_such_tracker"):
        Tracker("no_such_tracker", FitSettings())


def test_a_run_is_the_same_run_with_a_tracker() -> None:
    assert "report_to" not in FitSettings(report_to=("tensorboard",)).facts
