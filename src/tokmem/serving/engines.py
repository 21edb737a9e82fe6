"""The engines that `tokmem serve` starts: what each needs, and its command line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tokmem.errors import ServingError
from tokmem.export.gguf import FILE
from tokmem.export.write import Kind

HOST = "127.0.0.1"
_BINARY = "llama-server"


@dataclass(frozen=True)
class Load:
    """How a server shares its work.

    Attributes:
        parallel: requests that llama.cpp answers at once.
        context: tokens that they share; 0 takes the model's own number.
        threads: CPU threads; 0 takes the engine's choice.
        cache: whether llama.cpp keeps a prompt for later ones that begin alike.
    """

    parallel: int = 1
    context: int = 0
    threads: int = 0
    cache: bool = True


@dataclass(frozen=True)
class Engine:
    """An inference engine.

    Attributes:
        name: as `tokmem serve --engine` takes it.
        form: the form of exports that it reads.
        needs: what to install.
        installed: whether it is there.
        command: its command line: takes the folder of an export, a port, and the load.
    """

    name: str
    form: Kind
    needs: str
    installed: Callable[[], bool]
    command: Callable[[Path, int, Load], list[str]]


def _has_llama_cpp() -> bool:
    return shutil.which(_BINARY) is not None or find_spec("xllamacpp") is not None


def _llama_cpp(folder: Path, port: int, load: Load) -> list[str]:
    """Greedy, as the bank was trained; `llama-server` and its stand-in take the same options."""
    binary = shutil.which(_BINARY)
    return [
        *([binary] if binary else [sys.executable, "-m", "tokmem.serving.llama_cpp"]),
        *("--model", str(folder / FILE), "--alias", folder.name, "--host", HOST, "--port", str(port)),
        *("--jinja", "--temp", "0", "--parallel", str(load.parallel), "--ctx-size", str(load.context)),
        *(("--threads", str(load.threads)) if load.threads else ()),
        *(() if load.cache else ("--no-cache-prompt",)),
    ]


def _has_transformers_serve() -> bool:
    return all(find_spec(name) is not None for name in ("fastapi", "uvicorn", "openai"))


def _transformers(folder: Path, port: int, load: Load) -> list[str]:
    """The process runs in the folder above, so that the model has the folder's short name.

    Raises:
        ServingError: the engine would read the name otherwise.
    """
    if "@" in folder.name or folder.name.startswith("-"):
        raise ServingError(
            f"folder {folder.name!r}, in whose name transformers reads a revision or an option",
            "a name without @ that does not begin with a dash",
            "rename the folder, or choose another --out",
        )
    program = [sys.executable, "-m", "transformers.cli.transformers", "serve"]
    return [*program, folder.name, "--host", HOST, "--port", str(port)]


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("llama.cpp", "gguf", f"xllamacpp, or {_BINARY} on the PATH", _has_llama_cpp, _llama_cpp),
        Engine("transformers", "hf", "transformers[serving]", _has_transformers_serve, _transformers),
    )
}


def choose_engine(name: str | None, forms: tuple[Kind, ...]) -> Engine:
    """Finds an engine by its name.

    Args:
        name: of the engine; None takes the first that is installed and reads one of the forms.
        forms: forms that the bank can be exported in.

    Raises:
        ServingError: there is no such engine, it is not installed, or it reads none of the forms.
    """
    if name is None:
        fitting = [engine for engine in ENGINES.values() if engine.form in forms]
        if not fitting:
            raise ServingError(
                f"an export of the form {' or '.join(forms)}, which no engine here reads",
                "the form hf or gguf",
                "export the bank again: tokmem export BANK --to hf",
            )
        found = next((engine for engine in fitting if engine.installed()), None)
        if found is None:
            raise ServingError(
                "no engine is installed",
                " or ".join(engine.needs for engine in fitting),
                "pip install 'tokmem[serving]'",
            )
        return found
    if name not in ENGINES:
        raise ServingError(f"engine {name!r}", f"one of {', '.join(ENGINES)}")
    engine = ENGINES[name]
    if not engine.installed():
        raise ServingError(
            f"engine {name}, which is not installed", engine.needs, "pip install 'tokmem[serving]'"
        )
    if engine.form not in forms:
        raise ServingError(
            f"engine {name}, which reads {engine.form}",
            f"an engine that reads {' or '.join(forms)}",
            "give a bank with --gguf FILE, the file that its backbone comes from"
            if engine.form == "gguf"
            else "",
        )
    return engine
