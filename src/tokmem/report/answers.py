"""Shows what was recalled: for JSON, and as labelled lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tokmem.data.calls.parse import call_of
from tokmem.records import Answer, ParsedCall, Procedure, Route, Turn


class Line(NamedTuple):
    """A labelled line, and the style of its text in a terminal."""

    label: str
    text: str
    style: str


def answer_record(answer: Answer, procedures: Mapping[str, Procedure]) -> dict[str, Any]:
    """Converts an answer to JSON's types; a tool's turn has its arguments, or the error in them.

    Args:
        answer: the answer.
        procedures: the procedures of the bank by name; their schemas check the arguments of tools.
    """
    route = answer.route
    return {
        "query": answer.query,
        "recalled": [turn.procedure for turn in answer.turns],
        "response": answer.response,
        "turns": [
            {"procedure": turn.procedure, "response": turn.response}
            | ({"routes": _choices(turn_route)} if turn_route else {})
            | _call_record(_call(turn, procedures))
            for turn, turn_route in zip(answer.turns, _turn_routes(answer), strict=True)
        ],
        "text": answer.text,
        "routes": _choices(route) if route else [],
        "rejected": route.rejected if route else None,
        "memory_mass": route.memory_mass if route else None,
        "fit": route.fit if route else None,
        "finished": answer.finished,
        "prompt_tokens": answer.prompt_tokens,
    }


def _choices(route: Route) -> list[dict[str, Any]]:
    return [{"procedure": c.procedure, "probability": c.probability} for c in route.choices]


def _turn_routes(answer: Answer) -> Sequence[Route | None]:
    """Lists how each turn was chosen; None for a turn without a record."""
    return answer.routes or [answer.route, *[None] * len(answer.turns)][: len(answer.turns)]


def _call(turn: Turn, procedures: Mapping[str, Procedure]) -> ParsedCall | None:
    """Parses a tool's turn as a call; None if the procedure is no tool."""
    procedure = procedures.get(turn.procedure)
    return None if procedure is None or procedure.parameters is None else call_of(turn, procedure)


def _call_record(parsed: ParsedCall | None) -> dict[str, Any]:
    if parsed is None:
        return {}
    return {"arguments": parsed.call and parsed.call.arguments, "error": parsed.error}


def answer_lines(
    answer: Answer, procedures: Mapping[str, Procedure], forced: bool = False, growing: bool = False
) -> list[Line]:
    """Describes an answer: the query, and each turn's procedure, probability, runners-up and response.

    Args:
        answer: the answer.
        procedures: the procedures of the bank by name; their schemas check the arguments of tools.
        forced: whether the procedures were given.
        growing: whether the answer is still being written, so that nothing judges it yet.
    """
    lines = [Line("query", answer.query, "bold"), *_plain_lines(answer)]
    for turn, route in zip(answer.turns, _turn_routes(answer), strict=True):
        lines.append(Line("recalled", _route_line(turn, route, forced), "cyan"))
        if turn.response or (turn is answer.turns[-1] and not growing):  # composed turns share the last one's
            lines += _response_lines(turn, _call(turn, procedures), growing)
    if not answer.finished and not growing:
        lines[-1] = lines[-1]._replace(text=f"{lines[-1].text} [cut]")
    return lines


def _plain_lines(answer: Answer) -> list[Line]:
    """Describes text that no procedure wrote."""
    if answer.turns:
        return [Line("text", answer.text, "green")] if answer.text else []
    lines = [Line("response", answer.text, "green")]
    if answer.route is not None:
        nearest = _choice_texts(answer.route)[0]
        why = "no procedure fits" if answer.route.fit is not None else "plain text was more likely"
        text = f"no memory token: {why} (nearest: {nearest})"
        lines.insert(0, Line("recalled", text, "cyan"))
    return lines


def _response_lines(turn: Turn, parsed: ParsedCall | None, growing: bool) -> list[Line]:
    if parsed is None:
        return [Line("response", turn.response, "green")]
    if growing:
        return [Line("arguments", turn.response, "")]
    if parsed.error is None:
        return [Line("arguments", f"{turn.response}   valid", "green")]
    return [Line("arguments", turn.response, "yellow"), Line("not valid", parsed.error, "red")]


def _route_line(turn: Turn, route: Route | None, forced: bool) -> str:
    if route is None:
        return turn.procedure
    if forced:
        return f"{turn.procedure}, forced   (routing: {', '.join(_choice_texts(route))})"
    texts = dict(zip((choice.procedure for choice in route.choices), _choice_texts(route), strict=True))
    recalled = texts.pop(turn.procedure, turn.procedure)  # a sampled one may be none of the most probable
    return recalled + (f"   (then {', '.join(texts.values())})" if texts else "")


def _choice_texts(route: Route) -> list[str]:
    return [f"{choice.procedure} {100 * choice.probability:.1f}%" for choice in route.choices]
