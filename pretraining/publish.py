"""Copies a trained backbone into the package, and writes its card.

python -m pretraining.publish build/mini/backbone results/mini/backbone.json
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from tokmem.files import replace_folder
from tokmem.model.catalog import mini_path

TRAINING = """- It saw {tokens:.1f} M tokens, padding included, in {steps:,} steps; it trained on {supervised:.1f} M of them. That took {hours:.1f} hours on two CPU cores,
  most of them shared with other work (`pretraining/train.py`).
- There were three runs. The first started from random weights, with Muon at 0.02 for matrices and AdamW at 3e-3 for the rest. The other two continued from
  those weights (`--start-from`) at 0.012 and 2e-3. The weights are the mean of those after the second and the third run (`pretraining/average.py`). They are
  better than either by nearly every figure below.
- The data are {families} families of generated procedures (`pretraining/families`), each in five wordings, with zero to three further inputs. Some frame the
  answer as asked: in quotes, or after a word on its own line.
- From the second run on there are also procedures composed at random (`pretraining/compositions.py`): a choice of items and a separator, fields and a layout,
  or properties of a sentence. The third run adds 271 procedures that the user names by one word in a text, and sums.
- The rest is calls of 50 auxiliary tools, arithmetic word problems, and random tokens to copy. This repository generates all of these.
- Text comes from 70 Super-NaturalInstructions tasks: instructions, inputs and outputs of up to 900 characters each (allenai/natural-instructions v2.8,
  Apache-2.0 collection, tasks with permissive instance licences).
- The mix changed during training: less task text from step 1,190 of the first run on, framed answers from step 2,700 on. The present mix of the tool is
  a later one.
"""

CARD = """---
library_name: transformers
pipeline_tag: text-generation
license: apache-2.0
language: en
---

# The bundled backbone

A Llama-architecture model of {parameters:,} parameters ({layers} layers, width {width}, vocabulary {vocab:,}, bfloat16) with
its own byte-level BPE tokenizer (digits split, Llama-3-like chat tokens, 64 reserved tokens). With it, TokMem works on any
machine without a download. It is a test bench for memory tokens, not an assistant.

## Training

{training}- Training never sees the 16 families whose split is `settings` or `demo`, compositions that equal one of them, tools 51 to 100, or
  Super-NaturalInstructions tasks other than those 70. It also never sees the eighth of all inputs that `is_held_out_input` names. It contains no memory token, no reserved token and no stand-in for one.

## What it can and cannot do

The inputs are ones that training never saw, {count} a family; requests for tools are drawn at random. Decoding is greedy (`results/mini/backbone.json`,
`pretraining/evaluate.py`).

| | |
|---|---:|
| exact answers when instructed, median over the {families} trained families | {median:.0f}% |
| the same, mean | {mean:.1f}% |
| copying the input | {copy:.0f}% |
| families below 50% | {weak} |
| arguments of an auxiliary tool as JSON | {tools:.0f}% |
| arguments of a held-out tool (51 to 100) as JSON | {held_tools:.0f}% |
| arithmetic word problems, final number | {problems:.0f}% |
| the 16 held-out families when instructed, mean | {held:.1f}% |
| loss of a response token, in nats | {loss:.3f} |
{natural}
Weakest families: {weakest}.

It knows a few hundred words of the generators well and little of the world. It follows short instructions of the kind above, copies
and rearranges. It does not reason, chat, or answer open questions. Its text data carries the biases of its sources.

Licence: Apache-2.0.
"""


def card(backbone: Path, result: dict[str, Any]) -> str:
    """Writes the card; every figure comes from the model's own files and the result file."""
    config = json.loads((backbone / "config.json").read_text())
    seen, exact = result["training"], result["exact_trained"]
    natural = result.get("natural_instructions_mean_rouge_l")
    held = result["exact_held_out_instructed"]
    figures = {
        "parameters": result["parameters"],
        "layers": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "vocab": config["vocab_size"],
        "tokens": seen["tokens"] / 1e6,
        "supervised": seen["supervised"] / 1e6,
        "steps": seen["step"],
        "hours": seen["seconds"] / 3600,
        "families": len(exact),
        "count": result["examples_per_family"],
        "median": result["median_exact_trained"],
        "mean": result["mean_exact_trained"],
        "copy": result["copy"],
        "weak": sum(value < 50 for value in exact.values()),
        "tools": result["exact_other"]["tool_arguments"],
        "held_tools": result["exact_other"]["held_out_tool_arguments"],
        "problems": result["exact_other"]["word_problem"],
        "held": sum(held.values()) / len(held),
        "loss": result["held_out_loss"],
        "natural": ""
        if natural is None
        else f"| ROUGE-L on 89 unseen Natural Instructions tasks, mean | {natural:.1f} |\n",
        "weakest": ", ".join(f"{family} {value:.0f}%" for family, value in list(exact.items())[-8:]),
    }
    return CARD.format(training=TRAINING.format(**figures), **figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbone", type=Path)
    parser.add_argument("result", type=Path)
    args = parser.parse_args()
    text = card(args.backbone, json.loads(args.result.read_text()))
    with replace_folder(mini_path(), ("training.json", "*")) as draft:
        shutil.copytree(args.backbone, draft, dirs_exist_ok=True)
        (draft / "README.md").write_text(text, "utf-8")
