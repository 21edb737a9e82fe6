"""The one style in which a tool's arguments are written as a turn's response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def arguments_json(arguments: Mapping[str, Any]) -> str:
    """The arguments as one line of JSON: keys in the order given, a blank after each comma and colon."""
    return json.dumps(arguments, ensure_ascii=False, separators=(", ", ": "))
