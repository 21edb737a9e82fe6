"""`tokmem analyze` and `tokmem report`, from a trained bank and a result file to files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.report.summaries import single
from tokmem.bank.store import load_bank

ROOT = Path(__file__).parents[2]


def test_a_bank_is_analyzed_and_reported(cli: Cli, bank: Path) -> None:
    done = cli("analyze", bank, "--out", "geometry")
    assert done.exit_code == 0, done.output
    loaded, _ = load_bank(bank)
    record = json.loads(Path("geometry/geometry.json").read_text())
    assert record["procedures"] == list(loaded.names)
    assert f"{float(loaded.rows('upper')[0].norm()):.3f}" in done.stdout
    assert len(list(Path("geometry").glob("*.png"))) == 3
    assert cli("bank", "remove", bank, "upper", "--out", "one").exit_code == 0
    assert cli("analyze", "one", "--out", "geometry").exit_code == 0
    assert len(list(Path("geometry").glob("*.png"))) == 2, "none of the earlier bank"
    Path("mine").mkdir()
    Path("mine/geometry-of-triangles.png").write_bytes(b"mine")
    assert cli("analyze", "one", "--out", "mine").exit_code == 2
    assert [file.name for file in Path("mine").iterdir()] == ["geometry-of-triangles.png"]
    Path("summary.json").write_text(json.dumps(single()))
    done = cli("report", "summary.json", "geometry", ROOT / "results/mini/backbone.json", "--out", "page")
    assert done.exit_code == 0, done.output
    text = Path("page/index.html").read_text("utf-8")
    assert all(f'<h2 id="{part}">' in text for part in ("scores", "geometry", "backbone", "origin"))


def test_analyze_only_prints_where_no_folder_is_named(cli: Cli, bank: Path, model: Path) -> None:
    """Near-duplicate descriptions are named."""
    rows = [{"name": n, "description": "Name the capital of a country."} for n in ("one", "two")]
    Path("twins.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (
        cli(
            "bank", "add", bank, "--procedures", "twins.jsonl", "--backbone", model, "--out", "more"
        ).exit_code
        == 0
    )
    before = set(Path.cwd().rglob("*"))
    done = cli("analyze", "more")
    assert done.exit_code == 0, done.output
    assert "nearly the same as" in done.stdout
    assert "nearly the same as" not in cli("analyze", bank).stdout
    assert set(Path.cwd().rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("missing.json", None, "check the path"),
        ("broken.json", '{"rows": [', "is not JSON"),
        ("deep.json", '{"rows": ' + "[" * 100_000, "nests deeper than 100 levels"),
        ("twice.json", '{"rows": [], "rows": []}', "the key 'rows' stands twice"),
        ("nan.json", '{"name": "x", "rows": [{"method": "a", "rouge_l": NaN}]}', "NaN"),
        ("binary.json", b"\xff\xfe\x00", "is not JSON"),
        ("foreign.json", '{"dependencies": {}}', "is not a result"),
    ],
)
def test_foreign_files_are_refused(cli: Cli, name: str, text: str | bytes | None, says: str) -> None:
    if text is not None:
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    done = cli("report", name)
    assert done.exit_code == 2, done.output
    assert name in done.stderr
    assert says in done.stderr
    assert not Path("runs").exists()


@pytest.mark.usefixtures("only_painted")
def test_a_second_report_leaves_the_first(cli: Cli) -> None:
    Path("summary.json").write_text(json.dumps(single()))
    for folder in ("runs/report", "runs/report-2"):
        done = cli("report", "summary.json")
        assert f"Report: {folder}/index.html" in done.stdout, done.output
        assert "</html>" in Path(folder, "index.html").read_text("utf-8")
    Path("runs/report-2/index.html").write_text(Path("runs/report/index.html").read_text() + "earlier")
    assert cli("report", "summary.json", "--out", "runs/report-2").exit_code == 0
    assert "earlier" not in Path("runs/report-2/index.html").read_text("utf-8"), "a named one is replaced"
    assert sorted(path.name for path in Path("runs").iterdir()) == ["report", "report-2"]


def test_a_folder_without_a_result_is_refused(cli: Cli) -> None:
    Path("empty").mkdir()
    assert "summary.json" in cli("report", "empty").stderr


@pytest.mark.parametrize("names", ["samples_mini", pytest.param("*", marks=pytest.mark.slow)])
def test_committed_results_can_be_shown(names: str, cli: Cli) -> None:
    results = sorted((ROOT / "results/atomic").glob(f"{names}.json"))
    done = cli("report", *results, "--out", "page")
    assert done.exit_code == 0, done.output
    text = Path("page/index.html").read_text("utf-8").replace("<wbr>", "")
    shown = [json.loads(path.read_text("utf-8")) for path in results]
    scored = [result for result in shown if any("per_procedure" in row for row in result["rows"])]
    assert scored
    assert all(name in text for result in scored for name in result["procedures"])
