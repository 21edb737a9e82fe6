from __future__ import annotations

import pytest

from tests.data.calls.tool_rows import tools
from tokmem.data.calls.ranges import ToolRange, consecutive_ranges, parse_rounds, require_disjoint
from tokmem.errors import ConfigError, DataError


def test_ranges():
    assert ToolRange.parse("51-100") == ToolRange(51, 100)
    assert ToolRange.parse(" 20 ") == ToolRange(1, 20)
    assert (str(ToolRange(51, 100)), len(ToolRange(51, 100))) == ("51-100", 50)
    assert ToolRange(2, 3).select(tools("a b c d")) == tools("b c")
    with pytest.raises(DataError, match="tools 3-5, but 4 tools have rows; wanted: 1-4"):
        ToolRange(3, 5).select(tools("a b c d"))


@pytest.mark.parametrize("text", ["", "a-b", "0-5", "9-3", "5-", "-5", "1-2-3"])
def test_bad_ranges_are_refused(text):
    with pytest.raises(ConfigError, match="tools"):
        ToolRange.parse(text)


def test_rounds():
    assert parse_rounds("1-50:1, 51-100:3") == ((ToolRange(1, 50), 1), (ToolRange(51, 100), 3))
    assert consecutive_ranges(51, 10, 2) == (ToolRange(51, 60), ToolRange(61, 70))
    for text in ("1-50", "1-50:0", "1-50:x", "1-50:1,", ""):
        with pytest.raises(ConfigError):
            parse_rounds(text)
    with pytest.raises(ConfigError, match="1-50 and 50-60 overlap"):
        parse_rounds("50-60:1,1-50:1")
    with pytest.raises(ConfigError, match="1-20 and 1-20 overlap"):
        require_disjoint([ToolRange(1, 20), ToolRange(1, 20)])
    for numbers in ((0, 5, 2), (1, 0, 2), (1, 5, 0), (1, 10, 1 << 63)):
        with pytest.raises(ConfigError):
            consecutive_ranges(*numbers)
