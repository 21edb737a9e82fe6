"""Asks a server of chat completions, and gives its calls as the turns of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from tokmem.errors import ServingError
from tokmem.export.spelling import escaped, is_tool, spelled_calls, unescaped
from tokmem.records import Answer, Procedure, Turn
from tokmem.strict_json import parse_json

_TIMEOUT = 600.0  # seconds for one answer
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def tool_list(procedures: Iterable[Procedure]) -> list[dict[str, Any]]:
    """The tools among procedures, as a request names them; an engine's parser needs them to find calls."""
    return [
        {
            "type": "function",
            "function": {
                "name": escaped(tool.name),
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in procedures
        if is_tool(tool)
    ]


@dataclass(frozen=True)
class Client:
    """A client of a server of chat completions.

    Args:
        url: address of the server, with or without `/v1`.
        tools: `tool_list` of the bank; empty sends none, and calls are then read from the text.
        max_new_tokens: most tokens in an answer.
    """

    url: str
    tools: Sequence[Mapping[str, Any]] = ()
    max_new_tokens: int = 256

    def ask(self, text: str) -> Answer:
        """Asks for the answer to a user's text.

        Raises:
            ServingError: the server cannot be reached, refuses, or answers with something else.
        """
        body = {
            "messages": [{"role": "user", "content": text}],
            "temperature": 0,
            "max_tokens": self.max_new_tokens,
            **({"tools": list(self.tools)} if self.tools else {}),
        }
        return answer_of(text, self._post(body))

    def _post(self, body: Mapping[str, Any]) -> Any:
        base = self.url.rstrip("/").removesuffix("/v1")
        opener = _opener(base)
        data, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        try:
            with opener.open(Request(f"{base}/v1/chat/completions", data, kind), timeout=_TIMEOUT) as reply:
                return parse_json(reply.read())
        except HTTPError as error:
            raise ServingError(
                f"{base} answers with status {error.code}: {error.read().decode(errors='replace')[:300]}",
                "an answer",
                "see what the server logged; a bank's tools belong in the request: name the bank",
            ) from error
        except (OSError, HTTPException, ValueError) as error:
            raise ServingError(
                f"{base}: {getattr(error, 'reason', error)}",
                "a server of chat completions",
                "start one: tokmem serve BANK",
            ) from error


def _opener(url: str) -> OpenerDirector:
    """What opens an address: no proxy reaches this machine's loopback.

    Raises:
        ServingError: it is no address of the web.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is never closed
        parts = urlsplit("")
    if parts.scheme not in ("http", "https"):
        raise ServingError(f"address {url!r}", "one such as http://127.0.0.1:8080/v1")
    return build_opener(*([ProxyHandler({})] if parts.hostname in _LOOPBACK else ()))


def answer_of(query: str, reply: Any) -> Answer:
    """Reads a chat completion.

    Args:
        query: the user's text.
        reply: the server's JSON, parsed.

    Raises:
        ServingError: it is no chat completion.
    """
    try:
        choice = reply["choices"][0]
        message, usage = choice["message"], reply.get("usage") or {}
        text, calls = spelled_calls(message.get("content") or "")
        calls += [
            (unescaped(call["function"]["name"]), call["function"]["arguments"])
            for call in message.get("tool_calls") or ()
        ]
        turns = tuple(Turn(name, arguments.strip()) for name, arguments in calls)
        finished, count = choice.get("finish_reason") != "length", int(usage.get("prompt_tokens", 0))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ServingError(f"{str(reply)[:200]}", "a chat completion", "check the address") from error
    return Answer(query, turns, text.strip(), None, finished, count)
