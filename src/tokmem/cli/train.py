"""`tokmem train`: learn one bank and measure it on the test split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tokmem.cli import lora_options as lora
from tokmem.cli import options as o
from tokmem.cli.shared import command_line, console, load, run_folder, show_results

if TYPE_CHECKING:
    from tokmem.tracks.atomic import AtomicConfig

EXAMPLES = "Example: tokmem train --corpus my.jsonl --prompt query --epochs 3 --lr 0.02"


def train(
    ctx: typer.Context,
    tasks_dir: o.TasksDir = None,
    corpus: o.CorpusFile = None,
    tasks: o.Tasks = None,
    num_tasks: o.NumTasks = None,
    train_size: o.TrainSize = None,
    val_size: o.ValSize = None,
    test_size: o.TestSize = None,
    prompt: o.Prompt = None,
    few_shot: o.FewShot = None,
    max_instruction_tokens: o.MaxInstructionTokens = None,
    model_name: o.ModelName = None,
    dtype: o.DType = None,
    device: o.Device = None,
    quantization: o.QuantizationName = None,
    max_length: o.MaxLength = None,
    preset: o.Preset = None,
    num_epochs: o.NumEpochs = None,
    batch_size: o.BatchSize = None,
    gradient_accumulation_steps: o.Accumulation = None,
    lr: o.LearningRate = None,
    method: o.MethodName = None,
    validate_every_n_steps: o.ValidateEvery = None,
    shuffle_train: o.Shuffle = None,
    block_size: o.BlockSize = None,
    seed: o.Seed = None,
    start: o.StartName = None,
    width: o.Width = None,
    renorm: o.RenormName = None,
    negatives: o.Negatives = None,
    decouple_embeddings: o.Decouple = False,
    plain: o.Plain = False,
    skip_training: o.SkipTraining = False,
    load_task_tokens: o.LoadTaskTokens = None,
    lora_r: lora.LoraR = None,
    lora_alpha: lora.LoraAlpha = None,
    lora_dropout: lora.LoraDropout = None,
    target_modules: lora.TargetModules = None,
    load_model: lora.LoadModel = None,
    continual_replay: lora.ContinualReplay = False,
    continual_replay_ratio: lora.ReplayRatio = None,
    eval_batch_size: o.EvalBatchSize = None,
    max_new_tokens: o.MaxNewTokens = None,
    save_path: o.SavePath = None,
    resume: o.Resume = False,
) -> None:
    """Learn a bank (--method: or a rival) and measure it on the test examples (--test-size 0: learn only).

    Without --tasks-dir and --corpus it learns the generated procedures of the demo. The prompt is that of the
    bank of --load-task-tokens, where there is one.
    """
    given = dict(ctx.params)
    if load_task_tokens is not None:
        given["prompt"] = o.prompt_of(load_task_tokens, prompt)
    config = o.atomic_config("train", given)
    folder = run_folder(save_path, resume, Path("runs/train"))
    measure(config, folder, resume)
    if not skip_training:
        _say_what_next(config, folder)


def measure(config: AtomicConfig, folder: Path, resume: bool) -> None:
    """Runs the experiment and shows its table."""
    from tokmem.tracks.atomic import run

    show_results(run(config, folder, resume=resume, backbone=load(config.backbone)), folder)


def _say_what_next(config: AtomicConfig, folder: Path) -> None:
    from tokmem.tracks.atomic import cell_name

    name, method = cell_name(config.methods[0], config.prompts[0], config.seeds[0]), config.methods[0]
    if not method.startswith("tokmem"):
        if method in ("lora", "replay"):
            console().print(f"Adapter: {folder / 'learned' / name}", markup=False)
        return
    bank = folder / "banks" / name
    model = config.backbone.model_name
    chosen = [] if model == type(config.backbone).model_name else ["--model-name", model]
    asked = '"..."' if config.prompts[0] == "query" else '"..." --instruction "..."'
    line = command_line("recall", "--bank", bank, *chosen)
    console().print(f"Bank: {bank}\nTry:  {line} {asked}", markup=False)
