"""What this installation runs on: facts for a report. They name no user."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tokmem.errors import TokMemError
from tokmem.files import cache_folder, read_json

_CORE = (
    "tokmem",
    "torch",
    "transformers",
    "accelerate",
    "safetensors",
    "tokenizers",
    "typer",
    "gguf",
    "rouge-score",
)
_EXTRAS = (
    "peft",
    "sentence-transformers",
    "llguidance",
    "matplotlib",
    "pyarrow",
    "xllamacpp",
    "openai",
    "ray",
    "mcp",
)
# Variables that change kernels, threads, or where files go.
_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"),
    *("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"),
)
_GB = 1e9


def installation() -> list[tuple[str, str]]:
    """Lists labels and facts: versions, cores and threads, kernels, free memory and disk, caches."""
    return [*_software(), *_compute(), *_space()]


def _software() -> Iterator[tuple[str, str]]:
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    yield "python", platform.python_version()
    for name in _CORE:
        yield name, version_of(name) or "not installed"
    found = {name: version_of(name) for name in _EXTRAS}
    yield "extras", ", ".join(f"{name} {text}" for name, text in found.items() if text) or "none"
    missing = [name for name, text in found.items() if not text]
    if missing:
        yield "not there", ", ".join(missing)


def version_of(package: str) -> str | None:
    """The version of an installed package; None if it is missing. PyTorch's names its build, such as `+cpu`.

    A wheel's metadata may leave the build out, so PyTorch is asked itself.
    """
    if package == "torch":
        import torch

        return str(torch.__version__)
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _compute() -> Iterator[tuple[str, str]]:
    import torch

    yield "cores", f"{_cores()} of {os.cpu_count()}"
    yield "threads", f"{torch.get_num_threads()} in an operation, {torch.get_num_interop_threads()} between"
    backends = {"oneDNN": torch.backends.mkldnn.is_available(), "MKL": torch.backends.mkl.is_available()}
    kernels = [torch.backends.cpu.get_cpu_capability(), *(name for name, there in backends.items() if there)]
    yield "kernels", ", ".join(kernels)
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    yield "accelerators", ", ".join(names) or "none"
    chosen = [f"{name}={_short(os.environ[name])}" for name in _VARIABLES if name in os.environ]
    yield "variables", " ".join(chosen) or "none of those that matter is set"


def _cores() -> int:
    """Counts the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _space() -> Iterator[tuple[str, str]]:
    yield "memory", _memory()
    yield "disk here", f"{shutil.disk_usage(Path.cwd()).free / _GB:.1f} GB free"
    yield "gradient checks", _checked()
    for label, folder in _caches():
        if folder.is_dir():
            yield label, f"{_short(str(folder))}, {_size(folder) / 1e6:,.0f} MB"
    cache = cache_folder("")
    home = next(one for one in (cache, *cache.parents) if one.exists())
    yield "disk of cache", f"{shutil.disk_usage(home).free / _GB:.1f} GB free"


def _checked() -> str:
    """Names the backbones that passed, and counts those whose name is a path or an id."""
    names = []
    for path in cache_folder("checks").glob("*.json"):
        with suppress(TokMemError, OSError):
            names.append(str(read_json(path, dict, "").get("backbone")))
    short = sorted({name for name in names if name.isidentifier()})
    others = sum(not name.isidentifier() for name in names)
    return f"passed: {', '.join([*short, *([f'{others} others'] if others else [])]) or 'none yet'}"


def _memory() -> str:
    """Reads free and total memory in GB, where the system tells them."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return "unknown"
    kib = {name: int(text.split()[0]) for name, _, text in (line.partition(":") for line in lines)}
    return f"{kib['MemAvailable'] * 1024 / _GB:.1f} of {kib['MemTotal'] * 1024 / _GB:.1f} GB free"


def _caches() -> Iterator[tuple[str, Path]]:
    """Lists the folders where this library and the hub's keep files."""
    ours = cache_folder("")
    for folder in sorted(ours.iterdir()) if ours.is_dir() else []:
        yield f"cache {folder.name}", folder
    hub = Path(os.environ.get("HF_HOME") or ours.parent / "huggingface")
    yield "cache hub", hub / "hub"


def _size(folder: Path) -> int:
    """Adds up the bytes of the files in a folder; links count nothing."""
    files = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def _short(path: str) -> str:
    """Writes the home folder as ~: a report names no user."""
    return path.replace(str(Path.home()), "~")
