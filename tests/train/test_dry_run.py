"""What a dry run says: the first example token by token, and the cost in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tiny import tiny_lm
from tests.train.shared import shared_examples
from tokmem.train.bank_objective import BankObjective
from tokmem.train.dry_run import DryRun, dry_run, spoken
from tokmem.train.fit import Run
from tokmem.train.settings import FitSettings

TOKENS = (("Hi", False), ("\n", False), ("<|mem:greet|>", True), (" there", True))


def test_a_dry_run_in_words() -> None:
    made = DryRun(12, 3, 1_036, 2_400, 120, 7.4, TOKENS)
    assert str(made) == (
        "The first example, a space between tokens.\n"
        "  is given:  Hi \\n\n"
        "  is learned: <|mem:greet|>  there\n"
        "Cost: 1,036 steps: 3 times 12 examples, which hold 2,400 tokens of prompts and 120 tokens to learn; "
        "about 7 seconds on this machine."
    )


def test_runs_of_different_passes_are_added_up() -> None:
    one = DryRun(12, 3, 36, 240, 12, 7.0, TOKENS)
    both = DryRun.together([one, replace(one, examples=2, epochs=18)])
    assert (both.examples, both.epochs, both.steps, both.prompt_tokens, both.learned_tokens) == (
        *(14, 18, 72),
        *(480, 24),
    )
    assert both.seconds == 14
    assert "72 steps: at most 18 times 14 examples" in str(both)
    assert not DryRun.together([one, one]).uneven


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7_100, "118 minutes"),
        (7_200, "2 hours"),
    ],
)
def test_durations_are_spoken(seconds: float, said: str) -> None:
    assert spoken(seconds) == said


@pytest.mark.parametrize(("frozen_prefix", "seconds"), [(True, 6 * 3 + 2 * (5 - 3)), (False, 6 * 3)])
def test_the_time_is_that_of_all_steps_and_of_the_prompts_that_are_read_first(
    frozen_prefix: bool, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, times = tiny_lm("llama"), iter([5.0, 3.0])
    monkeypatch.setattr(Run, "timed_step", lambda self: next(times))
    settings = FitSettings(lr=0.01, epochs=2, batch_size=2, window=4, frozen_prefix=frozen_prefix)
    objective = BankObjective(lm, **settings.prefixes)
    found = dry_run(objective, shared_examples(lm.bank, 6), settings, str)
    assert (found.steps, found.seconds) == (6, seconds)
