"""Environment variables in settings: a committed experiment can name a private folder without its path."""

from __future__ import annotations

import os
import re

from tokmem.errors import ConfigError

_VARIABLE = re.compile(r"(\$?)\$\{([A-Za-z_]\w*)\}")


def expand(text: str, key: str) -> str:
    """Replaces `${NAME}` with the environment variable NAME, and `$${NAME}` with `${NAME}`.

    Raises:
        ConfigError: a variable is unset or empty; names it and the setting `key`.
    """

    def value_of(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return f"${{{name}}}"
        if not os.environ.get(name):
            do = f"`export {name}=...`, or set {key} itself (`--set {key}=...`)"
            raise ConfigError(
                f"{key}: {text!r}, but {name} is not set", f"the environment variable {name}", do
            )
        return os.environ[name]

    return _VARIABLE.sub(value_of, text)


def escape(text: str) -> str:
    """Gives a text that `expand` turns into the given one."""
    return _VARIABLE.sub(lambda match: "$" + match[0], text)
