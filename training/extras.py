"""The commands for what stands beside the built-in model: the masker, the ControlNet for edges and
a character that it learns from a few scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionPipeline

from training import dataset, extras_card
from training.arguments import (
    ADAPTERS,
    CONTROL,
    JUDGE,
    MODEL,
    TWO_CORES,
    WORK,
    Batch,
    Folder,
    Hardware,
    JudgeFolder,
    Minutes,
    Model,
    Note,
    Processes,
    Scenes,
    Seed,
    Size,
    Steps,
    WorkFolder,
    show,
)
from training.control import ControlOptions, train_control
from training.distributed import launch
from training.edges import draw_edges
from training.evaluate_character import measure_adapters
from training.evaluate_control import measure_control
from training.judge import load_judge
from training.lora import LoraOptions, train_lora
from training.masker import load_masker
from training.masking import MaskerTraining, measure_masker, train_masker
from training.probe import load_probe, measure_probe, train_probe
from training.word import WordOptions, train_word

EDGED_SCENES = 30_000
LORA, WORD, PROBE = "snail-lora", "snail-word/learned_embeds.safetensors", "snail-judge.safetensors"


def masker(
    work: WorkFolder = WORK, minutes: Minutes = 9.0, folder: Folder = JUDGE, seed: Seed = 0
) -> None:
    """Trains the masker on scenes as drawn and as the autoencoder gives them back."""
    options = MaskerTraining(minutes=minutes, seed=seed)
    train_masker(options, work / "scenes", work / "vae", folder)
    vae = AutoencoderKL.from_pretrained(work / "vae")
    print(measure_masker(load_masker(folder), vae))


def edges(
    work: WorkFolder = WORK,
    scenes: Scenes = EDGED_SCENES,
    size: Size = 64,
    processes: Processes = 2,
) -> None:
    """Draws the edges of the first of the training scenes."""
    count = min(scenes, len(dataset.load(work / "scenes")))
    show("edges", count, draw_edges(work / "edges", count, 0, size, processes))


def control(
    work: WorkFolder = WORK,
    model: Model = MODEL,
    minutes: Minutes = 46.0,
    batch: Batch = 16,
    processes: Processes = 1,
    folder: Folder = CONTROL,
    seed: Seed = 0,
) -> None:
    """Trains the ControlNet for edges beside the finished model."""
    options = ControlOptions(minutes=minutes, batch=batch, seed=seed)
    launch(train_control, processes, options, work / "scenes", work / "edges", model, folder)


def word(
    model: Model = MODEL, steps: Steps = 250, folder: Folder = ADAPTERS, seed: Seed = 0
) -> None:
    """Teaches the model the snail as a new word, from twelve scenes."""
    train_word(WordOptions(steps=steps, seed=seed), model, folder / WORD)


def lora(
    model: Model = MODEL, steps: Steps = 700, folder: Folder = ADAPTERS, seed: Seed = 0
) -> None:
    """Teaches the model the snail by low-rank adaptation, from the same twelve scenes."""
    train_lora(LoraOptions(steps=steps, seed=seed), model, folder / LORA)


def probe(model: Model = MODEL, judge: JudgeFolder = JUDGE, folder: Folder = ADAPTERS) -> None:
    """Trains the character probe on the judge's features."""
    pipeline = _pipeline(model)
    print(measure_probe(train_probe(load_judge(judge), pipeline, folder / PROBE), pipeline))


def evaluate_control(
    model: Model = MODEL,
    judge: JudgeFolder = JUDGE,
    folder: Annotated[Path, typer.Option(help="The ControlNet.")] = CONTROL,
    hardware: Hardware = TWO_CORES,
    note: Note = "",
) -> None:
    """Measures the masker and the ControlNet; writes the ControlNet's card."""
    pipeline = _pipeline(model)
    its_masker = load_masker(judge)
    accuracy, pictures = measure_control(
        pipeline, ControlNetModel.from_pretrained(folder), its_masker, load_judge(judge)
    )
    masks = measure_masker(its_masker, pipeline.vae)
    extras_card.write_control_card(folder, accuracy, masks, pictures, hardware, note)


def evaluate_adapters(
    model: Model = MODEL,
    judge: JudgeFolder = JUDGE,
    folder: Annotated[Path, typer.Option(help="The adapters.")] = ADAPTERS,
    hardware: Hardware = TWO_CORES,
    note: Note = "",
) -> None:
    """Measures the probe, the LoRA and the word; writes their card."""
    pipeline, its_judge = _pipeline(model), load_judge(judge)
    its_probe = load_probe(folder / PROBE, its_judge)
    probed = measure_probe(its_probe, pipeline)
    accuracy, pictures = measure_adapters(
        pipeline, folder / LORA, folder / WORD, its_probe, its_judge
    )
    extras_card.write_adapters_card(folder, accuracy, probed, pictures, hardware, note)


def _pipeline(model: Path) -> Any:
    return StableDiffusionPipeline.from_pretrained(model)


def train_extras(
    once: Callable[[Path, str, Callable[[], None]], None],
    work: Path,
    models: Path,
    size: int,
    processes: int,
    minutes: float,
) -> None:
    """All of it, after the model; `once` runs a stage unless it was done before."""
    model, judge = models / MODEL.name, models / JUDGE.name
    canny, adapters = models / CONTROL.name, models / ADAPTERS.name
    once(work, "masker", lambda: masker(work, folder=judge))
    once(work, "edges", lambda: edges(work, size=size, processes=processes))
    once(work, "control", lambda: control(work, model, minutes, processes=processes, folder=canny))
    once(work, "word", lambda: word(model, folder=adapters))
    once(work, "lora", lambda: lora(model, folder=adapters))
    once(work, "probe", lambda: probe(model, judge, adapters))
    evaluate_control(model, judge, canny)
    evaluate_adapters(model, judge, adapters)


COMMANDS = (masker, edges, control, word, lora, probe, evaluate_control, evaluate_adapters)
