"""The loss of the backbone's training against the plain way to write it."""

from __future__ import annotations

import sys
from argparse import Namespace

import pytest
import torch
from transformers import AutoTokenizer

from tests.mini.test_procedures import TOOLS
from tokmem.model.backbone import mini_path


def test_some_states_must_tell_three_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
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
    ahead = torch.full_like(ids, training.IGNORE)
    ahead[1, 5:] = ids[1, 5:]

    total, own = training.loss_sum(model, ids, labels, ahead)

    steps = {1: 0.0, 2: 0.0, 3: 0.0}
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        states = model.model(input_ids=ids).last_hidden_state
        for row, first, last in ((0, 3, 7), (1, 5, 9)):  # a response's positions
            for told in range(first, last):
                for offset in (1, 2, 3) if row else (1,):
                    state = states[row, told - offset]
                    logits = model.lm_head(state if offset == 1 else model.ahead[offset - 2](state))
                    steps[offset] -= float(logits.float().log_softmax(-1)[ids[row, told]])
    weight = training.AHEAD_WEIGHT
    assert own == pytest.approx(steps[1], rel=1e-3)
    assert float(total.detach()) == pytest.approx(steps[1] + weight * (steps[2] + steps[3]), rel=1e-3)
