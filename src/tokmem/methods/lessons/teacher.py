"""The teacher: the frozen model with the lesson's text in its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tokmem.bank.bank import Bank
from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder
from tokmem.data.lessons.lesson import Lesson
from tokmem.errors import DataError
from tokmem.log import logger
from tokmem.methods.lessons.settings import FEWEST, LessonSettings
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example, Turn
from tokmem.train.targets import Targets, read_targets

_NO_LIMIT = 1 << 20


@dataclass
class Teacher:
    """Answers queries with the lesson in its prompt, and says what it predicts for each token.

    Args:
        backbone: the frozen model.
        chat: its chat format.
        lesson: what stands before each query.
        settings: of the lesson.

    Raises:
        DataError: the lesson leaves no room for queries and responses.
    """

    backbone: Backbone
    chat: Chat
    lesson: Lesson
    settings: LessonSettings

    def __post_init__(self) -> None:
        config = self.backbone.model.config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", None) or _NO_LIMIT)
        self.lm = MemoryLM(self.backbone.model, Bank(self.backbone.dim, self.backbone.id_space()))
        self.encoder = Encoder(self.chat, {}, max_length=self.context)
        self.room = self.context - self.settings.max_new_tokens - len(self.chat.tail)
        needed = self.encoder.length(self.shown(Example("?")))
        if needed > self.room:
            raise DataError(
                f"{self.lesson.source or self.lesson.name}: a prompt of {needed} tokens",
                f"at most {self.room}: {self.backbone.id} reads {self.context}",
                "shorten it, or take a backbone that reads more",
            )

    def check(self, queries: Sequence[Example]) -> None:
        """Refuses queries that leave no room for a response behind the lesson.

        Raises:
            DataError: one of them is too long.
        """
        for number, query in enumerate(queries, 1):
            needed = self.encoder.length(self.shown(query))
            if needed > self.room:
                raise DataError(
                    f"query {number}, {query.query!r:.40}...: {needed} tokens behind {self.lesson.name!r}",
                    f"at most {self.room}: {self.backbone.id} reads {self.context}",
                    "cut it, or leave it out",
                )

    def shown(self, example: Example) -> Example:
        """The example as the teacher reads it."""
        own = self.lesson
        return replace(example, instruction=own.text, demonstrations=own.demonstrations)

    def answers(
        self, examples: Sequence[Example], *, reads: bool = True, greedy: bool = False
    ) -> list[Answer]:
        """Answers queries.

        Args:
            examples: the queries.
            reads: whether the lesson is in the prompt; without it the model is on its own.
            greedy: whether to answer greedily, whatever the settings say.
        """
        own = self.settings
        recall = RecallSettings(
            temperature=0.0 if greedy else own.teacher_temperature,
            max_new_tokens=own.max_new_tokens,
            seed=own.seed,
        )
        asked = [self.shown(example) for example in examples] if reads else examples
        return answer_examples(self.lm, self.encoder, asked, recall)

    def responses(self, queries: Sequence[Example]) -> list[Example]:
        """Gives each query its response as a turn; a tool's queries have theirs already.

        Responses that show nothing are left out.

        Raises:
            DataError: too few are left.
        """
        if all(example.turns for example in queries):
            return list(queries)
        found = []
        for example, answer in zip(queries, self.answers(queries), strict=True):
            if answer.text.strip():
                found.append(replace(example, turns=(Turn(self.lesson.name, answer.text),)))
        self._check(found, len(queries))
        return found

    def response_length(self, queries: Sequence[Example]) -> float:
        """Mean number of tokens that answers to these queries take, the last of which ends the response."""
        texts = [answer.text for answer in self.answers(queries, greedy=True)]
        return fmean(min(len(self.chat.text_ids(t)) + 1, self.settings.max_new_tokens) for t in texts)

    def _check(self, found: Sequence[Example], asked: int) -> None:
        if len(found) < FEWEST:
            raise DataError(
                f"{len(found)} responses that can be learned, to {asked} queries for {self.lesson.name!r}",
                f"at least {FEWEST}",
                "raise max_new_tokens, or give other queries",
            )
        if len({example.turns[0].response for example in found}) == 1:
            logger.warning(
                "the teacher of %r always says the same: %.60r", self.lesson.name, found[0].turns[0]
            )

    def targets(self, examples: Sequence[Example], banned: Sequence[int]) -> Targets:
        """What the teacher predicts for each token of the examples' responses.

        Args:
            examples: queries with responses, and different ids.
            banned: ids that stand for memory tokens.

        Raises:
            DataError: a query is too long for the backbone.
        """
        encoded = [self.encoder.encode_plain(self.shown(example)) for example in examples]
        if self.encoder.truncated:
            raise DataError(
                f"a query that does not fit into {self.context} tokens with lesson {self.lesson.name!r}",
                "shorter queries",
                "cut it, or leave it out",
            )
        return read_targets(self.lm, encoded, self.settings.top_k, banned)
