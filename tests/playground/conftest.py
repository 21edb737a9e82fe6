"""A page of a tiny bank, served on a free port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.methods.tokmem import TokMem
from tokmem.playground.server import make_server
from tokmem.playground.session import Session
from tokmem.recall.settings import RecallSettings
from tokmem.train.settings import FitSettings


@pytest.fixture
def session(tmp_path: Path) -> Session:
    memory = TokMem(
        tiny_backbone(tiny_tokenizer(LLAMA)),
        prompt="query",
        settings=FitSettings(lr=0.05, epochs=2),
        recall=RecallSettings(max_new_tokens=6),
    )
    memory.add({"capital": "Names the capital.", "<b>upper</b>": "Writes in capitals."})
    return Session(memory, tmp_path / "bank")


@pytest.fixture
def port(session: Session) -> Iterator[int]:
    with make_server(session, 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
