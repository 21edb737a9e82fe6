"""Measures tools as tokens on the Berkeley function-calling leaderboard, without one labelled call.

    pip install --no-deps --target FOLDER bfcl-eval
    python -m bench.bfcl_tools --bfcl FOLDER --work FOLDER

Functions of `simple_python` become memory tokens of one bank: they are spread evenly over those of different
names, because neighbours of the list are often two names of one thing. Queries and calls are made from their
schemas. Then the leaderboard's own request for each function is answered, and its own checker of syntax trees
judges the call.

With `--category multi_turn_base` the functions are those of its eight simulated services, and a request is a
turn that one call answers. It comes without the dialogue before it. So the tool can be found, and arguments
that only the dialogue names cannot.

`calls` in the result has a row for each way of giving the tools:

- `tokens`: memory tokens, chosen by the bank.
- `tokens, given`: the right memory token is forced.
- `tokens, to schema` and `tokens, given, to schema`: likewise, and the arguments are held to the tool's
  schema, which allows no other properties.
- `text, own` and `text, own, to schema`: the teacher, whose prompt has the JSON schema of the right tool
  alone; free, and held to the schema likewise.
- `text, five`: a line for the right tool and four others, and two demonstrations of other tools.
- `text, all`: a line for every tool, as many as fit, and the same demonstrations.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import fmean
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from bench.taught import Course, Result, checksum, learned_in_one, parser_of
from tokmem.data.calls.parse import calls_of, written_calls
from tokmem.data.chat import Chat
from tokmem.data.lessons.lesson import Lesson
from tokmem.data.lessons.tools import tool_lesson
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.teacher import Teacher
from tokmem.methods.tokmem import TokMem
from tokmem.methods.tool_prompt import ToolPrompt
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.provenance import provenance
from tokmem.recall.answer import stop_ids
from tokmem.recall.constrained import Guide, Guides
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Call, Example, ParsedCall, Procedure, Turn
from tokmem.seeds import stream

OUT = Path("results/distil/tools.json")
SINGLE, TURNS = "simple_python", "multi_turn_base"
OTHERS = 4  # tools beside the right one in `text, five`
_CALL = '{{"name": "{}", "arguments": {}}}'
SHOWN = [
    Example(query, (Turn(name, _CALL.format(name, arguments)),))
    for query, name, arguments in (
        ("What will the weather be like in Oslo?", "weather", '{"city": "Oslo"}'),
        ("Order 3 bags of rice.", "add_item", '{"item": "rice", "count": 3}'),
    )
]

Judge = Callable[["Case", Call | None], bool]


@dataclass(frozen=True)
class Case:
    """A function of the leaderboard, the request for it, and what its checker reads.

    Attributes:
        lesson: the function as a lesson.
        query: the request.
        functions: the function as the leaderboard writes it.
        right: the accepted calls.
    """

    lesson: Lesson
    query: str
    functions: list[dict[str, Any]]
    right: list[dict[str, Any]]


def files_of(folder: Path, category: str) -> list[Path]:
    """The file of requests, that of accepted calls, and those of functions that stand apart."""
    data, name = folder / "bfcl_eval" / "data", f"BFCL_v4_{category}.json"
    functions = sorted((data / "multi_turn_func_doc").glob("*.json")) if category == TURNS else []
    return [data / name, data / "possible_answer" / name, *functions]


def cases_of(folder: Path, count: int, category: str) -> list[Case]:
    """Requests for functions of different names, spread evenly over the file."""
    asked, right, *functions = (
        [json.loads(line) for line in path.open(encoding="utf-8")] for path in files_of(folder, category)
    )
    answers = {row["id"]: row["ground_truth"] for row in right}
    known = {function["name"]: function for own in functions for function in own}
    read = partial(_turns, known=known) if category == TURNS else _single
    found: dict[str, Case] = {}
    for row in asked:
        for case in read(row, answers[row["id"]]):
            found.setdefault(case.lesson.name, case)
    cases = [*found.values()]
    if count > len(cases):
        sys.exit(f"--tools {count}: {category} has {len(cases)} functions")
    return [cases[number * len(cases) // count] for number in range(count)]


def _single(row: dict[str, Any], right: list[dict[str, Any]]) -> list[Case]:
    """The request of a line, which has its function beside it."""
    lesson = tool_lesson(row["function"][0], row["id"])
    return [Case(lesson, row["question"][0][0]["content"], row["function"], right)]


def _turns(row: dict[str, Any], right: list[list[str]], known: Mapping[str, dict[str, Any]]) -> list[Case]:
    """The turns of a dialogue that one call answers."""
    cases = []
    for said, calls in zip(row["question"], right, strict=True):
        if len(said) == len(calls) == 1:
            call = ast.parse(calls[0], mode="eval").body
            assert isinstance(call, ast.Call), calls[0]
            function = known[ast.unparse(call.func)]
            lesson = tool_lesson(function, row["id"])
            cases.append(Case(lesson, said[0]["content"], [function], [accepted(call, function)]))
    return cases


def accepted(call: ast.Call, function: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """A right call as the checker reads it: a list of values for each property.

    "" among them lets the property be left out, as every optional one may be that the call leaves out; its
    default is accepted too.
    """
    properties = function["parameters"]["properties"]
    given = dict(zip(properties, call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
    values = {name: [_choices(ast.literal_eval(value))] for name, value in given.items()}
    left = {name: ["", *([own["default"]] if "default" in own else [])] for name, own in properties.items()}
    return {function["name"]: left | values}


def _choices(value: Any) -> Any:
    """The value, with a list of one choice for each entry of each object in it."""
    if isinstance(value, list):
        return [_choices(part) for part in value]
    return {name: [_choices(part)] for name, part in value.items()} if isinstance(value, dict) else value


def judge_of(folder: Path) -> Judge:
    """The leaderboard's own checker.

    It asks a table of models whether their names of functions have underscores for dots. That table imports
    the client of every vendor, so one that always says no stands in for it.
    """
    table: dict[str, Any] = defaultdict(lambda: SimpleNamespace(underscore_to_dot=False))
    stand_in = ModuleType("bfcl_eval.constants.model_config")
    stand_in.MODEL_CONFIG_MAPPING = table  # type: ignore[attr-defined]
    sys.path.insert(0, str(folder))
    sys.modules[stand_in.__name__] = stand_in
    check = import_module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker
    python = import_module("bfcl_eval.constants.enums").Language.PYTHON

    def judge(case: Case, call: Call | None) -> bool:
        said = [] if call is None else [{call.name: dict(call.arguments)}]
        return bool(check(case.functions, said, case.right, python, SINGLE, "any")["valid"])

    return judge


def main(arguments: Sequence[str] | None = None) -> None:
    """Teaches the tools, answers the requests in every way, and writes the result."""
    parser = parser_of(__doc__, OUT)
    parser.add_argument("--bfcl", type=Path, required=True, help="folder with the package bfcl_eval")
    parser.add_argument("--category", choices=(SINGLE, TURNS), default=SINGLE)
    parser.add_argument("--tools", type=int, default=50)
    parser.add_argument("--queries", type=int, default=20, help="queries to make for a tool")
    parser.add_argument("--start-tries", type=int, default=16, help="stretches that are tried as a start")
    parser.set_defaults(max_new_tokens=64, tokens=[1])
    options = parser.parse_args(arguments)
    measure(options, load_backbone(options.backbone, dtype=options.dtype))


def measure(options: argparse.Namespace, backbone: Backbone) -> None:
    """Writes the lessons' rows one after the other, and then those of the calls."""
    cases, judge = cases_of(options.bfcl, options.tools, options.category), judge_of(options.bfcl)
    settings = LessonSettings(
        queries=options.queries,
        max_new_tokens=options.max_new_tokens,
        start_tries=options.start_tries,
        seed=options.seed,
    )
    training = {"batch_size": options.batch_size, "epochs": options.epochs}
    facts = {
        "backbone": backbone.id,
        "dtype": options.dtype,
        "settings": asdict(settings),
        "training": training,
        "tools": options.tools,
        **({} if options.category == SINGLE else {"category": options.category}),
    }
    source = provenance(
        options.seed,
        checksum(files_of(options.bfcl, options.category)),
        backbone.fingerprint,
        str(backbone.device),
        backbone.source_sha256,
    )
    result = Result(options.out, facts, source)
    courses = [Course(backbone, case.lesson, (), settings, training, options.work) for case in cases]
    calls: list[dict[str, Any]] = []
    for width in options.tokens:
        memory = learned_in_one(courses, width, result)
        calls += [{"tokens": width, **row} for row in tokens_rows(memory, cases, judge, settings)]
    calls += [{"tokens": 0, **row} for row in text_rows(backbone, cases, judge, settings)]
    result.write(calls=calls)


def tokens_rows(
    memory: TokMem, cases: Sequence[Case], judge: Judge, settings: LessonSettings
) -> list[dict[str, Any]]:
    """The rows of memory tokens: chosen by the bank, and given; free, and held to the schemas."""
    queries, forced = [case.query for case in cases], [[case.lesson.name] for case in cases]
    free = {"max_new_tokens": settings.max_new_tokens}
    held = {**free, "mode": "chain", "constrained": True}
    strict = _strict(memory)
    rows = []
    for how, own, given, options in (
        ("tokens", memory, None, free),
        ("tokens, given", memory, forced, free),
        ("tokens, to schema", strict, None, held),
        ("tokens, given, to schema", strict, forced, held),
    ):
        answers = own.recall(queries, given, **options)
        calls = [calls_of(answer, own.procedures) for answer in answers]
        row = scored(how, cases, answers, calls, judge)
        tokens = len(memory.bank.memory[cases[0].lesson.name])
        rows.append({**row, "prompt_tokens": row["prompt_tokens"] + tokens})
    return rows


def _strict(memory: TokMem) -> TokMem:
    """A copy whose schemas allow the properties that they name, and no others."""
    bank = deepcopy(memory.bank)
    bank.procedures = {name: _closed(procedure) for name, procedure in bank.procedures.items()}
    chat, prompt, settings = memory.chat, memory.prompt, memory.recall_settings
    return TokMem(memory.backbone, bank=bank, chat=chat, prompt=prompt, recall=settings)


def _closed(procedure: Procedure) -> Procedure:
    """The procedure with a schema that allows no other properties."""
    return replace(procedure, parameters=strict_schema(procedure.parameters))


def strict_schema(schema: Any) -> Any:
    """The schema with `additionalProperties: false` at each object that names its properties."""
    if isinstance(schema, list):
        return [strict_schema(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    named = schema.get("properties")
    closed = {"additionalProperties": False} if isinstance(named, Mapping) else {}
    parts = {name: part if part is named else strict_schema(part) for name, part in schema.items()}
    if isinstance(named, Mapping):
        parts["properties"] = {name: strict_schema(part) for name, part in named.items()}
    return closed | parts


def text_rows(
    backbone: Backbone, cases: Sequence[Case], judge: Judge, settings: LessonSettings
) -> list[dict[str, Any]]:
    """The rows of the same model with tools in its prompt."""
    recall = RecallSettings(max_new_tokens=settings.max_new_tokens)
    context = backbone.model.config.get_text_config().max_position_embeddings
    prompt = ToolPrompt(backbone, max_length=context, recall=recall)
    tools = {case.lesson.name: case.lesson.procedure for case in cases}
    prompt.learn([*tools.values()], SHOWN, [])
    examples = [Example(case.query) for case in cases]
    few = [
        replace(e, turns=_beside(case, [*tools], settings.seed))
        for e, case in zip(examples, cases, strict=True)
    ]
    rows = _taught_alone(backbone, prompt.encoder.chat, cases, judge, settings)
    for how, asked, forced in (("text, five", few, True), ("text, all", examples, False)):
        answers = prompt.answer(asked, forced=forced)
        rows.append(scored(how, cases, answers, [written_calls(a.text) for a in answers], judge))
    return [*rows[:-1], {**rows[-1], **prompt.notes}]


def _taught_alone(
    backbone: Backbone, chat: Chat, cases: Sequence[Case], judge: Judge, settings: LessonSettings
) -> list[dict[str, Any]]:
    """The rows of the teacher, free and held to schemas. It writes arguments alone, for the right tool."""
    tools = {case.lesson.name: case.lesson.procedure for case in cases}
    vocabulary = backbone.model.config.get_text_config().vocab_size
    strict = map(_closed, tools.values())
    guides = Guides(strict, backbone.tokenizer, vocabulary, stop_ids(backbone.model, chat))
    free, held = list[Answer](), list[Answer]()
    for case in cases:
        teacher, name = Teacher(backbone, chat, case.lesson, settings), case.lesson.name
        (said,) = teacher.answers([Example(case.query)])
        free.append(replace(said, turns=(Turn(name, said.text),)))
        text = held_text(teacher, case.query, guides.open(name), settings.max_new_tokens)
        held.append(replace(said, turns=(Turn(name, text),)))
    return [
        scored(how, cases, answers, [calls_of(answer, tools) for answer in answers], judge)
        for how, answers in (("text, own", free), ("text, own, to schema", held))
    ]


class Held(LogitsProcessor):
    """Holds one greedy answer of transformers' `generate` to a grammar.

    Args:
        guide: the grammar, at its start.
        read: tokens of the prompt.
    """

    def __init__(self, guide: Guide, read: int) -> None:
        self.guide, self.read = guide, read

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Forbids each token that the grammar does not allow next."""
        for token in input_ids[0, self.read :].tolist():
            self.guide.accept(token)
        self.read = input_ids.shape[1]
        forbidden = ~self.guide.allowed().to(scores.device)
        return scores.masked_fill(forbidden, -torch.inf)  # type: ignore[return-value]


@torch.no_grad()
def held_text(teacher: Teacher, query: str, guide: Guide | None, most: int) -> str:
    """The teacher's greedy answer to a query, held to a grammar."""
    assert guide is not None, "every tool has a schema"
    model, tokenizer = teacher.backbone.model, teacher.backbone.tokenizer
    stops = [*stop_ids(model, teacher.chat)]
    prompt = torch.tensor([teacher.encoder.prompt(teacher.shown(Example(query)))], device=model.device)
    written = model.generate(  # type: ignore[operator]
        prompt,
        attention_mask=torch.ones_like(prompt),
        logits_processor=LogitsProcessorList([Held(guide, prompt.shape[1])]),
        max_new_tokens=most,
        do_sample=False,
        eos_token_id=stops,
        pad_token_id=stops[0],
    )
    return str(tokenizer.decode(written[0, prompt.shape[1] :], skip_special_tokens=True))


def _beside(case: Case, names: Sequence[str], seed: int) -> tuple[Turn, ...]:
    """Turns that name the right tool and some others, in an order by chance."""
    draws = stream(seed, "tools beside", case.lesson.name)
    others = [name for name in names if name != case.lesson.name]
    chosen = [case.lesson.name, *draws.sample(others, min(OTHERS, len(others)))]
    return tuple(Turn(name, "") for name in draws.sample(chosen, len(chosen)))


def scored(
    how: str,
    cases: Sequence[Case],
    answers: Sequence[Answer],
    calls: Sequence[Sequence[ParsedCall]],
    judge: Judge,
) -> dict[str, Any]:
    """Right tools and right calls in percent; the first call of an answer counts."""
    first = [own[0] if own else None for own in calls]
    named = [
        call is not None and call.name == case.lesson.name for call, case in zip(first, cases, strict=True)
    ]
    right = [judge(case, call.call if call else None) for call, case in zip(first, cases, strict=True)]
    return {
        "tools_as": how,
        "tool_accuracy": 100 * fmean(named),
        "calls_right": 100 * fmean(right),
        "prompt_tokens": fmean(answer.prompt_tokens for answer in answers),
        "queries": len(cases),
    }


if __name__ == "__main__":
    main()
