"""Run configs: frozen dataclasses filled from YAML and `--set` overrides, strictly.

A config is a frozen dataclass whose fields are made by `setting`; a field may hold another one, a section.
A key is a dotted path (`train.lr`). Nothing is guessed: a key that no field reads is an error, and so is a
value of another type.
"""

from tokmem.config.load import load_config
from tokmem.config.ranges import changed, check_least, check_once
from tokmem.config.settings import REQUIRED, HelpRow, dump_config, help_table, setting

__all__ = [
    "REQUIRED",
    "HelpRow",
    "changed",
    "check_least",
    "check_once",
    "dump_config",
    "help_table",
    "load_config",
    "setting",
]
