"""A plain Hugging Face folder does what the memory does, and the backbone stays as it is."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tests.data.tiny_chat import LLAMA, QWEN
from tests.export.tiny_memory import KINDS, PROCEDURES, logit_gap, tiny_memory
from tokmem.data.chat import Chat
from tokmem.errors import BankError, ExportError, TokMemError
from tokmem.export import export
from tokmem.export.checks import check_logits, check_parsing, check_prompts, check_tokens
from tokmem.export.model import greedy, least_likely, plain_model
from tokmem.export.probes import probes
from tokmem.export.vocabulary import plan_vocabulary
from tokmem.methods.tokmem import TokMem
from tokmem.model.fingerprint import fingerprint
from tokmem.records import Procedure

CASES = [
    (kind, tied, coupled, policy)
    for kind in KINDS
    for tied in (True, False)
    for coupled in (True, False)
    for policy in ("spare", "append")
]


def saved(memory: TokMem, folder: Path) -> PreTrainedModel:
    plain_model(memory, plan_vocabulary(memory)).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.mark.parametrize(("kind", "tied", "coupled", "policy"), CASES)
def test_logits_are_equal(kind: str, tied: bool, coupled: bool, policy: str, tmp_path: Path) -> None:
    memory = tiny_memory(kind, tied=tied, coupled=coupled, policy=policy)
    before = fingerprint(memory.backbone.model)
    model = saved(memory, tmp_path)
    assert logit_gap(memory, model) < 1e-5
    assert model.config.tie_word_embeddings is (tied and coupled)
    assert fingerprint(memory.backbone.model) == before


@pytest.mark.parametrize("template", [LLAMA, QWEN, None])
def test_a_folder_passes_its_own_checks(template: str | None, tmp_path: Path) -> None:
    memory = tiny_memory(template=template, coupled=False)
    made = export(memory, tmp_path / "served")
    assert made.difference is not None
    assert made.difference < 1e-5
    facts = json.loads((made.folder / "tokmem.json").read_text("utf-8"))
    assert facts["procedures"]["weather"] == {
        "id": memory.bank.slots.ids("weather")[0],
        "text": "[TOOL_CALLS]weather[ARGS]",
        "name": "weather",
        "tool": True,
    }
    card = (made.folder / "README.md").read_text("utf-8")
    assert all(procedure.description in card for procedure in PROCEDURES)
    generation = json.loads((made.folder / "generation_config.json").read_text("utf-8"))
    assert generation["do_sample"] is False
    assert memory.chat.stop in generation["eos_token_id"]


def test_rows_that_nothing_uses_are_named_and_never_chosen(tmp_path: Path) -> None:
    memory = tiny_memory(policy="append")
    memory.remove("weather")
    vocabulary = plan_vocabulary(memory)
    first = vocabulary.old
    assert vocabulary.new_fillers == [first]
    made = export(memory, tmp_path / "served")
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    model = AutoModelForCausalLM.from_pretrained(made.folder)
    assert len(tokenizer) == model.config.vocab_size == vocabulary.rows
    logits = model(input_ids=torch.randint(0, first, (4, 64))).logits
    assert not (logits.argmax(-1) == first).any()


@pytest.mark.parametrize(("own", "wanted"), [(7, {7}), ([7, 8], {7, 8}), (None, set())])
def test_generation_also_stops_where_the_backbone_does(own: int | list[int] | None, wanted: set[int]) -> None:
    memory = tiny_memory()
    memory.backbone.model.generation_config.eos_token_id = own
    assert set(greedy(memory).eos_token_id) == wanted | {memory.chat.stop}


def test_the_least_likely_token_is_so_after_all_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tiny_memory()
    shown = probes(memory)
    each = [memory.backbone.model(input_ids=torch.tensor([one.ids])).logits[0].amax(0) for one in shown]
    for highest in each:
        highest[memory.bank.ids_within(0, len(highest))] = torch.inf
    wanted = int(torch.stack(each).amax(0).argmin())
    order = sorted(range(len(shown)), key=lambda i: int(each[i].argmin()) != wanted)
    assert int(each[order[-1]].argmin()) != wanted, "the last prompt alone tells another token"
    monkeypatch.setattr("tokmem.export.model.probes", lambda _: [shown[i] for i in order])
    assert least_likely(memory) == wanted


@pytest.mark.parametrize("length", [48, 90])
def test_a_memory_of_short_prompts_is_exported_and_checked(length: int, tmp_path: Path) -> None:
    memory = tiny_memory(policy="append")
    memory.max_length = length
    made = export(memory, tmp_path / "served")
    assert made.difference is not None
    assert memory.max_length == length


def test_private_spelling_is_read_too(tmp_path: Path) -> None:
    made = export(tiny_memory(), tmp_path / "served", spelling="private")
    assert made.texts["maps.find"] == "<|tokmem|>maps.find<|args|>"


@pytest.mark.parametrize("template", [LLAMA, QWEN])
def test_calls_that_learned_their_end_are_read_as_hermes(template: str, tmp_path: Path) -> None:
    memory = tiny_memory(template=template, call_style="hermes")
    made = export(memory, tmp_path / "served")
    assert made.texts["maps.find"] == '<tool_call>\n{"name": "maps.find", "arguments": '
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    call = {"function": {"name": "maps.find", "arguments": {"place": "Lima"}}}
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call]}]
    written = tokenizer.apply_chat_template(turns, tokenize=False)
    shown = '<tool_call>\n{"name": "maps.find", "arguments": {"place": "Lima"}}\n</tool_call>'
    assert shown in written


def test_a_system_prompt_is_part_of_the_export(tmp_path: Path) -> None:
    memory = tiny_memory()
    memory.chat = Chat(memory.backbone.tokenizer, 'Answer in "one" word.')
    made = export(memory, tmp_path / "served")
    asked = [{"role": "user", "content": "hi"}]
    text = AutoTokenizer.from_pretrained(made.folder).apply_chat_template(asked, tokenize=False)
    assert 'Answer in "one" word.' in text


def test_checks_find_what_is_wrong(tmp_path: Path) -> None:
    memory = tiny_memory()
    vocabulary = plan_vocabulary(memory)
    folder = export(memory, tmp_path / "served").folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight[vocabulary.ids["weather"]] *= 1.01
    with pytest.raises(ExportError, match="logits of the export differ"):
        check_logits(memory, model)
    tokenizer.response_template["fields"]["tool_calls"]["close_pattern"] = "never"
    with pytest.raises(ExportError, match=r"response of .* read whole"):
        check_parsing(memory, vocabulary, tokenizer)
    tokenizer.chat_template = "Say: " + tokenizer.chat_template
    with pytest.raises(ExportError, match="prompt of"):
        check_prompts(memory, vocabulary, tokenizer)
    tokenizer.add_tokens(["<extra>"])
    vocabulary = replace(vocabulary, rows=vocabulary.rows + 1)
    with pytest.raises(ExportError, match="ids of texts in the export"):
        check_tokens(memory, vocabulary, tokenizer)


@pytest.mark.parametrize(
    ("memory", "match"),
    [
        (tiny_memory(width=2), "2 memory tokens wide"),
        (tiny_memory(procedures=()), "an empty bank"),
        (tiny_memory(procedures=[Procedure("x" * 300)]), "shorter name"),
    ],
    ids=["wide", "empty", "long name"],
)
def test_what_no_engine_can_serve_is_refused(memory: TokMem, match: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=match):
        export(memory, tmp_path / "served")
    assert not list(tmp_path.iterdir())


def test_awkward_names_are_served(tmp_path: Path) -> None:
    schema = PROCEDURES[0].parameters
    names = ('say "no"', "f[0]", "<|im_end|>", "a|>b", "größe", "éß", "数")
    memory = tiny_memory(procedures=[Procedure(name, "", schema) for name in names])
    texts = export(memory, tmp_path / "served").texts
    assert texts['say "no"'] == "[TOOL_CALLS]say%20%22no%22[ARGS]"
    assert len(set(texts.values())) == len(names)
    with pytest.raises(BankError, match="on one line"):
        tiny_memory(procedures=[Procedure("two\nlines", "", schema)])


def test_an_unknown_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="form 'onnx'"):
        export(tiny_memory(), tmp_path / "served", to="onnx")  # type: ignore[arg-type]


def test_a_users_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(TokMemError, match=r"holds .thesis\.txt.*one with tokmem\.json"):
        export(tiny_memory(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tokmem.export.hf.write_tokenizer", full)
    with pytest.raises(TokMemError, match="disk full"):
        export(tiny_memory(), tmp_path / "served")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_file_that_a_user_put_into_an_export_stays(tmp_path: Path) -> None:
    folder = export(tiny_memory(), tmp_path / "served", check=False).folder
    export(tiny_memory(), folder, check=False)
    (folder / "model-Q4_K_M.gguf").write_text("converted by hand")
    with pytest.raises(TokMemError, match=r"holds 'model-Q4_K_M\.gguf'"):
        export(tiny_memory(), folder, check=False)
    assert (folder / "model-Q4_K_M.gguf").read_text() == "converted by hand"


def test_the_card_has_the_scores_of_the_bank(tmp_path: Path) -> None:
    memory = tiny_memory()
    memory.save(tmp_path / "bank", {"scores": {"routing_accuracy": 98.5, "examples": 20, "sha256": "ab"}})
    loaded = TokMem.load(tmp_path / "bank", memory.backbone)
    card = (export(loaded, tmp_path / "served", check=False).folder / "README.md").read_text("utf-8")
    assert "| routing: the right procedure was chosen | 98.5% |" in card
    assert "Examples: 20" in card
    assert "earlier state" not in card
