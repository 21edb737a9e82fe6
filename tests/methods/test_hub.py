from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.methods.hub_server import hub

SCRIPT = """
from tokmem import TokMem, TokMemError

memory = TokMem("mini", device="cpu", prompt="query")
memory.add("month", "Write the month of a date.")
print(memory.push_to_hub("me/bank", token="hf_x"))
again = TokMem.from_pretrained("me/bank", memory.backbone)
print(*again, [*again.bank.rows("month")][0].equal([*memory.bank.rows("month")][0]))
wrong = [lambda: memory.push_to_hub("you/bank", token="hf_x"), lambda: TokMem.from_pretrained("me/none")]
for guess in wrong:
    try:
        guess()
    except TokMemError as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""


def test_the_hubs_own_client_uploads_a_bank_and_takes_it_back(tmp_path: Path) -> None:
    """Over HTTP, in a process of its own: the client reads its settings when it is imported."""
    (tmp_path / "hub").mkdir()
    with hub(tmp_path / "hub") as address:
        own = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, **own},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    url, names, refused, missing = done.stdout.splitlines()
    assert url == f"{address}/me/bank/commit/1"
    assert names == "month True"
    assert refused.startswith("BankError the hub does not take the bank as 'you/bank'")
    assert missing.startswith("BankError me/none is no folder, and the hub does not give it")
    card = (tmp_path / "hub" / "me" / "bank" / "README.md").read_text("utf-8")
    assert "Write the month of a date." in card
