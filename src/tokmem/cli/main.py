"""The command `tokmem`."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from threading import Timer
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tokmem import __version__
from tokmem.cli import (
    analyze,
    backbone,
    bank,
    data,
    demo,
    doctor,
    evaluate,
    export,
    init,
    launched,
    learn,
    recall,
    report,
    run,
    serve,
    tools,
    train,
    ui,
)
from tokmem.cli.explain import explaining
from tokmem.cli.flags import Flags, normalizer
from tokmem.cli.inputs import FILES
from tokmem.cli.shared import complain
from tokmem.errors import TokMemError
from tokmem.log import configure, logger

_INTERRUPTED, _TERMINATED = 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: the command ends as it does on an interrupt, with another exit status."""


class Commands(TyperGroup):
    """Shows errors in a few lines on stderr, without tracebacks. Exit status 2 is the user's to correct."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuses what no path can hold."""
        if any("\0" in one for one in args):
            raise typer.BadParameter("an argument holds a NUL character; remove it")
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Reads the arguments, which imports much: a signal may come here too."""
        try:
            return super().make_context(*args, **options)
        except KeyboardInterrupt as error:
            raise _stopped(error) from error

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; with `--debug` errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if ctx.params["debug"] or _is_control(error):
                raise
            complain(error)
            raise typer.Exit(2 if isinstance(error, (TokMemError, OSError)) else 1) from error
        except KeyboardInterrupt as error:
            if ctx.params["debug"]:
                raise
            raise _stopped(error, ctx.invoked_subcommand) from error


# How a command that was stopped goes on; the others begin again.
_RESUMED = "a run goes on with --resume and the --out of its folder"
_ONWARD = dict.fromkeys(("train", "tools", "eval", "run"), _RESUMED) | {"learn": "the same command goes on"}


def _stopped(error: KeyboardInterrupt, command: str | None = None) -> typer.Exit:
    """Says that a signal came, and how the command goes on if it can; gives the end of the command."""
    ended = isinstance(error, Terminated)
    got = "terminated" if ended else "interrupted"
    if not launched.index():
        complain(TokMemError(got, do=_ONWARD.get(command or "", "")))
    return typer.Exit(_TERMINATED if ended else _INTERRUPTED)


def _is_control(error: Exception) -> bool:
    """Whether typer itself handles an exception: its own ones, and a closed pipe."""
    own = type(error).__module__.startswith(("typer", "click"))
    return own or (isinstance(error, OSError) and error.errno == errno.EPIPE)


app = typer.Typer(
    name="tokmem",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={**normalizer(""), "help_option_names": ["-h", "--help"]},
    epilog="Options take dashes or underscores: --tasks-dir is --tasks_dir. Start with: tokmem init",
)


def _add(
    group: typer.Typer,
    name: str,
    function: Callable[..., None],
    example: str,
    panel: str | None = None,
    flags: Flags | None = None,
    *,
    tables: bool = False,
    models: bool = False,
    together: bool = False,
) -> None:
    """Registers a command: its settings are options, and its help ends with an example.

    Args:
        group: what it belongs to.
        name: its name.
        function: what it does.
        example: the last line of its help.
        panel: its panel in the help of the group.
        flags: the settings that are its options.
        tables: whether it shows tables, which `--explain` explains.
        models: whether it loads a backbone; if so, it says at once that this takes a while.
        together: whether several launched processes can run it together.
    """
    kind = flags.command() if flags else TyperCommand
    group.command(
        name,
        cls=explaining(kind) if tables else kind,
        context_settings=normalizer(name if group is app else f"{group.info.name} {name}"),
        help=_unwrapped(function.__doc__ or ""),
        epilog=_example(example),
        rich_help_panel=panel,
    )(_begun(function, models, together))


def _example(text: str) -> str:
    """The last line of a help: an example, and which commands make the files that it names."""
    trained = str(train.RUN) in text
    before = ["tokmem init"] * (trained or any(name in text for name in FILES))
    before += [train.EXAMPLE] * trained
    return f"Example{', after ' if before else ''}{' and '.join(before)}: {text}"


def _begun(function: Callable[..., None], models: bool, together: bool) -> Callable[..., None]:
    """The function of a command, with what comes before it."""

    @wraps(function)
    def run(*args: Any, **options: Any) -> None:
        if models and not launched.index():
            logger.info("loading torch and transformers")
        with launched.joined(together):
            function(*args, **options)

    return run


def _unwrapped(text: str) -> str:
    """Joins the lines of each paragraph: the terminal wraps them."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


_START, _TRAIN, _KEEP = "Start here", "Train and measure", "Keep banks"
_BANK, _ONE = "runs/train", "ticket_topic"
_add(app, "demo", demo.demo, demo.EXAMPLE, _START, tables=True, models=True)
_add(app, "init", init.init, init.EXAMPLE, _START)
_add(app, "recall", recall.recall, recall.EXAMPLE, _START, recall.FLAGS, models=True)
_add(app, "ui", ui.ui, ui.EXAMPLE, _START, ui.FLAGS, models=True)
_add(app, "doctor", doctor.doctor, doctor.EXAMPLE, _START)
_add(app, "train", train.train, train.EXAMPLE, _TRAIN, train.FLAGS, tables=True, models=True, together=True)
_add(app, "learn", learn.learn, learn.EXAMPLE, _TRAIN, learn.FLAGS, models=True, together=True)
_add(app, "tools", tools.tools, tools.EXAMPLE, _TRAIN, tools.FLAGS, tables=True, models=True, together=True)
_add(app, "eval", evaluate.evaluate, evaluate.EXAMPLE, _TRAIN, evaluate.FLAGS, tables=True, models=True)
_add(app, "run", run.run, run.EXAMPLE, _TRAIN, tables=True, models=True, together=True)
_add(app, "report", report.report, report.EXAMPLE, _TRAIN)
_add(data.app, "compose", data.compose, data.EXAMPLE, flags=data.FLAGS)
app.add_typer(data.app, rich_help_panel=_TRAIN)
_add(bank.app, "list", bank.list_, f"tokmem bank list {_BANK}", tables=True)
_add(bank.app, "show", bank.show, f"tokmem bank show {_BANK} {_ONE}", tables=True)
_add(bank.app, "add", bank.add, bank.ADD_EXAMPLE, flags=bank.FLAGS, models=True)
_add(bank.app, "compose", bank.compose, bank.COMPOSE_EXAMPLE, flags=bank.COMPOSE_FLAGS, models=True)
_add(bank.app, "remove", bank.remove, f"tokmem bank remove {_BANK} {_ONE} --out runs/smaller")
_add(bank.app, "rename", bank.rename, f"tokmem bank rename {_BANK} {_ONE} other --out runs/renamed")
_add(bank.app, "slice", bank.slice_, f"tokmem bank slice {_BANK} {_ONE} --out runs/part")
_add(bank.app, "merge", bank.merge, bank.MERGE_EXAMPLE)
app.add_typer(bank.app, rich_help_panel=_KEEP)
_add(backbone.app, "list", backbone.list_, "tokmem backbone list", tables=True)
_add(backbone.app, "get", backbone.get, "tokmem backbone get mini")
_add(backbone.app, "path", backbone.path, "tokmem backbone path mini")
_add(backbone.app, "remove", backbone.remove, "tokmem backbone remove smollm2")
app.add_typer(backbone.app, rich_help_panel=_KEEP)
_add(app, "export", export.export, export.EXAMPLE, _KEEP, export.FLAGS, models=True)
_add(app, "serve", serve.serve, serve.EXAMPLE, _KEEP, serve.FLAGS, models=True)
_add(app, "analyze", analyze.analyze, analyze.EXAMPLE, _KEEP, tables=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tokmem {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the whole log.")] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Load a backbone without checking its gradient.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings only.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A procedural memory for frozen language models: one trained token per procedure."""
    if no_check:
        os.environ["TOKMEM_NO_CHECK"] = "1"  # `tokmem.model.gradient.OFF`, without importing torch
    configure("DEBUG" if debug else "WARNING" if quiet else "INFO")


def main() -> None:
    """Runs the command line; closed output streams swallow what is printed, and bars are for terminals."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 stays open
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # no text is refused by a terminal of few characters
            stream.reconfigure(errors="backslashreplace")
    if not sys.stderr.isatty():  # bars of other libraries would fill a log
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _not_lost
    try:
        app()
    except KeyboardInterrupt as error:  # typer still builds the commands
        sys.exit(_stopped(error).exit_code)


def _terminate(*_: object) -> None:
    raise Terminated


def _not_lost(unraisable: sys.UnraisableHookArgs) -> None:
    """Sends a signal again whose exception Python ignored, as it does in the `__del__` of an object."""
    numbers: dict[type, int] = {Terminated: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}
    number = numbers.get(unraisable.exc_type)
    if number is None:
        sys.__unraisablehook__(unraisable)
    else:  # a moment later, when `__del__` is over
        Timer(0.05, os.kill, (os.getpid(), number)).start()
