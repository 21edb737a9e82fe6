"""Averages the weights of a backbone and of the backbone whose training it continued.

    python -m pretraining.average src/tokmem/mini/backbone build/mini/backbone --out build/mini/average

A further run on another mixture gains what the mixture has more of and loses some of the rest. The mean of
both keeps most of either (model soups, Wortsman et al., 2022, arXiv 2203.05482).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from tokmem.files import replace_folder

WEIGHTS, FACTS = "model.safetensors", "training.json"


def average(first: Path, second: Path, out: Path) -> None:
    """Writes the mean with the second's tokenizer and config, and counts what both were trained on.

    Args:
        first: folder of a backbone.
        second: folder of the backbone trained on from it.
        out: folder of the mean.

    Raises:
        SystemExit: the two hold other tensors, or have other tokenizers.
    """
    ours, theirs = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        raise SystemExit(f"{first} and {second} hold other tensors; average two states of one model")
    if (first / "tokenizer.json").read_bytes() != (second / "tokenizer.json").read_bytes():
        raise SystemExit(f"{first} and {second} have other tokenizers; average two states of one model")
    means = {k: ((ours[k].float() + theirs[k].float()) / 2).to(ours[k].dtype) for k in ours}
    facts = json.loads((second / FACTS).read_text())
    facts["averaged_with_tokens"] = _tokens(json.loads((first / FACTS).read_text()))
    with replace_folder(out, (FACTS, "*")) as draft:
        shutil.copytree(second, draft, dirs_exist_ok=True)
        save_file(means, draft / WEIGHTS, metadata={"format": "pt"})
        (draft / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def _tokens(facts: dict[str, Any]) -> int:
    """Returns the tokens that a run and the runs before it were trained on."""
    return facts["tokens"] + facts.get("earlier", {}).get("tokens", 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path, help="folder of a backbone")
    parser.add_argument("second", type=Path, help="folder of the one trained on from it")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    average(args.first, args.second, args.out)
