"""The table of docs/serving.md: what can be exported how, tried on tiny backbones.

`python -m tests.export.combinations` writes it; a test compares it.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.export.tiny_memory import tiny_memory
from tokmem.errors import ExportError
from tokmem.export.vocabulary import plan_vocabulary
from tokmem.export.write import FORMS

PAGE = Path(__file__).parents[2] / "docs/serving.md"
BLOCK = re.compile(r"(?<=<!-- combinations -->\n).*?(?=<!-- end -->)", re.DOTALL)
OF_WEIGHTS = ("hf", "peft", "lora")  # the form gguf takes a file
PLACES = {"spare": "on spare rows", "append": "past the end"}


def works(form: str, tied: bool, coupled: bool, policy: str) -> bool:
    memory = tiny_memory(tied=tied, coupled=coupled, policy=policy)  # type: ignore[arg-type]
    with TemporaryDirectory() as folder:
        try:
            FORMS[form].write(memory, plan_vocabulary(memory), Path(folder))
        except ExportError:
            return False
    return True


def table() -> str:
    """The table in Markdown."""
    head = ["backbone", "bank", "token ids", *OF_WEIGHTS]
    lines = [head, ["---"] * len(head)]
    for tied, coupled, policy in product((True, False), (True, False), PLACES):
        facts = ["tied" if tied else "untied", "coupled" if coupled else "decoupled", PLACES[policy]]
        lines.append([*facts, *("yes" if works(f, tied, coupled, policy) else "refused" for f in OF_WEIGHTS)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(table(), PAGE.read_text("utf-8")), "utf-8")
