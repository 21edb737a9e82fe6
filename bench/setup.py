"""Makes what a measurement needs: the settings, the backbone, and real queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from pretraining.families import FAMILIES
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.data.chat import Chat
from tokmem.data.corpus import Corpus
from tokmem.data.encode import Encoder
from tokmem.data.sni import SniSpec, load_tasks
from tokmem.errors import ConfigError, DataError
from tokmem.mini.corpus import procedures_corpus
from tokmem.model.backbone import load_backbone
from tokmem.model.catalog import locate
from tokmem.model.hardware import pick_device
from tokmem.records import Encoded, Example, Procedure
from tokmem.seeds import generator, stream

RANDOM = "random"
SHAPE = {"layers": 24, "hidden": 896, "heads": 14, "kv-heads": 2, "intermediate": 4864, "vocab": 151936}
DRAWN = 40  # examples of a procedure that batches are drawn from


@dataclass(frozen=True)
class Settings:
    """Shape, data and machine of a measurement; the defaults are a 0.5B-shaped Llama and the paper's batch.

    Attributes:
        backbone: random weights of the shape below, or what `load_backbone` takes, with its own shape.
        layers, hidden, heads, kv_heads, intermediate, vocab: shape of the backbone.
        dtype: dtype of the backbone.
        batch: queries in a training step.
        steps: timed rounds, each with a batch of its own.
        procedures: memory tokens in the bank.
        max_length: the most tokens in a sequence; the end of a longer query is cut, as in training.
        tasks_dir: Super-NaturalInstructions task files; None takes generated procedures.
        tokenizer: folder or backbone that has the tokenizer.
        device: torch device, or auto.
        threads: CPU threads; 0 keeps torch's choice.
        lr: AdamW's rate.
        seed: seeds weights and batches.
    """

    backbone: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    dtype: str
    batch: int
    steps: int
    procedures: int
    max_length: int
    tasks_dir: str | None
    tokenizer: str
    device: str
    threads: int
    lr: float
    seed: int


@dataclass(frozen=True)
class Queries:
    """Encoded training examples and their source.

    Attributes:
        batches: one a round; none occurs twice unless there are too few.
        names: procedures of the bank, in slot order.
        source: name of the data.
        checksum: checksum of the data.
        cut: number of encoded queries that were cut to the length limit.
    """

    batches: tuple[tuple[Encoded, ...], ...]
    names: tuple[str, ...]
    source: str
    checksum: str
    cut: int

    @property
    def longest(self) -> tuple[Encoded, ...]:
        """Returns the batch with the most padded positions: it decides the peak of memory."""
        return max(self.batches, key=lambda batch: len(batch) * max(len(e.ids) for e in batch))


def prepare(settings: Settings) -> None:
    """Sets threads and seed."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)


def build_model(settings: Settings) -> PreTrainedModel:
    """Builds the frozen backbone; a random one is a Llama whose embedding is also its output head."""
    if settings.backbone != RANDOM:
        model = load_backbone(settings.backbone, dtype=settings.dtype, device=settings.device).model
        return widened(model, memory_ids(settings).rows).requires_grad_(False)
    config = LlamaConfig(
        vocab_size=settings.vocab,
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        max_position_embeddings=max(2048, settings.max_length),
        tie_word_embeddings=True,
    )
    with torch.device(pick_device(settings.device)):
        torch.manual_seed(settings.seed)
        model = LlamaForCausalLM._from_config(config, dtype=getattr(torch, settings.dtype))
    return model.eval().requires_grad_(False)


def widened(model: PreTrainedModel, rows: int) -> PreTrainedModel:
    """Gives the vocabulary this many rows; the new ones are copies of the first."""
    own = model.get_input_embeddings().num_embeddings
    if rows > own:
        model.resize_token_embeddings(rows, mean_resizing=False)
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            with torch.no_grad():
                module.weight[own:] = module.weight[: rows - own]
    return model


def build_bank(settings: Settings, model: PreTrainedModel, names: Sequence[str]) -> Bank:
    """Builds a bank on rows that no text uses, from the backbone's own rows, exact in its dtype."""
    weight = model.get_input_embeddings().weight
    bank = Bank(settings.hidden, memory_ids(settings))
    # The library's own starts would copy the whole weight as float32, which takes as much as the model.
    picks = torch.randint(len(weight), (len(names),), generator=generator(settings.seed, "start"))
    rows = weight[picks.to(weight.device)].float()
    bank.add([Procedure(name) for name in names], rows[:, None])
    return bank


@cache
def memory_ids(settings: Settings) -> IdSpace:
    """Returns one id a procedure within the vocabulary, where the plain loop and PEFT train rows too.

    These are the last rows of a random backbone. Others give their spare rows, and get more if these are too
    few (`widened`).
    """
    if settings.backbone != RANDOM:
        space = load_backbone(settings.backbone, dtype=settings.dtype).id_space()
        rows = space.rows + max(0, settings.procedures - len(space.spare))
        return IdSpace(rows, (*space.spare[: settings.procedures], *range(space.rows, rows)))
    return IdSpace(settings.vocab, tuple(range(settings.vocab - settings.procedures, settings.vocab)))


def load_queries(settings: Settings) -> Queries:
    """Draws a batch for each round.

    Raises:
        ConfigError: the vocabulary is too small for tokenizer and bank, or there are too few procedures.
    """
    source = locate(settings.tokenizer, getattr(torch, settings.dtype), "cpu")
    tokenizer = AutoTokenizer.from_pretrained(source.path)
    spare = memory_ids(settings).spare
    if settings.backbone == RANDOM and spare[0] < len(tokenizer):
        raise ConfigError(
            f"a vocabulary of {settings.vocab} rows",
            f"{len(tokenizer)} for the tokenizer and {len(spare)} beside it",
        )
    if settings.tasks_dir:
        spec = SniSpec(train_size=DRAWN, val_size=0, test_size=0)
        corpus, source = load_tasks(Path(settings.tasks_dir), spec), "Super-NaturalInstructions"
    else:
        corpus, source = _generated(settings), "generated procedures under long instructions"
    # A random choice, because the corpora are in an order.
    names = sorted(
        stream(settings.seed, "procedures").sample(corpus.names, min(len(corpus.names), len(spare)))
    )
    if len(names) < len(spare):
        raise ConfigError(f"{len(names)} procedures in the data", f"{len(spare)}", "lower --procedures")
    ids = {name: (spare[slot],) for slot, name in enumerate(names)}
    encoder = Encoder(Chat(tokenizer), ids, max_length=settings.max_length)
    examples = _encodable(encoder, corpus, names, stream(settings.seed, "batches"))
    batches = tuple(tuple(next(examples) for _ in range(settings.batch)) for _ in range(settings.steps))
    return Queries(batches, tuple(names), source, corpus.checksum, encoder.truncated)


def _encodable(encoder: Encoder, corpus: Corpus, names: Sequence[str], rng: Random) -> Iterator[Encoded]:
    """Returns examples in random order, without those whose instruction alone exceeds the length limit.

    Raises:
        ConfigError: every example exceeds it.
    """
    pool = [example for name in names for example in corpus.train[name]]
    while True:
        rng.shuffle(pool)
        found = False
        for example in pool:
            try:
                encoded = encoder.encode(example)
            except DataError:
                continue
            found = True
            yield encoded
        if not found:
            raise ConfigError(
                f"{len(pool)} queries, none within {encoder.max_length} tokens",
                "instructions that leave room for a query",
                "raise --max-length",
            )


def _generated(settings: Settings) -> Corpus:
    """Makes generated procedures whose instructions are as long as those of real tasks.

    A task of Super-NaturalInstructions has a definition of several sentences: a prompt has 187 tokens on
    average (tenth to ninetieth percentile 60 to 403), and 8% of all tokens are supervised. A generated
    procedure has one sentence and short responses. So its wordings are joined, a varying number of solved
    inputs follow them, and short responses are left out.
    """
    corpus = procedures_corpus(FAMILIES, DRAWN, 0, 0, settings.seed)
    wordings = {family.name: family.wordings for family in FAMILIES}
    rng = stream(settings.seed, "instructions")
    long = {}
    for name, examples in corpus.train.items():
        chosen = [example for example in examples if len(example.turns[0].response) >= 28]
        if chosen:
            long[name] = tuple(_lengthen(example, wordings[name], examples, rng) for example in chosen)
    procedures = tuple(p for p in corpus.procedures if p.name in long)
    nothing: dict[str, tuple[Example, ...]] = dict.fromkeys(long, ())
    return Corpus(procedures, long, nothing, nothing, checksum=corpus.checksum)


def _lengthen(example: Example, wordings: Sequence[str], examples: Sequence[Example], rng: Random) -> Example:
    others = [other for other in examples if other is not example]
    shown = rng.sample(others, min(len(others), int(rng.expovariate(1 / 4))))
    solved = [f"Input: {other.query}\nOutput: {other.turns[0].response}" for other in shown]
    instruction = "\n\n".join([" ".join(wordings), *solved])
    return Example(example.query, example.turns, instruction, id=example.id)
