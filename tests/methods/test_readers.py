"""Which methods read which settings, and what is refused because none does."""

from __future__ import annotations

import pytest

from tokmem.errors import ConfigError
from tokmem.methods.readers import readers, refuse_unread


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("max_length", ()),
        ("recall.top_k", ()),
        ("demonstrations.few_shot", ("icl",)),
        ("replay.buffer_size", ("replay",)),
        ("call_style", ("tokmem", "tokmem_dc")),
        ("width.of_track", ("a",)),
    ],
)
def test_the_methods_that_read_a_setting(key: str, expected: tuple[str, ...]) -> None:
    assert readers("atomic", key, [(("width.",), ("a",))]) == expected


def test_what_none_reads_is_refused_by_its_option() -> None:
    wanted = {"max_length": (), "width": ("tokmem", "prefix")}
    refuse_unread(wanted, {"tokmem"}, ["tokmem"])
    with pytest.raises(ConfigError, match="--wide with methods base, none of which reads it"):
        refuse_unread(wanted, {"base"}, ["base"], {"width": "--wide"})
