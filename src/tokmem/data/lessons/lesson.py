"""A lesson: a text that tells a model what to do, and the procedure that will stand for the text."""

from __future__ import annotations

from dataclasses import dataclass

from tokmem.records import Demonstration, Procedure


@dataclass(frozen=True)
class Lesson:
    """What a procedure is learned from. The teacher reads the text; the student has a memory token instead.

    Attributes:
        procedure: the procedure to learn; one with parameters is a tool.
        text: stands before each query of the teacher.
        demonstrations: solved queries that the teacher is shown too.
        source: where the lesson was read, for messages.
    """

    procedure: Procedure
    text: str
    demonstrations: tuple[Demonstration, ...] = ()
    source: str = ""

    @property
    def name(self) -> str:
        """The name of the procedure."""
        return self.procedure.name

    @property
    def is_tool(self) -> bool:
        """Whether responses are arguments of a call."""
        return self.procedure.parameters is not None
