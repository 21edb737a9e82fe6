"""`--explain`: says under a table in words what its columns mean."""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tokmem.report.meanings import meaning
from tokmem.report.tables import Table

_WANTED: ContextVar[bool] = ContextVar("explain", default=False)


def explaining(base: type[TyperCommand] = TyperCommand) -> type[TyperCommand]:
    """Makes a class of commands that has the option `--explain` too."""

    class Explaining(base):  # type: ignore[misc, valid-type]
        def get_params(self, ctx: Any) -> list[Any]:
            *own, help_option = super().get_params(ctx)
            return [*own, _option(), help_option]

        def invoke(self, ctx: Any) -> Any:
            token = _WANTED.set(ctx.params.pop("explain"))
            try:
                return super().invoke(ctx)
            finally:
                _WANTED.reset(token)

    return Explaining


def explanations(table: Table) -> list[tuple[str, str]]:
    """Title and meaning of each column that has a meaning, if the user asked for them."""
    found = ((title, meaning(key)) for key, title in table.titles.items()) if _WANTED.get() else ()
    return [(title, text) for title, text in found if text]


@cache
def _option() -> Any:
    app = typer.Typer(add_completion=False)

    @app.command()
    def stand_in(
        explain: Annotated[bool, typer.Option("--explain", help="Say what the columns mean.")] = False,
    ) -> None: ...

    return typer.main.get_command(app).params[0]
