from __future__ import annotations

import errno
import json
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.forked import forked
from tests.tiny_gguf import chat_tokenizer, write_gguf
from tokmem.bank.store import load_bank
from tokmem.data.chat import Chat
from tokmem.errors import BackboneError, TokMemError
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import load_backbone
from tokmem.model.converted import FACTS, backbones_folder, file_sha256
from tokmem.model.fingerprint import fingerprint
from tokmem.model.gguf import _name_rows, count_weights, find_gguf, open_gguf, read_tokenizer
from tokmem.records import Procedure

TEXT = "name the <unused0> capital 12\n\n34 <|im_end|> of a country"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokmem" / "backbones"


def write(folder: Path, **options: str) -> Path:
    path = folder / "tiny.gguf"
    write_gguf(path, **options)
    return path


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_a_file_loads_with_the_weights_that_the_reference_dequantises(tmp_path: Path, kind: str) -> None:
    expected = write_gguf(tmp_path / "tiny.gguf", kind=kind)
    loaded = load_backbone(str(tmp_path / "tiny.gguf"), device="cpu")
    ids = torch.arange(3, 40)[None]
    assert loaded.model.dtype == torch.float32
    torch.testing.assert_close(loaded.model(ids).logits, expected(ids).logits, rtol=0, atol=0)
    assert loaded.fingerprint == fingerprint(expected)
    assert (loaded.id, loaded.source_sha256) == ("tiny.gguf", file_sha256(tmp_path / "tiny.gguf"))


def test_the_files_own_template_and_special_tokens_come_along(tmp_path: Path) -> None:
    own, loaded = chat_tokenizer(), load_backbone(str(write(tmp_path)), device="cpu").tokenizer
    assert loaded.tokenize(TEXT) == own.tokenize(TEXT)
    assert loaded.special_tokens_map == own.special_tokens_map
    assert Chat(loaded).prompt_ids(Chat(loaded).text_ids(TEXT)) == Chat(own).prompt_ids(
        Chat(own).text_ids(TEXT)
    )
    assert Chat(loaded).stop == own.eos_token_id


def test_the_file_says_which_token_ends_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    real = AutoTokenizer.from_pretrained

    def mistaken(*args: Any, **options: Any) -> PreTrainedTokenizerBase:
        tokenizer: PreTrainedTokenizerBase = real(*args, **options)
        tokenizer.eos_token = tokenizer.bos_token  # as transformers 5.17 does
        return tokenizer

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", mistaken)
    tokenizer = read_tokenizer(tmp_path / "tiny.gguf", open_gguf(tmp_path / "tiny.gguf"))
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")


def test_a_token_that_is_matched_whole_is_so_whatever_transformers_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    real = AutoTokenizer.from_pretrained

    def without(*args: Any, **options: Any) -> PreTrainedTokenizerBase:
        tokenizer: PreTrainedTokenizerBase = real(*args, **options)
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        spec["added_tokens"] = [one for one in spec["added_tokens"] if one["content"] != "<unused0>"]
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(spec))
        assert "<unused0>" not in tokenizer.tokenize(TEXT)
        return tokenizer

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", without)
    tokenizer = read_tokenizer(tmp_path / "tiny.gguf", open_gguf(tmp_path / "tiny.gguf"))
    assert "<unused0>" in tokenizer.tokenize(TEXT)


def test_a_row_gets_the_text_that_the_file_gives_it() -> None:
    tokenizer = chat_tokenizer()
    before = tokenizer.get_vocab()
    row = before["~"]
    _name_rows(tokenizer, {row: "two words\n"})
    assert tokenizer.get_vocab() == {("two words\n" if i == row else t): i for t, i in before.items()}


def test_every_digit_stands_apart_where_the_vocabulary_was_learned_so(tmp_path: Path) -> None:
    loaded = load_backbone(str(write(tmp_path)), device="cpu").tokenizer
    pieces = loaded.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12")
    assert [piece for piece, _ in pieces] == ["a", "ĠĠ", "1", "2"]


def test_a_bank_names_the_file(tmp_path: Path) -> None:
    loaded = load_backbone(str(write(tmp_path)), device="cpu")
    memory = TokMem(loaded)
    memory.add([Procedure("capital", "Name the capital.")])
    memory.save(tmp_path / "bank")
    assert load_bank(tmp_path / "bank")[1].source_sha256 == loaded.source_sha256
    assert loaded.source_sha256 in (tmp_path / "bank" / "README.md").read_text("utf-8")


def test_the_second_use_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    first = load_backbone(str(path), device="cpu")
    monkeypatch.setattr("tokmem.model.gguf.open_gguf", lambda _: pytest.fail("converted again"))
    shutil.move(path, tmp_path / "renamed.gguf")
    again = load_backbone(f"{tmp_path}:renamed.gguf", device="cpu")
    assert (again.fingerprint, again.id) == (first.fingerprint, "renamed.gguf")


def test_each_dtype_is_converted_by_itself(tmp_path: Path, own_cache: Path) -> None:
    path = write(tmp_path)
    full, half = (load_backbone(str(path), dtype=d, device="cpu") for d in ("auto", "bfloat16"))
    assert (full.model.dtype, half.model.dtype) == (torch.float32, torch.bfloat16)
    assert full.fingerprint == half.fingerprint
    assert sorted(p.name[33:] for p in own_cache.glob("[0-9a-f]*")) == ["bfloat16", "float32"]


def load_in_process(path: str, cache: str) -> str:
    os.environ["XDG_CACHE_HOME"] = cache
    return load_backbone(path, device="cpu").fingerprint


def test_processes_at_once_convert_once(tmp_path: Path, own_cache: Path) -> None:
    path = str(write(tmp_path))
    with ProcessPoolExecutor(3, mp_context=forked()) as pool:
        found = set(pool.map(load_in_process, [path] * 3, [str(tmp_path / "cache")] * 3))
    assert found == {load_backbone(path, device="cpu").fingerprint}
    assert len(list(own_cache.glob("*/source.json"))) == 1
    assert not list(own_cache.glob(".*tokmem-*"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3_000])


def cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def other_content(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(1_000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, cut_header, other_content, empty])
def test_a_damaged_file_is_refused_and_leaves_nothing(tmp_path: Path, own_cache: Path, damage) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path)
    damage(path)
    with pytest.raises(BackboneError, match=r"tiny\.gguf is damaged or no GGUF file"):
        load_backbone(str(path))
    assert not [p for p in own_cache.iterdir() if not p.name.endswith(".lock")]


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({"num_hidden_layers": 1 << 30}, "block_count 1073741824; wanted: at most"),
        ({"intermediate_size": 1 << 30}, "feed_forward_length"),
        ({"hidden_size": 1 << 30}, "embedding_length"),
        ({"num_hidden_layers": 0}, "block_count 0; wanted: a positive number"),
        ({"intermediate_size": 32}, "cannot be read"),
        ({"num_attention_heads": 3}, "cannot be read"),
        ({"num_attention_heads": 0}, "cannot be read"),
    ],
)
def test_sizes_that_the_tensors_cannot_have_are_refused(
    tmp_path: Path, entry: dict[str, int], match: str
) -> None:
    """A model of that many layers would fill the memory first."""
    write_gguf(tmp_path / "odd.gguf", sizes=entry)
    with pytest.raises(BackboneError, match=match):
        load_backbone(str(tmp_path / "odd.gguf"))


def test_a_merge_of_a_token_that_there_is_not_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "odd.gguf", first_merge="no suchtoken")
    with pytest.raises(BackboneError, match=r"the tokenizer in .* cannot be read"):
        load_backbone(str(tmp_path / "odd.gguf"))


def test_a_missing_weight_or_one_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"lacks weights: model\.layers\.1\.mlp\.up_proj\.weight"):
        load_backbone(str(write(tmp_path, leave_out="1.mlp.up_proj.weight")))
    with pytest.raises(BackboneError, match=r"not finite: model\.norm\.weight"):
        load_backbone(str(write(tmp_path, spoil="model.norm.weight")))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "source.json"])
def test_a_damaged_conversion_is_made_anew(tmp_path: Path, own_cache: Path, name: str) -> None:
    path = write(tmp_path)
    before = load_backbone(str(path), device="cpu").fingerprint
    (kept,) = own_cache.glob(f"*/{name}")
    kept.write_bytes(kept.read_bytes()[:-5])
    assert load_backbone(str(path), device="cpu").fingerprint == before


def test_changed_weights_in_the_cache_are_refused(tmp_path: Path, own_cache: Path) -> None:
    path = write(tmp_path)
    load_backbone(str(path), device="cpu")
    (kept,) = own_cache.glob("*/model.safetensors")
    data = bytearray(kept.read_bytes())
    data[-1] ^= 0x40  # a float's exponent, high byte last
    kept.write_bytes(data)
    with pytest.raises(
        BackboneError, match=r"is damaged: its weights have another fingerprint.*remove the folder"
    ):
        load_backbone(str(path), device="cpu")


def test_a_full_disk_is_seen_before_and_while_writing(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
        needed = 4 * count_weights(open_gguf(path)) + (16 << 20)  # float32, and room for the rest
        with pytest.raises(
            TokMemError, match=rf"5 bytes free; wanted: at least {needed:,} bytes; .*XDG_CACHE_HOME"
        ):
            load_backbone(str(path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk_full)
        with pytest.raises(TokMemError, match="disk full while writing"):
            load_backbone(str(path))
    assert not list(own_cache.glob("*/source.json"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(TokMemError, match=r"cannot be written.*set XDG_CACHE_HOME"):
        load_backbone(str(path))


def test_a_file_is_found_by_path_folder_or_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    assert find_gguf(str(path)) == find_gguf(f"{tmp_path}:tiny.gguf") == path
    (tmp_path / "a:b").mkdir()
    odd = write(tmp_path / "a:b")
    assert find_gguf(f"{odd.parent}:tiny.gguf") == odd
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda place, file: f"{tmp_path}/{file}")
    assert find_gguf("owner/name:tiny.gguf") == path

    def offline(*_: str) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(BackboneError, match=r"tiny\.gguf of owner/name cannot be downloaded \(offline\)"):
        find_gguf("owner/name:tiny.gguf")
    for name in ("nowhere.gguf", f"{tmp_path}:other.gguf", "a/b/c:other.gguf"):
        with pytest.raises(BackboneError, match="no file"):
            find_gguf(name)


def test_the_cache_lies_where_the_user_says(own_cache: Path) -> None:
    assert backbones_folder() == own_cache


@pytest.mark.parametrize("facts", [b"[]", b"5", b'{"files": ["a"]}', b"[" * 100_000])
def test_a_conversion_with_odd_facts_is_made_anew(tmp_path: Path, own_cache: Path, facts: bytes) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    first = load_backbone(str(tmp_path / "tiny.gguf"), device="cpu")
    (held,) = own_cache.glob(f"*/{FACTS}")
    if facts.startswith(b"{"):
        facts = json.dumps(json.loads(held.read_bytes()) | json.loads(facts)).encode()
    held.write_bytes(facts)
    assert load_backbone(str(tmp_path / "tiny.gguf"), device="cpu").fingerprint == first.fingerprint
    assert isinstance(json.loads(held.read_bytes())["files"], dict)


def test_a_header_whose_text_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    key = b"general.architecture"
    whole = path.read_bytes()
    place = whole.index(key) + len(key) + 12  # behind the kind and the length
    assert whole[place : place + 5] == b"llama"
    path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
    with pytest.raises(BackboneError, match=r"whose general\.architecture cannot be read"):
        load_backbone(str(path))


def test_a_header_with_an_endless_list_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    whole, key = path.read_bytes(), b"tokenizer.ggml.tokens"
    place = whole.index(key) + len(key) + 8  # behind the kinds of the value and of its items
    path.write_bytes(whole[:place] + (1 << 40).to_bytes(8, "little") + whole[place + 8 :])
    began = time.monotonic()
    with pytest.raises(BackboneError, match="damaged or no GGUF file"):
        open_gguf(path)
    assert time.monotonic() - began < 5


def test_a_missing_file_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no file .*check the path"):
        open_gguf(tmp_path / "none.gguf")
