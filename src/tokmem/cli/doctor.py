"""`tokmem doctor`: describes the installation, as text to paste into a report."""

from __future__ import annotations

from tokmem.cli.shared import console

EXAMPLE = "tokmem doctor"


def doctor() -> None:
    """Show versions, threads, kernels, free memory and disk, and caches: text to paste into a report."""
    from tokmem.installation import installation

    for label, text in installation():
        console().print(f"{label:<17} {text}", markup=False)
