"""Fixtures of every test: no network, few threads, a seed, and the folder of real data."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

# Read by the hub client when it is first imported, so set before anything imports it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PIP_NO_INDEX"] = "1"  # a test that asks for the default backbone must not download it

import pytest
import torch

# A job in the background starts with this signal ignored, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(autouse=True)
def tiny_seed() -> int:
    """Seeds the global random streams, so that a test's outcome does not depend on those before it."""
    seed = 0
    random.seed(seed)
    torch.manual_seed(seed)
    return seed


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real corpora; the test is skipped where none is named."""
    folder = os.environ.get("TOKMEM_DATA")
    if not folder:
        pytest.skip("set TOKMEM_DATA to a folder of real corpora (CONTRIBUTING.md, 'Real data')")
    return Path(folder)
