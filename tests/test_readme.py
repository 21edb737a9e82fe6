"""The tables in README and docs equal the committed result files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_tables_come_from_the_result_files() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/update_tables.py"), "--check"], check=False)
    assert done.returncode == 0, "run tools/update_tables.py"
    assert "| tokmem |" in (ROOT / "README.md").read_text()


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert code
    monkeypatch.chdir(tmp_path)
    written: dict[str, Any] = {}
    exec(code[1].replace('"smollm2"', '"mini"'), written)  # the real one is a download away
    assert list(written["memory"]) == ["month"]
    assert written["answer"].procedure == "month"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_result_is_of_the_experiment_that_is_shipped(path: Path) -> None:
    result = json.loads(path.read_text("utf-8"))
    shipped = ROOT / "experiments" / path.parent.name / f"{path.stem}.yaml"
    assert ("experiment" in result) == shipped.is_file()
    if "experiment" in result:
        recorded, now = (yaml.safe_load(text) for text in (result["experiment"], shipped.read_text("utf-8")))
        assert recorded == now, "run it again, or take the change back (comments do not count)"


def test_rounds_are_what_is_left_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from update_tables import rounds_table

    scores = {(1, 1): 90.0, (1, 2): 30.0, (2, 2): 80.0}
    rows = [
        {
            "method": "tokmem",
            "adaptation": how,
            "learned": then,
            "after": now,
            "tool_f1": f1,
            "call_f1": f1 / 2,
        }
        for how in ("auxiliary", "always")
        for (then, now), f1 in scores.items()
    ]
    rows[1]["tool_f1_std"] = 2.5
    assert rounds_table(rows).markdown().splitlines() == [
        "| tool F1 in the end | round 1 | round 2 | tool F1, mean | tool F1, when learned | call F1, mean "
        "| call F1, when learned |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| TokMem | 30.0 ± 2.5 | 80.0 | 55.0 | 85.0 | 27.5 | 42.5 |",
        "| TokMem, LoRA always trained | 30.0 | 80.0 | 55.0 | 85.0 | 27.5 | 42.5 |",
    ]


def test_forgetting_is_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from update_tables import forgetting_table

    kept = {(2, 2): 90.0, (2, 10): 70.0, (10, 10): 80.0}
    rows = [
        {
            "method": method,
            "learned_at": then,
            "evaluated_at": now,
            "rouge_l": value,
            "routing_accuracy": None,
        }
        for now, method in ((2, "b"), (10, "b"), (2, "a"), (10, "a"))
        for (then, at), value in kept.items()
        if at == now
    ]
    rows[0]["rouge_l_std"] = 1.5
    assert forgetting_table(rows).markdown().splitlines() == [
        "| method | learned by | ROUGE-L at 2 | ROUGE-L at 10 | routing % at 2 | routing % at 10 |",
        "| --- | ---: | ---: | ---: | --- | --- |",
        "| b | 2 | 90.0 ± 1.5 | 70.0 | - | - |",
        "| b | 10 | - | 80.0 | - | - |",
        "| a | 2 | 90.0 | 70.0 | - | - |",
        "| a | 10 | - | 80.0 | - | - |",
    ]
