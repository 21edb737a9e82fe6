"""The command `tokmem`."""

from __future__ import annotations

import errno
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tokmem.cli import analyze, backbone, bank, data, demo, evaluate, recall, report, run, tools, train
from tokmem.cli.shared import complain
from tokmem.errors import TokMemError
from tokmem.log import configure


class Commands(TyperGroup):
    """Turns what the user can mend into a few lines on stderr and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; with `--debug` errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except (TokMemError, OSError) as error:
            broken_pipe = isinstance(error, OSError) and error.errno == errno.EPIPE
            if ctx.params["debug"] or broken_pipe:
                raise
            complain(error)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            if ctx.params["debug"]:
                raise
            complain(TokMemError("interrupted", do="go on with a run by --resume"))
            raise typer.Exit(130) from error


def _either_dash(option: str) -> str:
    """`--tasks_dir` is `--tasks-dir`."""
    return option.replace("_", "-")


app = typer.Typer(
    name="tokmem",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": _either_dash, "help_option_names": ["-h", "--help"]},
    epilog="Options take dashes or underscores: --tasks-dir is --tasks_dir. Start with: tokmem demo",
)
app.command("demo", rich_help_panel="Start here")(demo.demo)
app.command("recall", rich_help_panel="Start here", epilog=recall.EXAMPLES)(recall.recall)
app.command("train", rich_help_panel="Train and measure", epilog=train.EXAMPLES)(train.train)
app.command("tools", rich_help_panel="Train and measure", epilog=tools.EXAMPLES, cls=tools.ToolsCommand)(
    tools.tools
)
app.command("eval", rich_help_panel="Train and measure", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("run", rich_help_panel="Train and measure", epilog=run.EXAMPLES)(run.run)
app.command("report", rich_help_panel="Train and measure", epilog=report.EXAMPLES)(report.report)
app.add_typer(data.app, name="data", rich_help_panel="Train and measure")
app.add_typer(bank.app, name="bank", rich_help_panel="Keep banks")
app.add_typer(backbone.app, name="backbone", rich_help_panel="Keep banks")
app.command("analyze", rich_help_panel="Keep banks", epilog=analyze.EXAMPLES)(analyze.analyze)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tokmem {version('tokmem')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the whole log.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings only.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A procedural memory for frozen language models: one trained token per procedure."""
    configure("DEBUG" if debug else "WARNING" if quiet else "INFO")


def main() -> None:
    """Runs the command line."""
    app()
