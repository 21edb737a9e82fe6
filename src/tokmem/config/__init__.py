"""Configs: frozen dataclasses, filled from YAML files and `--set` overrides.

A config is a frozen dataclass that extends `Config`. Its fields are made by `setting`; a field may hold
another config, a section. A key is a dotted path (`training.lr`). An unknown key is an error, and so is a
value of another type.
"""

from tokmem.config.load import load_config, parse_yaml, read_settings
from tokmem.config.ranges import changed, check_filled, check_least, check_once
from tokmem.config.settings import REQUIRED, Config, HelpRow, dump_config, help_table, same_as, setting

__all__ = [
    "REQUIRED",
    "Config",
    "HelpRow",
    "changed",
    "check_filled",
    "check_least",
    "check_once",
    "dump_config",
    "help_table",
    "load_config",
    "parse_yaml",
    "read_settings",
    "same_as",
    "setting",
]
