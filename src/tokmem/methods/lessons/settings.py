"""The settings of lessons."""

from __future__ import annotations

from dataclasses import dataclass

from tokmem.config import Config, check_least, setting
from tokmem.errors import ConfigError

FEWEST = 4  # queries that a lesson needs
# Most queries in a step, unless the user chose a number: as in the measured lessons.
BATCH = 4


@dataclass(frozen=True)
class LessonSettings(Config):
    """How a procedure is learned from a text."""

    queries: int = setting(64, "queries to make, if none are given")
    held_out: float = setting(0.2, "share of the queries that only measure")
    query_temperature: float = setting(0.8, "temperature at which queries are made")
    max_query_tokens: int = setting(40, "most tokens of a query that is made")
    teacher_temperature: float = setting(0.0, "of the teacher's responses; 0 is greedy")
    max_new_tokens: int = setting(64, "most tokens of a response of teacher and student")
    top_k: int = setting(32, "tokens of the teacher's predictions that are kept; the rest count as one")
    start_tries: int = setting(16, "stretches of the text that are tried as a start; 0 keeps the bank's own")
    hard: float = setting(0.0, "weight of the cross-entropy of responses; 0: none, or 1 if they are right")
    anchor: float = setting(0.0, "weight of the pull of the steering rows to their start")
    own_epochs: int = setting(0, "passes over the student's own responses, by the reverse divergence")
    seed: int = setting(0, "of all draws")

    def __post_init__(self) -> None:
        least = {"queries": FEWEST, "max_query_tokens": 1, "max_new_tokens": 1, "top_k": 1}
        zero = ("query_temperature", "teacher_temperature", "hard", "start_tries", "anchor", "own_epochs")
        check_least(vars(self), least | dict.fromkeys(zero, 0))
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out {self.held_out}", "above 0 and below 1")
