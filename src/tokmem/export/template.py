"""What an export's tokenizer says of its chats: how prompts are written, and how responses are read."""

from __future__ import annotations

import json
import re
from typing import Any

from tokmem.data.chat import PINNED, STOPPED_CLOCK, Chat
from tokmem.export.spelling import FREE_CLOSES, FREE_OPENS, NAME, Spelling

# Calls in the history become the text that the model wrote, so that prompts are those of the training; the
# tools of a request are dropped, for the memory tokens stand for them.
_CALLS = """{%%- set tokmem = namespace(messages=[], text='') -%%}
%(system)s{%%- for message in messages -%%}
{%%- if message.tool_calls -%%}
{%%- set tokmem.text = message.content or '' -%%}
{%%- for call in message.tool_calls -%%}
{%%- set function = call.function or call -%%}
{%%- set arguments = function.arguments if function.arguments is string else function.arguments | tojson -%%}
{%%- set tokmem.text = tokmem.text + %(opens)s + function.name + %(closes)s + arguments + %(ends)s -%%}
{%%- endfor -%%}
{%%- set tokmem.messages = tokmem.messages + [{'role': 'assistant', 'content': tokmem.text}] -%%}
{%%- else -%%}
{%%- set tokmem.messages = tokmem.messages + [message] -%%}
{%%- endif -%%}
{%%- endfor -%%}
{%%- set messages = tokmem.messages -%%}
{%%- set tools = none -%%}
"""
_SYSTEM = """{%%- if messages[0].role != 'system' -%%}
{%%- set tokmem.messages = [{'role': 'system', 'content': %s}] -%%}
{%%- endif -%%}
"""


def chat_template(chat: Chat, spelling: Spelling) -> str:
    """The backbone's chat template behind a prelude, so that an engine's prompts are those of the training.

    Args:
        chat: chat format of the memory.
        spelling: how calls are spelled.
    """
    system = "" if chat.system_prompt is None else _SYSTEM % _literal(chat.system_prompt)
    calls = _CALLS % {
        "system": system,
        "opens": _literal(spelling.opens),
        "closes": _literal(spelling.closes),
        "ends": _literal(spelling.ends),
    }
    pins = "".join(f"{{%- set {name} = {_literal(value)} -%}}\n" for name, value in PINNED.items())
    return calls + pins + STOPPED_CLOCK + chat.template


def _literal(value: object) -> str:
    """A text or a truth value as Jinja writes it."""
    return json.dumps(value, ensure_ascii=False)


def response_template(chat: Chat, spelling: Spelling) -> dict[str, Any]:
    """How transformers and vLLM read a response: calls of tools, and plain text.

    Args:
        chat: chat format of the memory.
        spelling: how calls are spelled.
    """
    opens, closes, end = (re.escape(text) for text in (spelling.opens, spelling.closes, spelling.ends))
    free, stop = re.escape(FREE_OPENS), re.escape(str(chat.tokenizer.convert_ids_to_tokens(chat.stop)))
    anchor = chat.generation_prompt
    return {
        "defaults": {"role": "assistant"},
        # A pattern without text in it stands behind the whole prompt.
        **({"start_anchor": anchor} if anchor else {"start_anchor_pattern": r"\Z"}),
        "fields": {
            "tool_calls": {
                "open_pattern": rf"{opens}(?P<name>{NAME}){closes}",
                "close_pattern": rf"{end}(?={opens})|{end}(?={free})|{end}{stop}|{stop}",
                "repeats": True,
                "content": "json",
                "content_args": {"allow_non_json": True},
                "transform": {
                    "type": "function",
                    "function": {"name": "{name}", "arguments": "{content}"},
                },
            },
            "content": {
                "open_pattern": rf"\G(?:{free}[^|]+{re.escape(FREE_CLOSES)}|{_other(FREE_OPENS)})",
                "close_pattern": rf"(?={opens})|{stop}",
                "content": "text",
            },
        },
    }


def _other(start: str) -> str:
    """A pattern of no width that stands before any text which does not begin with `start`.

    The beginning of a text that may still begin so does not match: a parser waits for more.
    """
    begun = (start[:end] for end in range(len(start)))
    parts = (
        f"{re.escape(before)}[^{re.escape(letter)}]" for before, letter in zip(begun, start, strict=True)
    )
    return "|".join(f"(?={part})" for part in parts)
