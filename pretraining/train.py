"""Trains the bundled backbone (`tokmem.mini`): seeded, resumable, on CPU or GPU.

    python -m pretraining.train --out build/mini --text pretrain_text.jsonl.gz --steps 5000

Every `--save-minutes` it replaces the folders `OUT/checkpoint` (the same command resumes from it) and
`OUT/backbone` (which transformers loads, in bfloat16). You may change `--steps` on resume: the rate is
constant until the last `--decay` share of the steps, so you can lengthen a run while it still improves.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from pretraining.documents import GENERATED, Document, Exchange, Source, TaskText, documents
from pretraining.tokenizer import save_tokenizer, train_tokenizer
from tokmem.files import recover_folder, replace_folder

LENGTHS = (48, 64, 80, 96, 128, 160, 192, 256, 320, 384)
TEXT_SHARE = 0.10  # of task text among documents
COPY_STEPS = 400
IGNORE = -100
AHEAD, AHEAD_WEIGHT = (2, 3), 0.4  # further positions that some states predict; weight of their losses
WORDS_WEIGHT = 2.0  # weight of the loss on words that ask for the next part


def batched_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Computes causal attention as two batched products: faster than the fused CPU kernel at these sizes.

    Shapes: query (B, H, T, D), key and value (B, G, T, D); returns (B, T, H, D). Documents start at column 0
    and are padded on the right, so a causal mask is enough.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    length = query.shape[2]
    mask = torch.full((length, length), -torch.inf, dtype=query.dtype, device=query.device).triu(1)
    scores = torch.matmul(query * scaling, key.transpose(-1, -2)) + mask
    return torch.matmul(scores.softmax(-1), value).transpose(1, 2).contiguous(), None


AttentionInterface.register("batched", batched_attention)


@dataclass
class Example:
    """Token ids of one document, with a flag a position for training and one for looking ahead.

    ``told`` maps the positions of states that must predict words of the request to the ids of these words.
    """

    ids: list[int]
    trained: list[bool] = field(default_factory=list)
    ahead: list[bool] = field(default_factory=list)
    told: dict[int, list[int]] = field(default_factory=dict)

    def add(self, tokens: list[int], trained: bool = False, ahead: bool = False) -> None:
        """Appends tokens with the same flags."""
        self.ids.extend(tokens)
        self.trained.extend([trained] * len(tokens))
        self.ahead.extend([ahead] * len(tokens))


class Encoder:
    """Encodes documents segment by segment, exactly as the chat template lays them out."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.raw = tokenizer.backend_tokenizer
        ids: dict[str, int] = tokenizer.get_vocab()
        line = self.plain("\n\n")
        start, end = ids["<|start_header_id|>"], ids["<|end_header_id|>"]
        self.bos, self.stop = ids["<|begin_of_text|>"], ids["<|eot_id|>"]
        self.user = [start, *self.plain("user"), end, *line]
        self.assistant = [start, *self.plain("assistant"), end, *line]
        self.first_plain = len(tokenizer.all_special_ids)

    def plain(self, text: str) -> list[int]:
        return list(self.raw.encode(text, add_special_tokens=False).ids)

    def document(self, document: Document) -> Example:
        made = Example([])
        made.add([self.bos])
        for e in document:
            self.open(made, self.plain(e.user), e.train_user)
            self.respond(made, e)
        return made

    def open(self, made: Example, user: list[int], train_user: bool = False) -> None:
        """Adds a user message and the head of the response to it."""
        made.add(self.user)
        made.add(user, train_user)
        made.add([self.stop, *self.assistant])

    def respond(self, made: Example, e: Exchange) -> None:
        """Adds a response and its end."""
        if not e.parts:
            made.add(self.plain(e.response), e.train_response, e.look_ahead)
        for part in e.parts:
            if part.words:
                made.told[len(made.ids) - 1] = self.plain(f" {part.words}")
            made.add(self.plain(part.text), e.train_response, e.look_ahead)
        made.add([self.stop], e.train_response, e.look_ahead)

    def copy(self, rng: random.Random, vocab: int) -> Example:
        """Makes random tokens to repeat: they teach copying before there is language."""
        tokens = [rng.randrange(self.first_plain, vocab) for _ in range(rng.randint(4, 24))]
        made = Example([])
        made.add([self.bos])
        self.open(made, tokens)
        made.add([*tokens, self.stop], trained=True)
        return made


class Batches:
    """Makes seeded micro-batches of about `tokens` tokens; a batch holds documents of one length class."""

    def __init__(
        self, encoder: Encoder, sources: list[tuple[Source, float]], vocab: int, tokens: int, seed: int
    ) -> None:
        self.encoder, self.vocab, self.tokens = encoder, vocab, tokens
        self.rng = random.Random(seed)
        self.stream = documents(sources, self.rng)
        self.waiting: dict[int, list[Example]] = {length: [] for length in LENGTHS}

    def __call__(self, copy_share: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns ids, labels and labels to look ahead to, each (B, T), with IGNORE where there is no loss.

        The last tensor is (N, 2 + W): row and position of each state that must predict words, and the words.
        """
        while True:
            copying = self.rng.random() < copy_share
            example = (
                self.encoder.copy(self.rng, self.vocab)
                if copying
                else self.encoder.document(next(self.stream))
            )
            length = next((n for n in LENGTHS if n >= len(example.ids)), None)
            if length is None or not (any(example.trained) or example.told):
                continue
            self.waiting[length].append(example)
            if len(self.waiting[length]) * length >= self.tokens:
                chosen, self.waiting[length] = self.waiting[length], []
                return self.collate(chosen, length)

    def collate(self, examples: list[Example], length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ids = torch.full((len(examples), length), self.encoder.stop)
        labels, ahead = torch.full_like(ids, IGNORE), torch.full_like(ids, IGNORE)
        for row, example in enumerate(examples):
            tokens, end = torch.tensor(example.ids), len(example.ids)
            ids[row, :end] = tokens
            labels[row, :end] = tokens.where(torch.tensor(example.trained), IGNORE)
            ahead[row, :end] = tokens.where(torch.tensor(example.ahead), IGNORE)
        told = [(row, at, words) for row, e in enumerate(examples) for at, words in e.told.items()]
        width = max((len(words) for _, _, words in told), default=1)
        rows = [[row, at, *words, *[IGNORE] * (width - len(words))] for row, at, words in told]
        return ids, labels, ahead, torch.tensor(rows, dtype=torch.long).reshape(-1, 2 + width)


def build_model(args: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=args.width,
        intermediate_size=args.inner,
        num_hidden_layers=args.layers,
        num_attention_heads=args.width // 64,
        num_key_value_heads=args.width // 128,
        head_dim=64,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="batched",  # type: ignore[call-arg]
    )
    model = LlamaForCausalLM(config)
    model.ahead = nn.ModuleList(nn.Linear(args.width, args.width, bias=False) for _ in AHEAD)
    model.words = nn.Linear(args.width, args.width, bias=False)
    for head in (*model.ahead, model.words):
        nn.init.eye_(head.weight)
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            nn.init.zeros_(parameter)
    return model


def build_optimizers(model: nn.Module, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=args.muon_lr, weight_decay=args.decay_weight),
        torch.optim.AdamW(others, lr=args.adam_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def rate(step: int, args: argparse.Namespace) -> float:
    """Returns the share of the full rate: linear warm-up, constant, then linear to zero (`--decay`)."""
    decay = max(1, int(args.decay * args.steps))
    return min(1.0, (step + 1) / args.warmup, max(0.0, (args.steps - step) / decay))


def loss_sum(
    model: LlamaForCausalLM, ids: Tensor, labels: Tensor, ahead: Tensor, told: Tensor
) -> tuple[Tensor, float]:
    """Sums the training loss, and the cross-entropy of the next token alone, over trained positions.

    Where ``ahead`` holds labels, states must also predict the two tokens after the next, each through a
    matrix that is not exported: they then know what comes, not only how it opens (Gloeckle et al., 2024,
    arXiv 2404.19737). The states that ``told`` names stand before the parts of a response. They must predict
    the words of the request that ask for their part, as a bag, through one more such matrix.
    """
    with torch.autocast(ids.device.type, dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        own = _later_loss(model.lm_head, hidden, labels, 1)
        total = own
        for offset, head in zip(AHEAD, cast(nn.ModuleList, model.ahead), strict=True):
            later = _later_loss(nn.Sequential(head, model.lm_head), hidden, ahead, offset)
            total = total + AHEAD_WEIGHT * later
        if len(told):
            total = total + WORDS_WEIGHT * _words_loss(model, hidden, told)
    return total, float(own.detach())


def _words_loss(model: LlamaForCausalLM, hidden: Tensor, told: Tensor) -> Tensor:
    """Sums the mean cross-entropy of each state's words (N, W), predicted by states of (B, T, D)."""
    row, at, words = told[:, 0], told[:, 1], told[:, 2:]
    chances = model.lm_head(cast(nn.Linear, model.words)(hidden[row, at])).float().log_softmax(-1)
    there = words != IGNORE
    chosen = chances.gather(1, words.where(there, 0)) * there
    return -(chosen.sum(1) / there.sum(1)).sum()


def _later_loss(logits: Callable[[Tensor], Tensor], hidden: Tensor, labels: Tensor, offset: int) -> Tensor:
    """Sums the cross-entropy of labels (B, T) that states (B, T, D) predict ``offset`` positions ahead."""
    targets = labels[:, offset:].reshape(-1)
    chosen = (targets != IGNORE).nonzero().squeeze(1)
    states = hidden[:, : labels.shape[1] - offset].reshape(-1, hidden.shape[-1]).index_select(0, chosen)
    return nn.functional.cross_entropy(logits(states).float(), targets[chosen], reduction="sum")


@dataclass
class State:
    """What a resumed run needs beside weights and moments; `earlier` counts what its start had seen."""

    step: int = 0
    tokens: int = 0
    supervised: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    earlier: dict[str, float] = field(default_factory=dict)


def save(
    out: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    optimizers: Sequence[torch.optim.Optimizer],
    state: State,
    batches: Batches,
) -> None:
    """Writes OUT/checkpoint and OUT/backbone; each is replaced as a whole."""
    tensors = {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        for key, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{key}.{n}": v.detach().clone() for n, v in values.items()}
    version, internal, gauss = batches.rng.getstate()
    facts = {**state.__dict__, "rng": [version, internal, gauss]}
    with replace_folder(out / "checkpoint", ("state.json", "tensors.safetensors")) as draft:
        save_file(tensors, draft / "tensors.safetensors")
        (draft / "state.json").write_text(json.dumps(facts))

    weights = {n: p.detach().to(torch.bfloat16).cpu() for n, p in model.named_parameters()}
    config = copy.deepcopy(model.config)  # a copy, because the live model keeps its own attention
    config._attn_implementation = "sdpa"
    exported: LlamaForCausalLM = nn.Module.to(LlamaForCausalLM(config), torch.bfloat16)
    exported.load_state_dict(weights, strict=False)
    exported.tie_weights()
    exported.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    facts = {k: v for k, v in state.__dict__.items() if k != "losses"} | {"loss": state.losses[-1]}
    with replace_folder(out / "backbone", ("training.json", "*")) as draft:
        exported.save_pretrained(draft)
        save_tokenizer(tokenizer, draft)
        (draft / "training.json").write_text(json.dumps(facts, indent=1) + "\n")


def totals(training: Path) -> dict[str, float]:
    """Sums what a `training.json` and the runs before it count."""
    if not training.is_file():
        return {}
    facts = json.loads(training.read_text())
    before = facts.get("earlier", {})
    return {key: facts[key] + before.get(key, 0) for key in ("step", "tokens", "supervised", "seconds")}


def resume(
    out: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], batches: Batches
) -> State:
    """Restores OUT/checkpoint if it exists; documents that waited for a batch are drawn anew."""
    folder = out / "checkpoint"
    recover_folder(folder)
    if not folder.exists():
        return State()
    tensors = load_file(folder / "tensors.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for i, optimizer in enumerate(optimizers):
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimizer.{i}."):
                _, _, index, name = key.split(".", 3)
                moments.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    stored = json.loads((folder / "state.json").read_text())
    version, internal, gauss = stored.pop("rng")
    batches.rng.setstate((version, tuple(internal), gauss))
    return State(**stored)


def get_sources(args: argparse.Namespace, text_share: float) -> list[tuple[Source, float]]:
    """Returns the sources of documents, with task text if there is some."""
    text = [] if args.text is None else [(TaskText(args.text), text_share)]
    return [*GENERATED, *text]


def tokenizer_texts(args: argparse.Namespace) -> Iterator[str]:
    """Yields a sample of the training documents, to fit the tokenizer to."""
    stream = documents(get_sources(args, 0.25), random.Random(args.seed))
    for _ in range(60_000):
        for exchange in next(stream):
            yield exchange.user
            yield exchange.response


def get_tokenizer(args: argparse.Namespace) -> PreTrainedTokenizerFast:
    folder = args.out / "tokenizer"
    if not folder.exists() and args.start_from:
        save_tokenizer(PreTrainedTokenizerFast.from_pretrained(args.start_from), folder)
    if not folder.exists():
        save_tokenizer(train_tokenizer(tokenizer_texts(args), args.vocab), folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)
    tokenizer = get_tokenizer(args)
    model = build_model(args, tokenizer).to(args.device)
    if args.start_from:
        model.load_state_dict(load_file(args.start_from / "model.safetensors"), strict=False)
    optimizers = build_optimizers(model, args)
    sources = get_sources(args, TEXT_SHARE)
    micro_tokens = args.batch_tokens // args.micro
    batches = Batches(Encoder(tokenizer), sources, len(tokenizer), micro_tokens, args.seed)
    state = resume(args.out, model, optimizers, batches)
    if args.start_from and not state.earlier:
        state.earlier = totals(args.start_from / "training.json")
    if args.compile:
        model.model.forward = torch.compile(model.model.forward, dynamic=True)
    full_rates = (args.muon_lr, args.adam_lr)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, from step {state.step}", flush=True)
    started, saved, base = time.monotonic(), time.monotonic(), state.seconds
    while state.step < args.steps:
        for optimizer, full in zip(optimizers, full_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = full * rate(state.step, args)
        copy_share = 0.5 if state.step < args.copy_steps else 0.04
        micro = [batches(copy_share) for _ in range(args.micro)]
        supervised = sum(int((labels != IGNORE).sum()) for _, labels, *_ in micro)
        total = 0.0
        for batch in micro:
            loss, own = loss_sum(model, *(part.to(args.device) for part in batch))
            (loss / supervised).backward()
            total += own
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.tokens += sum(ids.numel() for ids, *_ in micro)
        state.supervised += supervised
        state.seconds = base + time.monotonic() - started
        state.losses = [*state.losses[-99:], total / supervised]
        if not math.isfinite(total):
            raise SystemExit(f"loss became {total} at step {state.step}; lower --muon-lr or --adam-lr")
        if state.step % args.log_every == 0:
            mean = sum(state.losses[-args.log_every :]) / args.log_every
            speed = state.tokens / state.seconds
            print(
                f"step {state.step} loss {mean:.3f} tokens {state.tokens / 1e6:.2f}M {speed:.0f}/s",
                flush=True,
            )
        if time.monotonic() - saved > args.save_minutes * 60 or state.step == args.steps:
            save(args.out, model, tokenizer, optimizers, state, batches)
            saved = time.monotonic()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for tokenizer, checkpoint and backbone"
    )
    parser.add_argument(
        "--text", type=Path, help="task text as JSON lines, gzipped (none: generated text alone)"
    )
    parser.add_argument(
        "--start-from", type=Path, help="folder of a backbone to train on, in place of random weights"
    )
    parser.add_argument("--steps", type=int, default=5000, help="optimizer steps; may be raised on resume")
    parser.add_argument("--batch-tokens", type=int, default=8192, help="tokens a step, padding included")
    parser.add_argument("--micro", type=int, default=2, help="micro-batches a step, each of one length class")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--inner", type=int, default=704)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocab", type=int, default=6144)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=3e-3)
    parser.add_argument("--decay-weight", type=float, default=0.01, help="Muon's weight decay")
    parser.add_argument("--warmup", type=int, default=60, help="steps of linear warm-up")
    parser.add_argument(
        "--decay", type=float, default=0.3, help="last share of the steps in which the rate falls"
    )
    parser.add_argument(
        "--copy-steps", type=int, default=COPY_STEPS, help="first steps, half of them copying"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--compile", action="store_true", help="compile the model: a quarter faster, after a minute or two"
    )
    parser.add_argument("--save-minutes", type=float, default=10.0)
    parser.add_argument("--log-every", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args


if __name__ == "__main__":
    train(parse())
