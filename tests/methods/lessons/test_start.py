"""The start of a student is the stretch of the text that is nearest to the teacher, or the bank's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.methods.lessons.test_teach import QUERIES, SHORT, UPPER, backbone, memory  # noqa: F401
from tokmem.methods.lessons.divergence import mean_divergence
from tokmem.methods.lessons.start import choose_start
from tokmem.methods.lessons.teacher import Teacher
from tokmem.model.backbone import Backbone


@pytest.mark.parametrize("width", [1, 3, 40])
def test_the_best_of_all_stretches_starts(backbone: Backbone, width: int) -> None:  # noqa: F811
    made = memory(backbone, width=width)
    teacher = Teacher(backbone, made.chat, UPPER, SHORT)
    examples = [replace(e, id=str(n)) for n, e in enumerate(teacher.responses(QUERIES))]
    targets = teacher.targets(examples, [])
    made.bank.freeze()
    made.add(UPPER.procedure)
    rows = made.bank.steering.fresh.data
    ids = made.chat.text_ids(UPPER.text)
    ids = ids * -(-width // len(ids))
    weight = backbone.model.get_input_embeddings().weight.detach()
    starts = [rows.clone(), *(weight[ids[i : i + width]] for i in range(len(ids) - width + 1))]
    losses = []
    for start in starts:
        rows.copy_(start)
        losses.append(mean_divergence(made, examples, targets))
    rows.copy_(starts[0])
    choose_start(made, "upper", UPPER.text, examples, targets, tries=100)
    assert torch.equal(made.bank.rows("upper")[1], starts[losses.index(min(losses))])
    choose_start(made, "upper", UPPER.text, examples, targets, tries=0)
    assert torch.equal(made.bank.rows("upper")[1], starts[losses.index(min(losses))])
