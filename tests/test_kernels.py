"""The tools that repeat a command with other kernels and compare the figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"
WRITE = "import os, sys; open(sys.argv[1], 'a').write('{MKL_CBWR} {OMP_NUM_THREADS}\\n'.format(**os.environ))"
FAIL = "import os; raise SystemExit(os.environ['OMP_NUM_THREADS'] == '1')"


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


def test_a_command_runs_with_every_setting(tmp_path: Path) -> None:
    from kernels import main

    seen = tmp_path / "seen"
    options = ["--kernels", "avx2,sse", "--threads", "1,3"]
    assert main([*options, sys.executable, "-c", WRITE, str(seen)]) == 0
    assert seen.read_text().splitlines() == ["AVX2 1", "AVX2 3", "COMPATIBLE 1", "COMPATIBLE 3"]


def test_one_failure_fails_the_whole_and_the_rest_still_runs() -> None:
    from kernels import main, run_all

    command = [sys.executable, "-c", FAIL]
    assert main(["--kernels", "native", "--threads", "1,2", *command]) == 1
    assert run_all(command, ["native"], [2, 1, 1]) == 2


@pytest.mark.parametrize("arguments", [["--kernels", "avx3", "true"], ["--threads", "0", "true"], []])
def test_a_wrong_setting_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from kernels import main

    with pytest.raises(SystemExit):
        main(arguments)
    assert "native, avx2, sse" in capsys.readouterr().err


def test_torch_takes_the_kernels() -> None:
    from kernels import environment

    code = "import torch; print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment("sse", 2), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["DEFAULT", "2"]


def test_what_moves_stands_side_by_side() -> None:
    from kernels import KERNELS
    from portability import compared
    from update_tables import kernels_table

    def row(method: str, routing: float | None, rouge: float) -> dict[str, object]:
        scores = {"routing_accuracy": routing, "rouge_l": rouge, "exact_match": 1.0}
        return {"method": method, "prompt": "query", **scores}

    results = {
        "native": {"rows": [row("base", None, 50.0), row("tokmem", 99.0, 80.0)]},
        "avx2": {"rows": [row("base", None, 50.0), row("tokmem", 99.0, 79.0)]},
        "sse": {"rows": [row("base", None, 50.0), row("tokmem", 100.0, 75.5)]},
    }
    rows = compared(results)
    assert (rows[1]["rouge_l_range"], rows[1]["exact_match_range"]) == (4.5, 0)
    table = kernels_table({"kernels": KERNELS, "rows": rows}).markdown()
    assert table.splitlines()[2:] == [
        "| base | query | 50.0 | 50.0 | 50.0 | 0.0 | - | - | - | - |",
        "| tokmem | query | 80.0 | 79.0 | 75.5 | 4.5 | 99.0 | 99.0 | 100.0 | 1.0 |",
    ]
