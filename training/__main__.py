"""`python -m training all` trains the built-in model from nothing; each stage is also a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from diffusers import StableDiffusionPipeline

from training import card, dataset, extras, latents
from training.arguments import (
    JUDGE,
    MODEL,
    TWO_CORES,
    WORK,
    Batch,
    Channels,
    Folder,
    Hardware,
    JudgeFolder,
    Minutes,
    Note,
    Processes,
    Scenes,
    Seed,
    Size,
    WorkFolder,
    show,
)
from training.diffusion import DiffusionOptions, train_denoiser
from training.distributed import launch
from training.evaluate import evaluate as measure
from training.export import export as export_pipeline
from training.judge import load_judge
from training.judging import JudgeTraining, train_judge
from training.tokenizer import save_tokenizer
from training.vae import VaeOptions, train_vae

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

for command in extras.COMMANDS:
    app.command()(command)


@app.command()
def draw(
    work: WorkFolder = WORK, scenes: Scenes = 60_000, size: Size = 64, processes: Processes = 2
) -> None:
    """Draws the training scenes."""
    show("drawing", scenes, dataset.draw(work / "scenes", scenes, 0, size, processes))


@app.command()
def vae(
    work: WorkFolder = WORK,
    minutes: Minutes = 20.0,
    size: Size = 64,
    channels: Channels = "24,48,96",
    batch: Batch = 5,
    processes: Processes = 2,
    seed: Seed = 0,
) -> None:
    """Trains the autoencoder and gives its latents unit variance."""
    options = VaeOptions(
        size=size, channels=_widths(channels), minutes=minutes, batch=batch, seed=seed
    )
    launch(train_vae, processes, options, work / "scenes", work / "vae")
    latents.finish_vae(work / "scenes", work / "vae")


@app.command()
def decoder(
    work: WorkFolder = WORK,
    minutes: Minutes = 13.0,
    batch: Batch = 5,
    processes: Processes = 2,
    seed: Seed = 1,
) -> None:
    """Trains the autoencoder's decoder further; the latents, and what learnt from them, stay."""
    options = VaeOptions(
        minutes=minutes, batch=batch, learning_rate=1e-3, decoder_only=True, seed=seed
    )
    launch(train_vae, processes, options, work / "scenes", work / "vae")


@app.command()
def encode(work: WorkFolder = WORK, processes: Processes = 2) -> None:
    """Computes the latents of all scenes."""
    count = len(dataset.load(work / "scenes"))
    show("encoding", count, latents.encode_dataset(work / "scenes", work / "vae", processes))


@app.command()
def denoiser(
    work: WorkFolder = WORK,
    minutes: Minutes = 92.0,
    size: Size = 64,
    channels: Channels = "64,128,160",
    batch: Batch = 16,
    processes: Processes = 2,
    seed: Seed = 0,
) -> None:
    """Trains the UNet and the text encoder; continues where an interrupted run stopped."""
    save_tokenizer(work / "tokenizer")
    options = DiffusionOptions(
        size=size, channels=_widths(channels), minutes=minutes, batch=batch, seed=seed
    )
    launch(
        train_denoiser, processes, options, work / "scenes", work / "tokenizer", work / "denoiser"
    )


@app.command()
def judge(
    work: WorkFolder = WORK,
    minutes: Minutes = 4.0,
    folder: Folder = JUDGE,
    seed: Seed = 0,
) -> None:
    """Trains the judge on scenes as drawn and as the autoencoder gives them back."""
    options = JudgeTraining(minutes=minutes, seed=seed)
    train_judge(options, work / "scenes", work / "vae", folder)


@app.command()
def export(
    work: WorkFolder = WORK,
    folder: Folder = MODEL,
) -> None:
    """Writes the averaged weights of the latest checkpoint as a diffusers pipeline."""
    export_pipeline(work / "denoiser", work / "tokenizer", work / "vae", folder)


@app.command()
def evaluate(
    work: WorkFolder = WORK,
    folder: Annotated[Path, typer.Option(help="The model.")] = MODEL,
    judge_folder: JudgeFolder = JUDGE,
    hardware: Hardware = TWO_CORES,
    note: Note = "",
) -> None:
    """Measures an exported model; writes its card, evaluation.json and a grid of samples."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    evaluation, samples = measure(pipeline, load_judge(judge_folder))
    scenes = len(dataset.load(work / "scenes"))
    training = card.read_training(scenes, work / "vae", work / "denoiser", hardware, note)
    card.save_samples(samples, folder / card.SAMPLES)
    card.write_card(folder, evaluation, training)


@app.command(name="all")
def everything(
    work: WorkFolder = WORK,
    models: Annotated[Path, typer.Option(help="Where the model and judge go.")] = MODEL.parent,
    scenes: Scenes = 60_000,
    size: Size = 64,
    processes: Processes = 2,
    vae_minutes: Minutes = 20.0,
    decoder_minutes: Minutes = 13.0,
    judge_minutes: Minutes = 4.0,
    minutes: Minutes = 92.0,
    control_minutes: Minutes = 46.0,
) -> None:
    """Draws, trains, exports and measures. Run again, it goes on after the last finished stage."""
    model, its_judge = models / MODEL.name, models / JUDGE.name
    _once(work, "draw", lambda: draw(work, scenes, size, processes))
    _once(work, "vae", lambda: vae(work, vae_minutes, size, processes=processes))
    _once(work, "encode", lambda: encode(work, processes))
    _once(work, "decoder", lambda: decoder(work, decoder_minutes, processes=processes))
    _once(work, "judge", lambda: judge(work, judge_minutes, its_judge))
    denoiser(work, minutes, size, processes=processes)
    export(work, model)
    evaluate(work, model, its_judge)
    extras.train_extras(_once, work, models, size, processes, control_minutes)


def _once(work: Path, stage: str, run: Callable[[], None]) -> None:
    """Runs a stage unless it left its mark before."""
    mark = work / f"{stage}.done"
    if not mark.exists():
        run()
        mark.touch()


def _widths(text: str) -> tuple[int, ...]:
    return tuple(int(width) for width in text.split(","))


if __name__ == "__main__":
    app()
