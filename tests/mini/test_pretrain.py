"""The loss of the backbone's training against the plain way to write it."""

from __future__ import annotations

import sys
from argparse import Namespace

import pytest
import torch
from transformers import AutoTokenizer

from tests.mini.test_procedures import TOOLS
from tokmem.model.backbone import mini_path


def test_each_state_is_asked_for_three_tokens_of_its_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    sys.modules.pop("pretrain_mini", None)
    import pretrain_mini as training

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(mini_path())
    args = Namespace(width=128, inner=64, layers=1)
    model = training.build_model(args, tokenizer)
    for head in model.ahead:
        torch.nn.init.normal_(head.weight, std=0.1)
    ids = torch.randint(10, 900, (2, 9))
    labels = torch.full_like(ids, training.IGNORE)
    labels[0, 3:7], labels[1, 5:] = ids[0, 3:7], ids[1, 5:]

    total, own = training.loss_sum(model, ids, labels)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = model.model(input_ids=ids).last_hidden_state
    steps = {1: 0.0, 2: 0.0, 3: 0.0}
    for row, last in ((0, 7), (1, 9)):
        for now in range((3, 5)[row] - 1, last - 1):  # states whose next token is trained on
            for offset in steps:
                if now + offset < last:
                    state = states[row, now]
                    with torch.autocast("cpu", dtype=torch.bfloat16):
                        logits = model.lm_head(state if offset == 1 else model.ahead[offset - 2](state))
                    steps[offset] -= float(logits.detach().float().log_softmax(-1)[ids[row, now + offset]])
    weight = training.AHEAD_WEIGHT
    assert own == pytest.approx(steps[1], rel=1e-3)
    assert float(total) == pytest.approx(steps[1] + weight * (steps[2] + steps[3]), rel=1e-3)
