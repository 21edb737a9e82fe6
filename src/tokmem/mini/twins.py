"""Makes twins of generated tools: the same requests, other names for the arguments."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from tokmem.mini.tools import Tool

ARGUMENT_NAMES = tuple(
    """amount area author begin body brand budget category cause channel class code comment count course cover
customer degree depth detail device direction distance duration edge end entry event field filter floor
folder form format from gate goal grade guest guests height holder host hours id index input interval
kind label length level limit line link list mark max member message min minutes mode model month name
note number object option order owner pace page pages part party past path people percent period phase
pieces plan player point points position price product project purpose quantity query question range
rank rate reason receiver region repeat result role rooms rounds route row rule scale score season seats
section sender serial series service share shift side size slot source speed stage stars start state
status step steps stop store style subject sum table tag target task team term theme to token topic
total track type unit until user value version view voice volume weeks weight width year years zone""".split()
)


def rename_arguments(tool: Tool, rng: Random) -> Tool:
    """Returns the tool with other names for its arguments.

    Requests stay as natural as they were, but no longer tell the names of the arguments.
    """
    keys: dict[str, str] = {}
    for label in tool.samplers:
        other = rng.choice(ARGUMENT_NAMES)
        key = rng.choice((label, other, other, f"{other}_{label}", f"{label}_{other}"))
        keys[label] = key if key not in keys.values() and key not in tool.samplers else label

    def replaced(text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda m: f"{{{keys[m[1]]}}}", text)

    parameters = {
        "type": "object",
        "properties": {keys[k]: schema for k, schema in tool.parameters["properties"].items()},
        "required": [keys[k] for k in tool.parameters["required"]],
    }
    return replace(
        tool,
        parameters=parameters,
        phrasings=tuple(replaced(phrasing) for phrasing in tool.phrasings),
        samplers={keys[k]: sampler for k, sampler in tool.samplers.items()},
        spoken={keys[k]: said for k, said in tool.spoken.items()},
    )
