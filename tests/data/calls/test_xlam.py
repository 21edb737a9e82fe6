from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from tests.data.calls.tool_rows import row, rows, tool, tools
from tokmem.data.calls.xlam import XlamRow, rank_tools, read_xlam
from tokmem.errors import DataError
from tokmem.records import Call, Procedure

WEATHER = {"name": "weather", "description": "Tells it.", "parameters": {"city": {"type": "str"}}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PERU = {"name": "weather", "arguments": {"city": "Perú"}}


def raw(number=0, query="weather in Perú", answers=(PERU,), offered=(WEATHER,), *, text=True):
    columns = {"answers": list(answers), "tools": list(offered)}
    if text:
        columns = {name: json.dumps(value, ensure_ascii=False) for name, value in columns.items()}
    return {"id": number, "query": query, **columns}


EXPECTED = XlamRow("0", "weather in Perú", (Call("weather", {"city": "Perú"}),), (
    Procedure("weather", "Tells it.", SCHEMA),
))  # fmt: skip


@pytest.mark.parametrize("text", [True, False])
def test_json_and_json_lines_with_columns_of_text_or_objects(tmp_path, text):
    raws = [raw(0, text=text), raw(7, "weather\nthere", text=text)]
    (tmp_path / "rows.json").write_text("\ufeff " + json.dumps(raws, indent=1))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n\n" for one in raws))
    for name in ("rows.json", "rows.jsonl"):
        data = read_xlam(tmp_path / name)
        assert data.rows[0] == EXPECTED
        assert data.rows[1].id == "7"
        assert data.broken == {}
        assert data.checksum == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pa.Table.from_pylist([raw(0), raw(1, None)]), tmp_path / "rows.parquet")
    data = read_xlam(tmp_path / "rows.parquet")
    assert data.rows == (EXPECTED,)
    assert data.broken == {"no query": 1}
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(DataError, match=r"bad\.parquet"):
        read_xlam(tmp_path / "bad.parquet")


def test_objects_within_objects_of_a_table_are_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    # As objects, the arguments of both calls would have both keys, one of them null.
    answers = [[{"name": "a", "arguments": {"city": "Lima"}}], [{"name": "b", "arguments": {"hour": 7}}]]
    rows = [raw(i) | {"answers": given} for i, given in enumerate(answers)]
    write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"'answers' holds objects within objects.*json\.dumps"):
        read_xlam(tmp_path / "rows.parquet")
    flat = [raw(0) | {"answers": [PERU | {"arguments": json.dumps(PERU["arguments"])}]}]
    write_table(pa.Table.from_pylist(flat), tmp_path / "flat.parquet")
    assert read_xlam(tmp_path / "flat.parquet").rows == (EXPECTED,)


class HubRows(list):
    """What `datasets` gives: rows, and the schema of their table."""

    @property
    def features(self):
        pa = pytest.importorskip("pyarrow")
        return SimpleNamespace(arrow_schema=pa.Table.from_pylist(list(self)).schema)


def test_a_hub_id(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def load_dataset(name, split):
        assert split == "train"
        if name != "some/rows":
            raise ConnectionError("no way there")
        return HubRows([raw(0)])

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert read_xlam("some/rows").rows == (EXPECTED,)
    assert len(read_xlam("some/rows").checksum) == 64
    with pytest.raises(DataError, match=r"no way there.*download the file"):
        read_xlam("other/rows")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"tokmem\[data\]"):
        read_xlam("some/rows")


def test_sources_that_are_none(tmp_path):
    for source in (tmp_path / "missing.json", "missing.jsonl", "folder/missing.parquet"):
        with pytest.raises(DataError, match=r"no file .*missing"):
            read_xlam(source)
    with pytest.raises(DataError, match="is a folder"):
        read_xlam(tmp_path)
    (tmp_path / "bad.json").write_text('[{"query": ')
    with pytest.raises(DataError, match=r"bad\.json"):
        read_xlam(tmp_path / "bad.json")
    (tmp_path / "nan.json").write_text('[{"query": NaN}]')
    with pytest.raises(DataError, match="NaN is not JSON"):
        read_xlam(tmp_path / "nan.json")
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(DataError, match="it is empty"):
        read_xlam(tmp_path / "empty.json")
    (tmp_path / "none.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="2 no JSON object"):
        read_xlam(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (3, "no JSON object"),
        (raw(1, "  "), "no query"),
        (raw(1, answers=[]), "no call"),
        (raw(1) | {"answers": "[{"}, "`answers` is no list of objects"),
        (raw(1) | {"answers": "{}"}, "`answers` is no list of objects"),
        (
            raw(1) | {"answers": '[{"name": "weather", "arguments": {"x": NaN}}]'},
            "`answers` is no list of objects",
        ),
        (raw(1) | {"answers": "[" * 100_000}, "`answers` is no list of objects"),
        (raw(1) | {"tools": None}, "`tools` is no list of objects"),
        (raw(1, answers=[{"name": "", "arguments": {}}]), "a call or tool without a name"),
        (raw(1, answers=[{"name": "weather", "arguments": [1]}]), "arguments are no object"),
        (raw(1, answers=[{"name": "snow", "arguments": {}}]), "a called tool is not among its tools"),
        (raw(1, offered=[WEATHER | {"parameters": [1]}]), "parameters are no object"),
        (raw(1, offered=[WEATHER | {"parameters": {"a": "str"}}]), "parameters are not described by objects"),
        (raw(0), "id of an earlier row"),
    ],
)
def test_broken_rows_are_counted_by_reason(tmp_path, broken, reason):
    (tmp_path / "rows.json").write_text(json.dumps([raw(0), broken, broken, raw(9)]))
    data = read_xlam(tmp_path / "rows.json")
    assert [one.id for one in data.rows] == ["0", "9"]
    assert data.broken == {reason: 2}


def test_a_row_without_an_id_takes_none_of_a_later_row(tmp_path):
    first = {key: value for key, value in raw().items() if key != "id"}
    (tmp_path / "rows.json").write_text(json.dumps([first, raw(0)]))
    data = read_xlam(tmp_path / "rows.json")
    assert [one.id for one in data.rows] == ["row 0", "0"]
    assert not data.broken


def test_a_broken_line_is_no_broken_file(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(raw(0)) + '\n{"query": \n')
    data = read_xlam(tmp_path / "rows.jsonl")
    assert (len(data.rows), data.broken) == (1, {"no JSON object": 1})


def test_calls_without_arguments_are_kept(tmp_path):
    answers = [
        {"name": "weather", "arguments": {}},
        {"name": "weather"},
        {"name": "weather", "arguments": "{}"},
        {"name": "weather", "arguments": None},
        {"name": "weather", "arguments": ""},
    ]
    (tmp_path / "rows.json").write_text(json.dumps([raw(0, answers=answers)]))
    assert read_xlam(tmp_path / "rows.json").rows[0].calls == (Call("weather", {}),) * 5


def test_tools_rank_by_rows_that_call_them_alone():
    both = XlamRow("both", "do b and c", (Call("b", {}), Call("c", {})), tools("b c"))
    data = [row("c", 0), *rows("a", 2), row("b", 0, calls=3), both, both, *rows("search", 5), row("d", 1)]
    assert [one.name for one in rank_tools(data)] == ["a", "c", "b", "d"], "ties by first appearance"
    assert rank_tools(data, exclude=())[0].name == "search"
    assert rank_tools(data)[0] == tool("a")


def test_a_tool_is_described_as_where_it_is_first_offered():
    told = Procedure("b", "another wording")
    early = XlamRow("x", "do a", (Call("a", {}),), (tool("a"), told))
    assert rank_tools([early, *rows("b", 2)])[0] == told


@pytest.mark.realdata
def test_real_rows_are_read_whole(real_data):
    path = real_data / "toolcalls" / "calls_xlam_format.json"
    data = read_xlam(path)
    raws = json.loads(path.read_text())
    assert (len(data.rows), data.broken) == (len(raws), {})
    calls = [json.loads(one["answers"]) for one in raws]
    assert [[(c.name, c.arguments) for c in one.calls] for one in data.rows] == [
        [(c["name"], c["arguments"]) for c in one] for one in calls
    ]
    ranked = rank_tools(data.rows)
    counts = Counter(one[0]["name"] for one in calls)
    assert [counts[one.name] for one in ranked] == sorted(counts.values(), reverse=True)
    listed = json.loads((real_data / "toolcalls" / "tools.json").read_text())
    known = {one["name"]: one for one in listed}
    for one in ranked:
        assert list(one.parameters["properties"]) == list(known[one.name]["parameters"])
        required = [name for name, of in known[one.name]["parameters"].items() if of["required"]]
        assert one.parameters["required"] == required
