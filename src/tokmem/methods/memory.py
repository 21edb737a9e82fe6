"""What a user does with a memory: look at it, change it, ask it, measure it, share it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, overload

from tokmem.bank.bank import Bank
from tokmem.bank.card import rows_checksum, scores_note
from tokmem.bank.facts import with_lessons_of
from tokmem.bank.store import save_bank
from tokmem.config.changes import with_changes
from tokmem.data.calls.parse import calls_of
from tokmem.data.calls.text import CallStyle
from tokmem.data.chat import Chat
from tokmem.data.coerce import ExamplesLike, as_examples, as_query
from tokmem.data.encode import Encoder, PromptMode
from tokmem.data.fields import did_you_mean
from tokmem.data.jsonl import examples_checksum
from tokmem.errors import BankError, DataError, RecallError
from tokmem.eval.answers import score_answers
from tokmem.eval.call_scores import score_calls
from tokmem.eval.tool_answers import expected_calls
from tokmem.files import as_path
from tokmem.methods.exportable import Exportable
from tokmem.methods.guesses import Guesses
from tokmem.methods.hub import upload
from tokmem.methods.memory_settings import check_kind, load_own, origin_of
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.answer import answer_examples, stream_answer
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example, Forced, Procedure, Route, counted
from tokmem.train.checkpoint import has_checkpoint
from tokmem.train.settings import FitReport

Query = str | Example


class Memory(Exportable, Guesses):
    """A bank, the backbone that it belongs to, and what is asked of them. `TokMem` adds how it learns.

    Attributes:
        bank: the table of memory tokens.
        backbone: the frozen model and its tokenizer.
        lm: the two together.
        chat: how prompts are written.
        prompt: what a prompt holds.
        call_style: how calls of tools end.
        history: what a loaded bank says of its training.
        recall_settings: how answers are generated, unless a call changes it.
    """

    bank: Bank
    backbone: Backbone
    lm: MemoryLM
    chat: Chat
    prompt: PromptMode
    call_style: CallStyle
    history: Mapping[str, Any]
    recall_settings: RecallSettings

    def settled(self, example: Example, answer: Answer) -> bool:
        """Whether a free answer stays the same with the right procedures given.

        It does if it recalled just them at once, and if no token is drawn.
        """
        wanted, recalled = ([turn.procedure for turn in turns] for turns in (example.turns, answer.turns))
        how = self.recall_settings
        return recalled == wanted and not (answer.text or how.reject or how.temperature)

    @property
    def encoder(self) -> Encoder:
        """Examples to token ids, with the bank as it is now."""
        raise NotImplementedError

    @property
    def procedures(self) -> Mapping[str, Procedure]:
        """The procedures of the bank by name, in slot order."""
        return _Procedures({name: self.bank.procedures[name] for name in self.bank.names})

    @property
    def trainable_parameters(self) -> int:
        """How many numbers learning may change."""
        return self.bank.trainable_parameters

    def address_norms(self) -> dict[str, float]:
        """The norm of each procedure's address."""
        return {name: float(self.bank.rows(name)[0].norm()) for name in self.bank.names}

    def __len__(self) -> int:
        return len(self.bank)

    def __bool__(self) -> bool:
        """A memory without procedures is a memory too."""
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.bank.names)

    def __contains__(self, name: object) -> bool:
        return name in self.bank.names

    def __getitem__(self, name: str) -> Procedure:
        self._require(name)
        return self.bank.procedures[name]

    def __repr__(self) -> str:
        names = [*self.bank.names[:3], *(["..."] if len(self) > 3 else [])]
        kind = "coupled" if self.bank.coupled else "decoupled"
        listed = f": {', '.join(names)}" if names else ""
        return f"{type(self).__name__}(backbone={self.backbone.id!r}, {kind}, {counted(len(self))}{listed})"

    def __delitem__(self, name: str) -> None:
        self.remove(name)

    def _require(self, *names: str) -> None:
        for name in names:
            if name not in self:
                raise _no_procedure(name, self.bank.names)

    def _trained(self, report: FitReport, examples: Sequence[Example]) -> FitReport:
        """Notes for the model card what the bank was trained on; returns the report."""
        earlier = self.history.get("trained_on", [])
        self.history = {**self.history, "trained_on": [*earlier, examples_checksum(examples)]}
        return report

    @contextmanager
    def _starting_over(self, checkpoint: Path | None) -> Iterator[None]:
        """Puts all rows back if the block fails and there is a checkpoint, so that the same call resumes.

        `tokmem.train.fit` does so for the parameters of one run. A training may have several runs.
        """
        if checkpoint is None:
            yield
            return
        put_back = self.bank.snapshot()
        try:
            yield
        except BaseException:
            if has_checkpoint(checkpoint):
                put_back()
            raise

    def remove(self, *names: str | Collection[str]) -> None:
        """Removes procedures. The others' rows stay as they are, and no token id is ever given again.

        Args:
            names: of procedures, or lists of names.

        Raises:
            BankError: the bank has no procedure of that name, or a composition token that stays would lose
                the last procedures that it has learned to join.
        """
        each = [name for one in names for name in (one if isinstance(one, list | tuple | set) else (one,))]
        self._require(*each)
        self.bank.remove(each)
        self.history = with_lessons_of(self.history, self.bank.names)

    def rename(self, old: str, new: str) -> None:
        """Renames a procedure. Its rows and token ids stay.

        Raises:
            BankError: the bank has no procedure `old`, or has one called `new`.
            DataError: `new` is no text.
        """
        self._require(old)
        if not isinstance(new, str):
            raise DataError(f"{type(new).__name__} {new!r} as a new name", "text")
        self.bank.rename(old, new)
        self.history = with_lessons_of(self.history, self.bank.names)

    @overload
    def recall(
        self, queries: Query, procedures: Sequence[Sequence[Forced]] | None = None, **options: Any
    ) -> Answer: ...

    @overload
    def recall(
        self, queries: Sequence[Query], procedures: Sequence[Sequence[Forced]] | None = None, **options: Any
    ) -> list[Answer]: ...

    def recall(
        self,
        queries: Query | Sequence[Query],
        procedures: Sequence[Sequence[Forced]] | None = None,
        **options: Any,
    ) -> Answer | list[Answer]:
        """Routes queries and writes their responses.

        Args:
            queries: one or many, as text or as examples (whose instruction the prompt mode may use).
            procedures: procedures to force, a sequence a query. A tuple in it composes procedures: their
                tokens stand together before one response, as in `[[("summarise", "french")]]`.
            options: changes to the recall settings, such as `mode="chain"` or `top_k=3`.

        Returns:
            One answer for one query, a list for several.

        Raises:
            RecallError: the bank is empty.
            DataError: a query is no text, or is empty.
            ConfigError: there is no such option.
        """
        one = isinstance(queries, str | Example | Mapping) or not isinstance(queries, Iterable)
        examples = [as_query(query) for query in ([queries] if one else queries)]  # type: ignore[union-attr]
        settings = self._recall_settings(options)
        if procedures is not None and (
            isinstance(procedures, str) or any(isinstance(its, str) for its in procedures)
        ):
            wanted = "a list of procedures for each query, such as [['name']]"
            raise DataError(f"procedures {procedures!r:.60}", wanted)
        answers = answer_examples(self.lm, self.encoder, examples, settings, procedures)
        return answers[0] if one else answers

    def __call__(self, queries: Any, **options: Any) -> Any:
        """The same as `recall`."""
        return self.recall(queries, **options)

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Recalls each example's query; `forced` gives the right procedures."""
        wanted = [[t.procedure for t in e.turns] for e in examples] if forced else None
        return self.recall(examples, wanted)

    def predict(self, queries: Query | Sequence[Query], **options: Any) -> str | list[str]:
        """Writes responses alone, as text: one for one query, a list for several.

        Raises:
            TokMemError: as `recall`.
        """
        answers = self.recall(queries, **options)
        return answers.response if isinstance(answers, Answer) else [answer.response for answer in answers]

    def stream(self, query: Query, **options: Any) -> Iterator[str]:
        """Yields the text of an answer piece by piece, as it is written.

        The pieces join to the response; in mode `chain`, to the answer's `transcript`. In a chain, text
        before the first turn waits until the end, because a turn would take its place.

        Raises:
            TokMemError: as `recall`, when the first piece is asked for.
        """
        settings, shown = self._recall_settings(options), ""
        chain = settings.mode == "chain"
        for answer in stream_answer(self.lm, self.encoder, as_query(query), settings):
            text = answer.transcript if chain else answer.response
            if chain and not answer.turns:
                continue
            if text.startswith(shown) and not text.endswith("\ufffd"):  # half a character is held back
                yield text[len(shown) :]
                shown = text
        yield text[len(shown) :]

    def route(self, query: Query) -> Route:
        """Chooses the procedure of a query (Eq. 4), and ranks all others.

        Raises:
            TokMemError: as `recall`.
        """
        answer = self.recall(as_query(query), top_k=max(len(self), 1), max_new_tokens=1)
        if answer.route is None:
            got = "a bank of composition tokens alone"
            raise RecallError(got, "at least one procedure", "add and fit procedures first")
        return answer.route

    def evaluate(
        self, examples: ExamplesLike, *, procedure: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Answers examples and scores the answers. The memory remembers the scores for its model card.

        Args:
            examples: what `fit` takes; of a file with splits the rows of the split `test`.
            procedure: what pairs are of.
            options: changes to the recall settings.

        Returns:
            scores in percent. Of examples of one turn each, answered freely and with the right procedure
            given: `routing_accuracy`, `rouge_l`, `exact_match` and more, as `score_answers` names them. If an
            example has several turns, chains are recalled and their calls scored: `tool_f1`, `call_f1`,
            `call_exact` and more, as `CallRates` names them.

        Raises:
            TokMemError: as `recall`.
        """
        listed = as_examples(examples, self.bank.names, procedure, "test")
        if not listed or not all(example.turns for example in listed):
            raise DataError("no examples, or one without turns", "queries with the responses to expect")
        scores = self._measure(listed, options)
        if note := scores_note(scores, len(listed), examples_checksum(listed)):
            self.history = {**self.history, "scores": {**note, "rows": rows_checksum(self.bank)}}
        return scores

    def _measure(self, listed: Sequence[Example], options: Mapping[str, Any]) -> dict[str, Any]:
        """Answers examples and scores the answers."""
        if any(len(example.turns) > 1 for example in listed):
            written = self.recall(listed, **{"mode": "chain", **options})
            calls = [calls_of(answer, self.procedures) for answer in written]
            return {**vars(score_calls([expected_calls(one) for one in listed], calls).overall)}
        wanted = [[turn.procedure for turn in example.turns] for example in listed]
        return score_answers(listed, self.recall(listed, **options), self.recall(listed, wanted, **options))

    def _recall_settings(self, options: Mapping[str, Any]) -> RecallSettings:
        if len(self) == 0:
            raise RecallError("an empty bank", "at least one procedure", "add and fit procedures first")
        return with_changes(self.recall_settings, options)

    def save(self, folder: Path | str, training: Mapping[str, Any] | None = None) -> None:
        """Saves the bank as a folder, with a model card.

        Args:
            folder: made, or an older bank that is replaced.
            training: goes into the bank's provenance, beside that of a loaded bank. Its entry `scores` is of
                the bank as it is now (see `tokmem.bank.card`).
        """
        own_notes = {"prompt": self.prompt, "call_style": self.call_style}
        notes = {**self.history, **own_notes, **(training or {})}
        if training and isinstance(training.get("scores"), Mapping):
            notes["scores"] = {**training["scores"], "rows": rows_checksum(self.bank)}
        save_bank(self.bank, as_path(folder), origin_of(self.backbone, self.chat, notes))

    def restore(self, folder: Path) -> None:
        """Replaces this bank by a saved one, with what that says of its training.

        Raises:
            BankError: the bank is damaged, or of another backbone, chat format or coupling.
        """
        bank, origin = load_own(as_path(folder), self.backbone, self.chat)
        check_kind(bank, self.bank)
        self.bank, self.lm = bank, MemoryLM(self.backbone.model, bank)
        self.history = dict(origin.training)

    def save_pretrained(self, folder: Path | str) -> None:
        """Saves the bank as a folder; the same as `save`."""
        self.save(folder)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Uploads the bank and its card to the Hugging Face Hub.

        Args:
            repo_id: `owner/name`; made if there is none.
            private: whether a new repository is private.
            token: of the hub; None takes the one that `hf auth login` stored.

        Returns:
            The address of the commit.

        Raises:
            BankError: the hub cannot be reached, or does not take the bank.
        """
        with TemporaryDirectory() as draft:
            self.save(Path(draft) / "bank")
            return upload(Path(draft) / "bank", repo_id, counted(len(self)), private, token)


class _Procedures(dict[str, Procedure]):
    """Procedures by name; an unknown name is refused as `memory[name]` refuses it."""

    def __missing__(self, name: object) -> NoReturn:
        raise _no_procedure(name, tuple(self))


def _no_procedure(name: object, names: Sequence[str]) -> BankError:
    """The error of a name that no procedure has."""
    listed = f" (there are: {', '.join(names[:5])})"
    if not isinstance(name, str):
        got = f"{type(name).__name__} {name!r:.40} as the name of a procedure{listed}"
        return BankError(got, "a name", "list(memory) gives all names in order")
    return BankError(f"no procedure {name!r}{did_you_mean(name, names) or listed}", "a procedure of the bank")
