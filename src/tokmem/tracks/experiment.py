"""What a track makes of a config: an experiment whose parts can be run apart."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol


class Experiment(Protocol):
    """A config with its data, read and checked; nothing is trained yet.

    A track's class takes its config, the run's folder and the loaded backbone.

    Attributes:
        parts: what can be run apart, in the order of the summary's rows.
        checksum: of the data.
    """

    parts: Sequence[Any]
    checksum: str

    def begin(self) -> None:
        """Prepares in the run's folder what several parts need; called once, before any part runs."""
        return

    def job(self, part: Any) -> Hashable:
        """Names the job that a part belongs to: one process runs all parts of a job, in order."""
        return self.parts.index(part)

    def rank(self, part: Any) -> int:
        """The place of a part in the queue of several processes; long parts go first, so all end together."""
        return 0

    def run(self, part: Any) -> Any:
        """Trains and measures one part; reads back what the run's folder already holds of it."""
        ...

    def summarise(self, results: Sequence[Any]) -> dict[str, Any]:
        """The summary's own entries.

        Args:
            results: what `run` returned, one for each part.
        """
        ...

    def end(self, summary: Mapping[str, Any]) -> None:
        """Writes what the folder holds beside the summary."""
        return
