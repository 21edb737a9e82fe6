"""Settings for a user who gives none, and the warning when they taught nothing."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest
from torch import nn

from tokmem import TokMem, load_backbone
from tokmem.errors import ConfigError
from tokmem.model.backbone import Backbone
from tokmem.train.defaults import describe, settings_for, steps_of, warn_unlearned
from tokmem.train.settings import FitReport, FitSettings

MINI, SMALL, LARGE = 6_000_000, 135_000_000, 1_200_000_000


def of_size(parameters: int) -> Backbone:
    model = nn.Linear(1000, parameters // 1000, bias=False, device="meta")
    return Backbone(cast(Any, model), cast(Any, None), "sized", "mark")


@pytest.mark.parametrize(
    ("examples", "parameters", "lr", "batch", "epochs", "every"),
    [
        (1, SMALL, 0.02, 1, 150, 10),
        (12, SMALL, 0.02, 12, 150, 10),
        (30, SMALL, 0.02, 16, 75, 10),
        (800, SMALL, 0.02, 16, 3, 0),
        (2400, SMALL, 0.02, 16, 1, 0),
        (100_000, SMALL, 0.02, 16, 1, 0),
        (30, MINI, 0.05, 16, 75, 10),
        (30, LARGE, 0.005, 16, 75, 10),
    ],
)
def test_few_examples_are_read_many_times_and_small_backbones_take_a_high_rate(
    examples: int, parameters: int, lr: float, batch: int, epochs: int, every: int
) -> None:
    backbone = of_size(parameters)
    chosen = settings_for(examples, backbone)
    assert (chosen.lr, chosen.batch_size, chosen.epochs, chosen.validate_every) == (lr, batch, epochs, every)
    assert steps_of(examples, chosen) >= 150
    said = describe(chosen, examples, backbone)
    assert f"{steps_of(examples, chosen)} steps" in said
    assert f"rate {lr:g}" in said


def test_what_the_user_gives_stands_and_the_rest_fits_it() -> None:
    chosen = settings_for(80, of_size(SMALL), {"batch_size": 4, "accumulation": 2, "lr": 0.001})
    assert (chosen.lr, chosen.batch_size, chosen.accumulation, chosen.epochs) == (0.001, 4, 2, 15)
    assert settings_for(80, of_size(SMALL), {"epochs": 1, "validate_every": 3}) == FitSettings(
        lr=0.02, batch_size=16, epochs=1, validate_every=3
    )
    small = settings_for(80, of_size(SMALL), batch=4)
    assert (small.batch_size, small.epochs) == (4, 8)
    assert settings_for(80, of_size(SMALL), {"batch_size": 6}, batch=4).batch_size == 6
    with pytest.raises(ConfigError, match="epoch"):
        settings_for(80, of_size(SMALL), {"epoch": 1})


@pytest.mark.parametrize(
    ("alone", "passes", "said"),
    [
        ([12, 12], [13], "13 passes over the 12 examples of each procedure make 156 steps for it"),
        (
            [30, 6, 12],
            [5, 13, 25],
            "5 to 25 passes over the 6 to 30 examples of each procedure make 150 to 156",
        ),
        (
            [200, 400],
            [1],
            "1 pass over the 200 to 400 examples of each procedure makes 200 to 400 steps for it",
        ),
    ],
)
def test_procedures_side_by_side_each_take_enough_steps(
    alone: list[int], passes: list[int], said: str
) -> None:
    backbone = of_size(SMALL)
    chosen = settings_for(sum(alone), backbone, side_by_side=alone)
    assert sorted({chosen.lasting(count).epochs for count in alone}) == passes
    assert all(chosen.lasting(count).epochs * count >= 150 for count in alone)
    assert describe(chosen, sum(alone), backbone, alone).startswith(said)
    given = settings_for(sum(alone), backbone, {"epochs": 2}, alone)
    assert [given.lasting(count).epochs for count in alone] == [2] * len(alone)


def report(first: float | None, last: float, best: float | None = None) -> FitReport:
    return FitReport(7, last, best, 7, 1, 1, 1, 1.0, 0, 0, first_loss=first)


@pytest.mark.parametrize(
    ("given", "warns"),
    [
        (report(8.0, 7.5), True),
        (report(8.0, 0.1, best=7.0), True),
        (report(8.0, 2.0), False),
        (report(11.0, 6.2), True),  # half of it, and still far from anything right
        (report(8.0, 8.0, best=1.0), False),
        (report(0.4, 0.39), False),  # trained on from good rows
        (report(None, 9.0), False),
    ],
)
def test_a_loss_that_hardly_fell_is_told(
    given: FitReport, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "tokmem"):
        assert warn_unlearned(given) is given
    assert [("hardly learned" in r.message) for r in caplog.records] == [True] * warns


def test_fit_chooses_only_where_the_user_gave_no_settings() -> None:
    backbone = load_backbone("mini", device="cpu")
    pairs = [("14/03/2021", "March 2021")]
    chosen = TokMem(backbone, prompt="query").fit(pairs, procedure="month", epochs=2)
    assert (chosen.steps, chosen.first_loss is not None) == (2, True)
    learned = TokMem(backbone, prompt="query").fit(pairs, procedure="month")
    assert learned.steps == 150
    assert learned.loss < 0.2
    paper = TokMem(backbone, prompt="query", settings=FitSettings()).fit(pairs, procedure="month")
    assert paper.steps == 1


def test_passes_that_the_user_gives_decide_how_often_validation_comes() -> None:
    chosen = settings_for(16, of_size(SMALL), {"epochs": 5, "patience": 1})
    assert (chosen.epochs, chosen.validate_every) == (5, 0)
