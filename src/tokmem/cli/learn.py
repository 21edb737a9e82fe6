"""`tokmem learn`: learns procedures from prompts, skills and tools, without labels."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokmem.cli import launched
from tokmem.cli.flags import Flags, given, track_config, training_given
from tokmem.cli.inputs import input_file
from tokmem.cli.memory import FASTEST, bank_config, bank_itself, for_speed
from tokmem.cli.shared import command_line, console, load, show_json, show_table
from tokmem.errors import ConfigError
from tokmem.files import check_replaceable
from tokmem.records import counted

if TYPE_CHECKING:  # importing them takes seconds
    from tokmem.data.lessons.lesson import Lesson
    from tokmem.methods.lessons.cost import Cost
    from tokmem.methods.lessons.settings import LessonSettings
    from tokmem.methods.tokmem import TokMem
    from tokmem.records import Example

EXAMPLE = "tokmem learn polite.txt --bank runs/learned --queries queries.txt"
FLAGS = Flags(
    "atomic",
    keys=("start", "width", "backbone.*", "training.*"),
    skip=("training.seed",),  # --seed is of all draws
    defaults={
        "start": "description",
        "backbone.model_name": "the bank's, or smollm2",
        "training.lr": "by the size of the backbone",
        "training.epochs": "as many as make 150 steps",
        "training.batch_size": "4, or as many queries as there are",
        **FASTEST,
    },
)
Sources = Annotated[
    list[str],
    typer.Argument(
        help="Prompts (text), folders with a SKILL.md, tools (JSON), MCP servers (URL, stdio:COMMAND)."
    ),
]
Queries = Annotated[
    Path | None,
    typer.Option(
        help="Queries: one a line, or JSON lines. \\[default: the backbone makes them]", callback=input_file
    ),
]
Skip = Annotated[
    list[str] | None,
    typer.Option(help="Name of a procedure to leave out, such as one tool of a list; may be repeated."),
]
_ASK = 60  # seconds of work that need no question
_PROBES = 4  # queries that the teacher answers to tell how long its responses are


def learn(
    ctx: typer.Context,
    sources: Sources,
    bank: Annotated[Path, typer.Option("--bank", help="Folder of the bank; made if there is none.")],
    queries: Queries = None,
    skip: Skip = None,
    make: Annotated[int, typer.Option(help="How many queries to make.")] = 64,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of a response.")] = 64,
    teacher_top_k: Annotated[int, typer.Option(help="Tokens of the teacher's predictions to keep.")] = 32,
    hard: Annotated[
        float, typer.Option(help="Weight of the cross-entropy of responses. 0: none, or 1 for drawn calls.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    price: Annotated[
        float, typer.Option(help="Of a million prompt tokens; the card then says what is saved.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before long work.")] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print a card, or with --dry-run the cost, as JSON for each procedure."),
    ] = False,
) -> None:
    """Learn procedures from prompts, skills and tools, without labels.

    The frozen backbone with the text in its prompt is the teacher; a memory token learns to stand for the
    text. What is finished stays in a folder beside the bank: the same command goes on after an interruption.
    """
    from tokmem.bank.facts import FILES
    from tokmem.data.queries import read_queries
    from tokmem.methods.lessons.settings import LessonSettings
    from tokmem.methods.lessons.teach import identity, recipe, teach

    settings = LessonSettings(
        queries=make, max_new_tokens=max_new_tokens, top_k=teacher_top_k, hard=hard, seed=seed
    )
    lessons = _lessons(sources, skip or ())
    asked = read_queries(queries) if queries else []
    if bank.is_dir():
        bank = bank_itself(bank) or bank
    check_replaceable(bank, FILES)  # before long work
    with nullcontext() if dry_run else launched.locked(bank):
        memory, notes, config = _open(bank, given(ctx))
        # A procedure may have been removed or renamed since its lesson.
        cards = {name: card for name, card in notes.get("lessons", {}).items() if name in memory}
        training = training_given(config, given(ctx)) | {"seed": seed}
        how = recipe(memory, training)
        marks = {one.name: (identity(memory, one, settings, asked), how) for one in lessons}
        todo = [one for one in lessons if not _is_of(cards.get(one.name, {}), *marks[one.name])]
        costs = _costs(memory, todo, settings, training, asked, bank)
        _show_plan(todo, costs, len(lessons) - len(todo), dry_run, json)
        if dry_run or not _agreed(costs, yes):
            return
        beside = bank.with_name(f"{bank.name}.lessons")
        for lesson in todo:
            card = teach(memory, lesson, settings, queries=asked, training=training, folder=beside)
            cards[lesson.name] = asdict(card)
            if not launched.index():
                memory.save(bank, training={**notes, "lessons": cards})
    _show_cards([dict(cards[lesson.name]) for lesson in lessons], price, json)
    if not json:
        console().print(f"Bank: {bank}\nTry:  {command_line('recall', bank, 'QUERY')}", markup=False)


def _lessons(sources: Sequence[str], skip: Sequence[str]) -> Sequence[Lesson]:
    """Reads the lessons that are not skipped; says which command makes a file that is missing."""
    from tokmem.data.lessons.server import is_server
    from tokmem.data.lessons.sources import read_lessons

    for source in sources:
        if not is_server(source):
            input_file(Path(source))
    return read_lessons(sources, skip)


def _show_cards(cards: Sequence[dict[str, Any]], price: float, json: bool) -> None:
    """Shows the card of each lesson; with a price of prompt tokens, also what a thousand queries save."""
    from tokmem.report.learned import lessons_table

    for card in cards if price else ():
        card["worth"] = card["saved_tokens"] * 1000 * price / 1e6
    if json:
        show_json(cards)
    else:
        show_table(lessons_table(cards), ("procedure",))


def _is_of(card: Mapping[str, Any], identity: str, recipe: str) -> bool:
    """Tells whether a card is of this lesson and this training. Older cards name no training."""
    return card.get("identity") == identity and card.get("recipe", recipe) == recipe


def _open(bank: Path, settings: dict[str, str]) -> tuple[TokMem, dict[str, Any], Any]:
    """The memory to teach, the notes of its bank, and the config."""
    from tokmem.bank.store import load_bank
    from tokmem.methods.tokmem import TokMem
    from tokmem.methods.tokmem_lora import home_of

    settings = {"start": "description", **settings}
    if not (bank.is_dir() and any(bank.iterdir())):
        config = track_config("atomic", for_speed(settings))
        options: Any = {"coupled": False, "addresses": "closed", "prompt": "query"}
        backbone = load(config.backbone)
        return TokMem(backbone, start=config.start, width=config.width, **options), {}, config
    if home_of(bank):
        raise ConfigError(
            f"bank {bank}, which was trained beside an adapter",
            "a bank of a plain or an adapted backbone",
            "learn into another bank",
        )
    origin = load_bank(bank)[1]
    config = bank_config(bank, origin, settings)
    memory = TokMem.load(bank, load(config.backbone), start=config.start, width=config.width)
    return memory, dict(origin.training), config


def _costs(
    memory: TokMem,
    lessons: Sequence[Lesson],
    settings: LessonSettings,
    training: dict[str, Any],
    queries: Sequence[Example],
    bank: Path,
) -> list[Cost]:
    """What each lesson will cost; refuses those that cannot be taught."""
    from tokmem.methods.lessons.cost import cost_of, seconds_a_token
    from tokmem.methods.lessons.settings import BATCH
    from tokmem.methods.lessons.teach import teacher_of
    from tokmem.train.defaults import settings_for

    taken = next((lesson.name for lesson in lessons if lesson.name in memory), None)
    if taken is not None:
        raise ConfigError(
            f"procedure {taken!r}, which the bank has from another lesson",
            "a new name, or the same lesson with the same settings",
            f"rename it, or: {command_line('bank', 'remove', bank, taken)}",
        )
    teachers = [teacher_of(memory, lesson, settings, queries) for lesson in lessons]
    pace = seconds_a_token(memory.backbone.model) if lessons else 0.0
    how = settings_for(len(queries) or settings.queries, memory.backbone, training, batch=BATCH)
    costs = [cost_of(teacher, settings, how, len(queries), pace) for teacher in teachers]
    if sum(cost.seconds for cost in costs) <= _ASK or not queries:
        return costs
    # Responses are often far shorter than they may be, and some seconds show it.
    lengths = [None if one.lesson.is_tool else one.response_length(queries[:_PROBES]) for one in teachers]
    return [
        cost_of(teacher, settings, how, len(queries), pace, length)
        for teacher, length in zip(teachers, lengths, strict=True)
    ]


def _show_plan(todo: Sequence[Lesson], costs: Sequence[Cost], done: int, whole: bool, json: bool) -> None:
    """Says what was found, and what each lesson will cost; a dry run shows the teacher's prompts too."""
    if json:
        named = zip(todo, costs, strict=True)
        if whole:
            show_json([{"procedure": one.name, "source": one.source, **asdict(cost)} for one, cost in named])
        return
    out = console()
    if done:
        out.print(f"{counted(done)} {'is' if done == 1 else 'are'} learned already.", markup=False)
    for lesson, cost in zip(todo, costs, strict=True):
        kind = "tool" if lesson.is_tool else "text"
        spent = f"{cost.prompt_tokens} prompt tokens, about {cost.seconds:.0f} s"
        out.print(f"{lesson.name} ({kind}, {lesson.source}): {spent}", markup=False)
        if whole:
            out.print(cost.prompt, markup=False)


def _agreed(costs: Sequence[Cost], yes: bool) -> bool:
    seconds = sum(cost.seconds for cost in costs)
    return (
        yes
        or launched.count() > 1  # they have no common terminal to answer at
        or seconds <= _ASK
        or _confirmed(f"Begin about {counted(round(seconds / 60), 'minute')} of work?")
    )


def _confirmed(question: str) -> bool:
    """Asks on the error stream, since the output may be JSON; refuses if there is nobody to answer."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as error:
        if sys.stdin.isatty():
            raise
        raise ConfigError("no answer to the question", "yes or no", "give --yes to begin at once") from error
    if not agreed:
        raise typer.Abort
    return True
