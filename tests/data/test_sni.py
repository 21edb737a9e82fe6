from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tokmem.data import SniSpec, load_tasks
from tokmem.errors import ConfigError, DataError

SPEC = SniSpec(train_size=4, val_size=2, test_size=3)


def task(count=12, **changes):
    return {
        "Definition": [
            "Say it back. Say all of it. " + "Then say what it was that you were told to say back. " * 4
        ],
        "Input_language": ["English"],
        "Output_language": ["English"],
        "Instruction_language": ["English"],
        "Positive Examples": [{"input": "shown 1", "output": "A"}, {"input": "shown 2", "output": "B"}],
        "Instances": [{"input": f"say {i}", "output": [f" {i} ", f"no. {i}"]} for i in range(count)],
    } | changes


@pytest.fixture
def folder(tmp_path):
    for name in ("task10_ten", "task9_nine", "task100_hundred"):
        (tmp_path / f"{name}.json").write_text(json.dumps(task()))
    return tmp_path


def queries(examples):
    return [example.query for example in examples]


def test_a_task_becomes_a_procedure_and_its_examples(folder):
    corpus = load_tasks(folder, replace(SPEC, few_shot=1))
    assert corpus.names == ("task9_nine", "task10_ten", "task100_hundred")
    assert (
        corpus.procedures[0].description
        == (
            "Say it back. Say all of it. " + "Then say what it was that you were told to say back. " * 2
        ).rstrip()
    )
    example = corpus.test["task9_nine"][0]
    number = example.query.split()[1]
    assert [(turn.procedure, turn.response) for turn in example.turns] == [("task9_nine", number)]
    assert example.references == (number, f"no. {number}")
    assert [(d.query, d.response) for d in example.demonstrations] == [("shown 1", "A")]
    assert len(corpus.examples("train")) == 12
    parts = [queries(corpus.by_procedure(split)["task9_nine"]) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [4, 2, 3]
    assert len({query for part in parts for query in part}) == 9


def test_nan_in_a_field_that_nothing_reads_is_no_fault(tmp_path):
    (tmp_path / "task603_published.json").write_text(json.dumps(task(URL=[float("nan")])))
    assert load_tasks(tmp_path, SPEC).names == ("task603_published",)
    (tmp_path / "task603_published.json").write_text(json.dumps(task(Definition=[float("nan")])))
    with pytest.raises(DataError, match="task603_published"):
        load_tasks(tmp_path, SPEC)


def test_splits_are_nested_and_the_test_set_stands(folder):
    small = load_tasks(folder, replace(SPEC, num_tasks=2))
    large = load_tasks(folder, replace(SPEC, train_size=7, val_size=0))
    assert small.names == large.names[:2]
    for name in small.names:
        assert small.test[name] == large.test[name]
        assert small.train[name] == large.train[name][:4]


def test_the_order_of_instances_and_the_other_tasks_change_nothing(folder):
    before = load_tasks(folder, SPEC)
    turned = task()
    turned["Instances"].reverse()
    (folder / "task10_ten.json").write_text(json.dumps(turned))
    (folder / "task9_nine.json").unlink()
    after = load_tasks(folder, SPEC)
    for split in ("train", "validation", "test"):
        assert after.by_procedure(split)["task10_ten"] == before.by_procedure(split)["task10_ten"]
    assert after.checksum != before.checksum


def test_tasks_are_ranked_each_in_its_own_way(folder):
    corpus = load_tasks(folder, SPEC)
    assert queries(corpus.test["task9_nine"]) != queries(corpus.test["task10_ten"])


def test_an_input_that_stands_twice_is_one_example_with_all_references(folder):
    instances = task()["Instances"] + [{"input": "say 3 ", "output": ["three", "3"]}]
    (folder / "task9_nine.json").write_text(json.dumps(task(Instances=instances)))
    corpus = load_tasks(folder, SniSpec(train_size=12, val_size=0, test_size=0))
    found = [example for example in corpus.train["task9_nine"] if example.query == "say 3"]
    assert [example.references for example in found] == [("3", "no. 3", "three")]


def test_what_cannot_be_used_is_skipped_or_dropped_and_named(folder):
    shown = {"input": "shown 1", "output": ["A"]}
    blank = {"input": " ", "output": ["x"]}
    (folder / "task9_nine.json").write_text(json.dumps(task(Input_language=["English", "French"])))
    (folder / "task10_ten.json").write_text(json.dumps(task(Instances=[*task(8)["Instances"], shown, blank])))
    corpus = load_tasks(folder, SPEC)
    assert corpus.names == ("task100_hundred",)
    assert corpus.skipped["task9_nine"] == "Input_language is English, French"
    assert corpus.skipped["task10_ten"].startswith("8 usable instances of 9")
    assert corpus.dropped == {"task10_ten": 1}
    with pytest.raises(DataError, match="1 usable tasks, 2 skipped"):
        load_tasks(folder, replace(SPEC, num_tasks=2))


def test_over_long_examples_are_dropped_and_counted(folder):
    long = task(12)
    for instance in long["Instances"][:2]:
        instance["input"] = "say " * 50
    long["Instances"][1]["input"] += "again"
    (folder / "task9_nine.json").write_text(json.dumps(long))
    spec = SniSpec(train_size=10, val_size=0, test_size=0, max_instruction_tokens=80)
    corpus = load_tasks(folder, spec, lambda text: len(text.split()))
    assert not [query for query in queries(corpus.train["task9_nine"]) if len(query.split()) > 2]
    assert 1 <= corpus.dropped["task9_nine"] <= 2
    with pytest.raises(ConfigError, match="count_tokens"):
        load_tasks(folder, spec)


def test_tasks_are_chosen_by_name(folder):
    chosen = load_tasks(folder, replace(SPEC, tasks=("task100_hundred", "task9_nine")))
    assert chosen.names == ("task9_nine", "task100_hundred")
    with pytest.raises(DataError, match=r"close: task9_nine"):
        load_tasks(folder, replace(SPEC, tasks=("task9_nin",)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"task9_nine\.json"),
        ("[]", r"task9_nine\.json.*wanted: an object"),
        (json.dumps({k: v for k, v in task().items() if k != "Definition"}), "no `Definition`"),
        (json.dumps(task(Instances=[])), "empty `Instances`"),
        (json.dumps(task(Instances=[{"input": "x"}])), r"`Instances`\[0\]: no `output`"),
        (json.dumps(task(Instances=[{"input": 3, "output": ["x"]}])), r"`Instances`\[0\]: `input`: int"),
        (json.dumps(task(Input_language="")), "Input_language is"),
    ],
)
def test_malformed_files_are_named(tmp_path, content, message):
    (tmp_path / "task9_nine.json").write_text(content)
    with pytest.raises(DataError, match=message):
        load_tasks(tmp_path, SPEC)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no task files"):
        load_tasks(tmp_path, SPEC)


@pytest.mark.parametrize("sizes", [{"train_size": -1}, {"num_tasks": 0}])
def test_sizes_are_checked(sizes):
    with pytest.raises(ConfigError, match=next(iter(sizes))):
        SniSpec(**sizes)


@pytest.mark.realdata
def test_every_file_of_the_data_set_can_be_read(real_data):
    corpus = load_tasks(real_data / "sni" / "tasks", SniSpec(train_size=50, val_size=5, test_size=20))
    assert len(corpus.names) > 150


@pytest.mark.realdata
def test_every_evaluation_task_loads(real_data):
    names = tuple(json.loads((real_data / "sni" / "splits.json").read_text())["evaluation"])
    corpus = load_tasks(
        real_data / "sni" / "tasks", SniSpec(train_size=50, val_size=5, test_size=20, few_shot=2, tasks=names)
    )
    assert sorted(corpus.names) == sorted(names)
    assert not corpus.skipped
    assert len(corpus.examples("test")) == 20 * len(names)
    assert all(example.turns[0].response in example.references for example in corpus.examples("train"))
    for name in names:
        trained = set(queries(corpus.train[name])) | set(queries(corpus.validation[name]))
        assert not trained & set(queries(corpus.test[name]))
