"""How methods register themselves: names, settings, and what a variant may change."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.tracks.tiny_tools import CONFIG as TOOLS
from tests.tracks.tiny_tools import tiny, with_methods
from tokmem.errors import ConfigError
from tokmem.methods.protocol import MethodSpec, Setup
from tokmem.methods.registry import methods_of
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.train.settings import FitSettings

SPECS = [
    pytest.param(spec, track, id=f"{track}-{name}")
    for track in ("atomic", "compositional", "reason")
    for name, spec in methods_of(track).items()
]


@pytest.mark.parametrize(("spec", "track"), SPECS)
def test_a_variant_may_change_settings_of_the_method_alone(spec: MethodSpec, track: str) -> None:
    own = {field.name for field in fields(spec.own)}
    assert set(spec.types(track)) <= own
    assert set(spec.fixed) <= own
    assert spec.kind.__name__
    trains = spec.kind.train_for.__qualname__ == "Trained.train_for"
    assert spec.trains == trains, "only what trains has rates"


def test_own_settings_are_a_variants_changes_then_the_sections_then_defaults() -> None:
    spec = methods_of("atomic")["icl"]
    assert spec.own_settings(AtomicConfig(), {}).few_shot == 3
    config = AtomicConfig(demonstrations=type(AtomicConfig().demonstrations)(few_shot=2))
    assert spec.own_settings(config, {}).few_shot == 2
    assert spec.own_settings(config, {"few_shot": 1}).few_shot == 1
    with pytest.raises(ConfigError, match="few_shot 0"):
        spec.own_settings(config, {"few_shot": 0})
    assert methods_of("atomic")["tokmem"].own_settings(AtomicConfig(width=2), {}).width == 2
    rag = methods_of("compositional")["rag"]
    assert rag.own_settings(TOOLS, {}).use_rag, "the name decides"
    assert not rag.own_settings(TOOLS, {"use_rag": False}).use_rag, "a variant may change it"


def test_settings_with_another_name_in_a_section_are_found() -> None:
    spec = methods_of("compositional")["replay"]
    own = spec.own_settings(with_methods("replay"), {"replay_buffer_size": 7})
    assert (own.continual_replay_ratio, own.buffer_size) == (0.5, 7)
    with pytest.raises(ConfigError, match="replay_buffer_size 0"):
        spec.own_settings(TOOLS, {"replay_buffer_size": 0})


def test_a_method_reads_what_it_owns_and_training_if_it_trains() -> None:
    methods = methods_of("compositional")
    for key, readers in (
        ("training.lr", {"tokmem", "tokmem_dc"}),
        ("training.epochs", {"tokmem", "tokmem_dc", "lora", "replay"}),
        ("lora.lr", {"lora", "replay"}),
        ("rates", {"tokmem", "tokmem_dc"}),
        ("renorm", {"tokmem", "tokmem_dc"}),
        ("prompting.few_shot", {"icl", "rag"}),
        ("rounds.num_rounds", set()),
    ):
        assert {name for name, spec in methods.items() if spec.reads(key)} == readers, key


def test_a_searched_rate_replaces_the_configured_one() -> None:
    setup = Setup(tiny(), fit=FitSettings(lr=0.1, epochs=3), seed=5)
    assert setup.training() == FitSettings(lr=0.1, epochs=3, seed=5)
    assert setup.training(lr=0.2).lr == 0.2
    assert Setup(setup.backbone, rate=0.3).training(lr=0.2).lr == 0.3


def test_a_config_checks_types_of_what_it_is_given() -> None:
    for wrong in ({"seeds": [0]}, {"width": "two"}, {"rates": (True,)}):
        with pytest.raises(ConfigError, match=f"AtomicConfig: {next(iter(wrong))}"):
            AtomicConfig(**wrong)
