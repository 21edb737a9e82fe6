"""How well queries that no procedure fits are told from those that one fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.routing_learners import Tasks, Trained, closed_bank
from bench.routing_states import Read, join
from tokmem.bank.addresses import Gate
from tokmem.bank.bank import Bank
from tokmem.bank.closed import gate_of, reference_of
from tokmem.bank.policy import STAND_INS, ClosedForm
from tokmem.eval.calibration import auroc, calibration_error, risk_coverage

STATED = (0.01, 0.05, 0.1, 0.2)
COVERAGES = (0.5, 0.8, 0.9, 0.95, 1.0)


def reject_rows(tasks: Tasks, prompt: str, examples: int, chat: Read, rival: Trained) -> list[dict[str, Any]]:
    """Two thirds of the tasks are in the bank; queries of the others and plain chat fit none.

    Args:
        tasks: with their training examples.
        prompt: what prompts hold.
        examples: training examples of a task.
        chat: states after plain chat.
        rival: trained addresses, which have learned nothing yet.
    """
    known = [task for i, task in enumerate(tasks) if i % 3 != 2]
    queries = {
        "known": join([task.test for task in known]),
        "unseen": join([task.test for i, task in enumerate(tasks) if i % 3 == 2]),
        "chat": chat,
    }
    labels = torch.tensor([i for i, task in enumerate(known) for _ in task.test.states])
    bank = closed_bank(known, ClosedForm())
    rival.learn(known)
    gate = gate_of(bank)
    assert gate is not None
    logits = {key: read.states @ bank.addresses().T for key, read in queries.items()}
    theirs = {key: rival.scores(read.states) for key, read in queries.items()}
    measures = {
        "fit (closed)": _fits(bank, queries),
        "distance (closed)": ({key: -_distance(gate, read.states) for key, read in queries.items()}, None),
        "probability (closed)": ({key: x.softmax(-1).amax(-1) for key, x in logits.items()}, None),
        "argmax over the vocabulary (closed)": (_margins(logits, queries), 0.0),
        "argmax over the vocabulary (trained)": (_margins(theirs, queries), 0.0),
    }
    if all(len(task.stand_ins.states) for task in known):
        wide = closed_bank(known, ClosedForm(stand_ins=STAND_INS))
        measures["fit (closed, stand-ins)"] = _fits(wide, queries)
    shared = {
        "prompt": prompt,
        "tasks": len(known),
        "unseen_tasks": len(tasks) - len(known),
        "examples": examples,
    }
    found = [{**shared, "measure": name, **_rates(*measure)} for name, measure in measures.items()]
    found[0]["stated_rates"] = [_stated(bank, known, share, queries) for share in STATED]
    trained = next(row for row in found if row["measure"].endswith("(trained)"))
    for row, scores in ((found[0], logits["known"]), (trained, theirs["known"])):
        row.update(_trust(scores, labels))
    return found


def _fits(bank: Bank, queries: Mapping[str, Read]) -> tuple[dict[str, Tensor], float]:
    """The fits of queries to a bank, and the least that it accepts."""
    gate = gate_of(bank)
    assert gate is not None
    return {key: gate.fits(read.states) for key, read in queries.items()}, float(gate.least_fit)


def _rates(scores: Mapping[str, Tensor], threshold: float | None) -> dict[str, Any]:
    """AUROC against each kind of stranger, and the rates at a threshold."""
    lists = {key: values.double().tolist() for key, values in scores.items()}
    found = {f"auroc_{key}": auroc(lists["known"], lists[key]) for key in ("unseen", "chat")}
    if threshold is None:
        return found
    shares = {key: 100 * float((values >= threshold).double().mean()) for key, values in scores.items()}
    names = {"known": "accepted_known", "unseen": "false_accept_unseen", "chat": "false_accept_chat"}
    return found | {names[key]: share for key, share in shares.items()}


def _margins(logits: Mapping[str, Tensor], queries: Mapping[str, Read]) -> dict[str, Tensor]:
    """By how much the best memory token beats the best ordinary one."""
    return {key: logits[key].amax(-1) - queries[key].best for key in logits}


def _distance(gate: Gate, states: Tensor) -> Tensor:
    """(N,) squared Mahalanobis distance to the nearest mean."""
    away = states.double() - gate.mean
    return ((away @ gate.metric) * away).sum(-1) - 2 * gate.scores(states.double()).amax(-1)


def _stated(bank: Bank, known: Tasks, share: float, queries: Mapping[str, Read]) -> dict[str, float]:
    """The rates where the least fit was chosen, on kept states, for a false-accept rate."""
    other = closed_bank(known, ClosedForm(false_accept=share))
    least = float(reference_of(other).least_fit)
    gate = gate_of(bank)
    assert gate is not None
    fits = {key: gate.fits(read.states) for key, read in queries.items()}
    return {"stated": 100 * share, **_rates(fits, least)}


def _trust(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """Calibration of the probabilities among memory tokens, and the risk of answering the surest alone."""
    best = logits.softmax(-1).max(-1)
    sure, right = best.values.double().tolist(), (best.indices == labels).tolist()
    points = risk_coverage(sure, right)
    risks = [next(100 * p.risk for p in points if p.coverage >= share - 1e-9) for share in COVERAGES]
    return {
        "calibration_error": 100 * calibration_error(sure, right),
        "risk_at_coverage": [[100 * c, r] for c, r in zip(COVERAGES, risks, strict=True)],
    }
