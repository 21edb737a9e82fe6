from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tokmem.errors import AdapterError
from tokmem.tensors import check_shapes, read_tensors

WHOLE = {"a": torch.ones(2, 3), "n": torch.zeros(1, dtype=torch.int64)}


def test_a_file_is_read_if_it_is_the_one_that_was_saved(tmp_path: Path) -> None:
    path, data = tmp_path / "x.safetensors", save(WHOLE)
    with pytest.raises(AdapterError, match=r"no x\.safetensors in"):
        read_tensors(path, AdapterError)
    path.write_bytes(data)
    assert torch.equal(read_tensors(path, AdapterError, hashlib.sha256(data).hexdigest())["a"], WHOLE["a"])
    with pytest.raises(AdapterError, match="truncated or was edited"):
        read_tensors(path, AdapterError, "0" * 64)
    for part in (b"", data[:7], data[:-1], b"\xff" * 20):
        path.write_bytes(part)
        with pytest.raises(AdapterError, match="cannot be read"):
            read_tensors(path, AdapterError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": torch.ones(3, 2)}, r"a of numbers, shape \(3, 2\); wanted: a of numbers, shape \(2, 3\)"),
        ({"a": torch.ones(2, 3, dtype=torch.int64)}, r"a of torch\.int64"),
        ({"b": torch.ones(1)}, r"b of numbers, shape \(1,\); wanted: b missing"),
    ],
)
def test_other_tensors_are_named(changes: dict[str, torch.Tensor], message: str) -> None:
    check_shapes({**WHOLE, "a": WHOLE["a"].double()}, WHOLE, Path("x"), AdapterError)
    with pytest.raises(AdapterError, match=message):
        check_shapes(WHOLE | changes, WHOLE, Path("x"), AdapterError)
    with pytest.raises(AdapterError, match="n missing"):
        check_shapes({"a": WHOLE["a"]}, WHOLE, Path("x"), AdapterError)
