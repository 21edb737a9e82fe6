"""Samples dates in four written forms, and clock times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from random import Random

from tokmem.mini.family import Sampler
from tokmem.mini.lexicon import (
    MONTHS,
)

DateForm = Callable[[date], str]
Time = tuple[int, int]  # hour from 0 to 23, minute
TimeForm = Callable[[Time], str]
# Without 29 February, so that every date exists in the next year too.
MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def month_name(day: date) -> str:
    """Names the month of a date."""
    return MONTHS[day.month - 1]


def iso(day: date) -> str:
    """Writes 2021-03-14."""
    return day.isoformat()


def slashed(day: date) -> str:
    """Writes 14/03/2021."""
    return f"{day.day:02}/{day.month:02}/{day.year}"


def month_first(day: date) -> str:
    """Writes March 14, 2021."""
    return f"{month_name(day)} {day.day}, {day.year}"


def day_first(day: date) -> str:
    """Writes 14 March 2021."""
    return f"{day.day} {month_name(day)} {day.year}"


DATE_FORMS: tuple[DateForm, ...] = (iso, slashed, month_first, day_first)


def draw_date(rng: Random) -> date:
    """Draws a date from 1950 to 2039."""
    month = rng.randint(1, 12)
    return date(rng.randint(1950, 2039), month, rng.randint(1, MONTH_LENGTHS[month - 1]))


def rewrite(target: DateForm, sources: Sequence[DateForm] = DATE_FORMS) -> Sampler:
    """Samples a date in one of the source forms, other than the target; answers in the target form."""
    usable = tuple(form for form in sources if form is not target)

    def sample(rng: Random) -> tuple[str, str]:
        day = draw_date(rng)
        return rng.choice(usable)(day), target(day)

    return sample


def clock24(time: Time) -> str:
    """Writes 15:40."""
    return f"{time[0]:02}:{time[1]:02}"


def draw_time(rng: Random) -> Time:
    """Draws a time with at least one minute past the hour."""
    return rng.randint(0, 23), rng.randint(1, 59)


def time_of_day(answer: TimeForm, source: TimeForm = clock24) -> Sampler:
    """Samples a time in the source form; ``answer`` makes the response."""

    def sample(rng: Random) -> tuple[str, str]:
        time = draw_time(rng)
        return source(time), answer(time)

    return sample
