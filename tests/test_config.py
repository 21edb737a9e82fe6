from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from tokmem.config import REQUIRED, Config, dump_config, help_table, load_config, same_as, setting
from tokmem.config.settings import settings
from tokmem.errors import ConfigError
from tokmem.model.lora import LoraSettings
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.tracks.registry import MODULES, track
from tokmem.train.settings import FitSettings


@dataclass(frozen=True)
class Optim(Config):
    lr: float = setting(5e-3, "peak learning rate")
    betas: tuple[float, float] = setting((0.9, 0.999))

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ConfigError(f"lr {self.lr}", "a positive rate")


@dataclass(frozen=True)
class Run(Config):
    name: str = setting(REQUIRED, "what to call it")
    kind: Literal["infix", "prefix"] = setting("infix")
    steps: int = setting(10)
    ratio: float = setting(1.0)
    shuffle: bool = setting(False)
    folder: Path | None = setting(None)
    rounds: tuple[str, ...] = setting(())
    counts: dict[str, int] = setting({"a": 1})
    chat: Mapping[str, Any] = setting({})
    limit: int | Literal["auto"] = setting("auto")
    optim: Optim = setting(Optim(lr=0.1), "the optimizer")
    adapt: Optim | None = setting(None)


def load(tmp_path: Path, text: str, *overrides: str) -> Run:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return load_config(Run, path, overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    return str(caught.value)


def test_file_lies_on_defaults_and_overrides_on_the_file(tmp_path: Path) -> None:
    text = "name: x\nratio: 2\nrounds: [r1, r2]\noptim: {betas: [0, 1e-3]}\nlimit: 7\n"
    run = load(tmp_path, text, "steps=3", "counts.b=2", "adapt.lr=1e-4", "optim.betas=[0.5, 0.6]")
    assert run == Run(
        name="x",
        steps=3,
        ratio=2.0,
        rounds=("r1", "r2"),
        counts={"a": 1, "b": 2},
        limit=7,
        optim=Optim(0.1, (0.5, 0.6)),
        adapt=Optim(1e-4),
    )
    assert isinstance(run.ratio, float)


def test_a_section_merges_onto_the_default_it_has_in_its_parent(tmp_path: Path) -> None:
    assert load(tmp_path, "name: x\noptim: {betas: [0, 1e-3]}").optim == Optim(0.1, (0.0, 1e-3))
    assert load(tmp_path, "name: x", "optim.betas=[0, 0]").optim == Optim(0.1, (0.0, 0.0))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: x\nsteps: 2.5", ["steps", "2.5", "int"]),
        ("name: x\nsteps: true", ["steps", "True", "int"]),
        ("name: x\noptim: {lr: fast}", ["optim.lr", "'fast'", "float"]),
        ("name: x\noptim: {betas: [0.9, x]}", ["optim.betas[1]", "'x'", "float"]),
        ("name: x\noptim: {betas: [0.9]}", ["optim.betas", "2 values"]),
        ("name: x\noptim: 3", ["optim", "3", "section"]),
        ("name: x\ncounts: {a: one}", ["counts.a", "'one'", "int"]),
        ("name: x\nrounds: r1", ["rounds", "'r1'", "list of str"]),
        ("name: x\nkind: infx", ["kind", "'infx'", "did you mean infix?"]),
        ("name: x\nlimit: many", ["limit", "'many'", "int | 'auto'"]),
        ("name: no", ["name", "False", "str", "quote it"]),
        ("name: null", ["name", "None", "str"]),
        ("steps: 3", ["name is missing", "--set name="]),
        ("name: x\nstep: 3", ["unknown key step", "did you mean steps?"]),
        ("name: x\noptim: {learn: 3}", ["unknown key optim.learn", "optim.lr"]),
        ("name: x\nbeta: 3", ["unknown key beta", "did you mean optim.betas or adapt.betas?"]),
        ("name: x\noptim: {lr: -1}", ["optim: lr -1.0", "a positive rate"]),
        ("name: x\nname: y", ["'name' twice", "line 2"]),
        ("- name", ["holds a list", "a mapping"]),
        ("name: [", ["cannot be read", "valid YAML"]),
        ("", ["run.yaml is empty", "a mapping"]),
        ("# only a comment", ["run.yaml is empty"]),
        ("name: !!bool foo", ["the tag tag:yaml.org,2002:bool", "line 1"]),
        ("name: !!int ''", ["the tag tag:yaml.org,2002:int"]),
        ("name: !!timestamp foo", ["the tag tag:yaml.org,2002:timestamp"]),
        ("name: !local x", ["the tag !local"]),
        ("name: &a x\nrounds: [*a]", ["an anchor or alias"]),
        ("name: 2020-99-99", ["cannot be read"]),
        ("name: x\nchat: {1: a, 0x1: b}", ["key 1 twice"]),
        ("name: " + "[" * 33, ["more than 32 levels"]),
        ("[" * 100_000, ["more than 32 levels"]),
        ('name: x\nfolder: "a\\0b"', ["folder", r"'\x00'", "text without it"]),
        ('name: "\\ud800"', ["name", "text without it"]),
        ("name: x\nratio: 1" + 400 * "0", ["ratio: a number of 401 digits", "float"]),
    ],
)
def test_refusals_name_key_value_and_what_was_wanted(tmp_path: Path, text: str, parts: list[str]) -> None:
    message = refusal(tmp_path, text)
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(
    "value", ["!!bool foo", "!!int ''", "!!timestamp foo", "[" * 40, "2020-99-99", "{a: 1, a: 2}"]
)
def test_an_override_is_read_as_strictly_as_a_file(tmp_path: Path, value: str) -> None:
    assert f"override {f'steps={value}'!r} cannot be read" in refusal(tmp_path, "name: x", f"steps={value}")


def test_a_file_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes("name: x".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"run\.yaml is not UTF-8; .* save it as UTF-8"):
        load_config(Run, path)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"steps": 1.5}, "Run: steps 1.5 (float); wanted: int"),
        ({"steps": True}, "Run: steps True (bool); wanted: int"),
        ({"ratio": "1"}, "Run: ratio '1' (str); wanted: float"),
        ({"ratio": True}, "Run: ratio True (bool)"),
        ({"kind": "zz"}, "Run: kind 'zz' (str); wanted: 'infix' | 'prefix'"),
        ({"folder": "somewhere"}, "Run: folder 'somewhere' (str); wanted: path | null"),
        ({"rounds": ["a"]}, "Run: rounds ['a'] (list); wanted: list of str"),
        ({"rounds": ("a", 1)}, "Run: rounds ('a', 1) (tuple)"),
        ({"counts": {"a": "1"}}, "Run: counts {'a': '1'} (dict)"),
        ({"counts": 3}, "Run: counts 3 (int)"),
        ({"limit": "many"}, "Run: limit 'many' (str)"),
        ({"optim": None}, "Run: optim None (NoneType); wanted: section"),
    ],
)
def test_a_config_made_in_python_checks_its_types(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        Run(name="x", **values)


def test_a_config_checks_types_before_ranges_and_takes_an_int_as_a_float() -> None:
    with pytest.raises(ConfigError, match="lr 'fast'"):
        Optim(lr="fast")
    with pytest.raises(ConfigError, match="betas"):
        Optim(betas=(0.9,))
    assert Optim(lr=1, betas=(0, 1)).lr == 1
    assert Run(name="x", chat={"any": object()}, adapt=None, limit=3).limit == 3


@pytest.mark.parametrize("override", ["steps", "=3", "optim..lr=1", "steps.more=1", "optim.rl=1"])
def test_bad_overrides_are_refused(tmp_path: Path, override: str) -> None:
    assert override.split("=")[0] in refusal(tmp_path, "name: x\nsteps: 3", override)


def test_the_example_of_an_override_is_one() -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(AtomicConfig, None, ["steps"])
    example = refused.value.do.partition("--set ")[2].strip("`")
    assert load_config(AtomicConfig, None, [example]).training.lr == 5e-3


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_config(Run, tmp_path / "absent.yaml")


def test_variables_expand_and_an_unset_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_DATA", "/data")
    monkeypatch.delenv("NO_DATA", raising=False)
    run = load(tmp_path, 'name: $${SOME_DATA}\nfolder: ${SOME_DATA}/sni\nchat: {x: ["${SOME_DATA}"]}')
    assert (run.folder, run.name, run.chat) == (Path("/data/sni"), "${SOME_DATA}", {"x": ("/data",)})
    message = refusal(tmp_path, "name: x\nfolder: ${NO_DATA}/sni")
    assert all(part in message for part in ("folder", "NO_DATA", "export NO_DATA=", "--set folder="))


def test_dump_round_trips(tmp_path: Path) -> None:
    run = Run(
        name="on ${HOME} $${X}\n1e-3",
        ratio=1e-9,
        folder=Path("a b/${C}"),
        counts={"1": 2},
        chat={"deep": ("x", None, {"y": True})},
        rounds=("no", "3"),
        adapt=Optim(1e-30, (0.0, float("inf"))),
    )
    assert load(tmp_path, dump_config(run)) == run


def test_help_table_unfolds_sections() -> None:
    rows = {row.key: row for row in help_table(Run)}
    assert next(iter(rows)) == "name"
    assert rows["name"][1:] == ("str", "required", "what to call it")
    assert rows["optim.lr"][1:] == ("float", "0.1", "peak learning rate")
    assert rows["kind"][1:3] == ("'infix' | 'prefix'", "infix")
    assert rows["folder"][1:3] == ("path | null", "null")
    assert rows["counts"][1:3] == ("mapping of str to int", "{a: 1}")
    assert rows["adapt"][1:3] == ("section | null", "null")
    assert rows["adapt.lr"].default == "0.005"
    assert "optim" not in rows


@pytest.mark.parametrize(
    ("config", "values", "says"),
    [
        (FitSettings, {"epochs": 1.5}, "FitSettings: epochs 1.5 (float); wanted: int"),
        (FitSettings, {"schedule": "cubic"}, "FitSettings: schedule 'cubic' (str)"),
        (FitSettings, {"batch_size": 0}, "batch_size 0"),
        (RecallSettings, {"max_new_tokens": 1.5}, "RecallSettings: max_new_tokens 1.5 (float)"),
        (
            RecallSettings,
            {"mode": "chains"},
            "RecallSettings: mode 'chains' (str); wanted: 'atomic' | 'chain'",
        ),
        (RecallSettings, {"temperature": float("nan")}, "temperature nan"),
        (RecallSettings, {"top_p": 0.0}, "top_p 0.0"),
        (LoraSettings, {"lora_r": 2.0}, "LoraSettings: lora_r 2.0 (float)"),
    ],
)
def test_settings_made_in_python_are_checked(config: type[Any], values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        config(**values)


def test_a_field_may_be_the_same_as_that_of_another_config() -> None:
    @dataclass(frozen=True)
    class Source(Config):
        size: int = setting(3, "how large")

    @dataclass(frozen=True)
    class Copy(Config):
        size: int = same_as(Source, "size")
        length: int = same_as(Source, "size", "how long")

    assert Copy() == Copy(3, 3)
    assert [row.doc for row in help_table(Copy)] == ["how large", "how long"]


def sections(config: type[Any]) -> Iterator[type[Any]]:
    """A config class and the classes of its sections."""
    yield config
    for _, hint in settings(config):
        for arm in (hint, *get_args(hint)):
            if is_dataclass(arm) and isinstance(arm, type):
                yield from sections(arm)


@pytest.mark.parametrize("name", MODULES)
def test_every_section_of_a_track_checks_its_types(name: str) -> None:
    track_name, _, task = name.partition("/")
    classes = list(sections(track(track_name, task or None).config))
    assert len(classes) > 3
    assert [one for one in classes if not issubclass(one, Config)] == []
