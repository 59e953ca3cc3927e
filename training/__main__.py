"""`python -m training all` trains the built-in model from nothing; each stage is also a command."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer
from diffusers import StableDiffusionPipeline
from rich.progress import Progress

from training import card, dataset, latents
from training.diffusion import DiffusionOptions, train_denoiser
from training.distributed import launch
from training.evaluate import evaluate as measure
from training.export import export as export_pipeline
from training.judge import load_judge
from training.judging import JudgeTraining, train_judge
from training.tokenizer import save_tokenizer
from training.vae import VaeOptions, train_vae

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

WorkFolder = Annotated[Path, typer.Option("--work", help="Scenes, checkpoints and logs.")]
Processes = Annotated[int, typer.Option(help="Training processes of one thread each.")]
Size = Annotated[int, typer.Option(help="Side of the pictures in pixels, a multiple of 64.")]
Minutes = Annotated[float, typer.Option(help="Time budget of the stage.")]
Batch = Annotated[int, typer.Option(help="Batch of one process.")]
Seed = Annotated[int, typer.Option(help="Seed of the stage.")]
Scenes = Annotated[int, typer.Option(help="Scenes to draw.")]
Channels = Annotated[str, typer.Option(help="Widths of the levels, finest first.")]

WORK = Path(".training")
MODEL = Path("models/tiny-world")
JUDGE = Path("models/tiny-world-judge")


@app.command()
def draw(
    work: WorkFolder = WORK, scenes: Scenes = 60_000, size: Size = 64, processes: Processes = 2
) -> None:
    """Draws the training scenes."""
    _show("drawing", scenes, dataset.draw(work / "scenes", scenes, 0, size, processes))


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
    _show("encoding", count, latents.encode_dataset(work / "scenes", work / "vae", processes))


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
    folder: Annotated[Path, typer.Option(help="Where to.")] = JUDGE,
    seed: Seed = 0,
) -> None:
    """Trains the judge on scenes as drawn and as the autoencoder gives them back."""
    options = JudgeTraining(minutes=minutes, seed=seed)
    train_judge(options, work / "scenes", work / "vae", folder)


@app.command()
def export(
    work: WorkFolder = WORK,
    folder: Annotated[Path, typer.Option(help="Where to.")] = MODEL,
) -> None:
    """Writes the averaged weights of the latest checkpoint as a diffusers pipeline."""
    export_pipeline(work / "denoiser", work / "tokenizer", work / "vae", folder)


@app.command()
def evaluate(
    work: WorkFolder = WORK,
    folder: Annotated[Path, typer.Option(help="The model.")] = MODEL,
    judge_folder: Annotated[Path, typer.Option("--judge", help="Its judge.")] = JUDGE,
    hardware: Annotated[str, typer.Option(help="What it was trained on.")] = "2 CPU cores",
    note: Annotated[str, typer.Option(help="What else the card should say of the run.")] = "",
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


def _once(work: Path, stage: str, run: Callable[[], None]) -> None:
    """Runs a stage unless it left its mark before."""
    mark = work / f"{stage}.done"
    if not mark.exists():
        run()
        mark.touch()


def _widths(text: str) -> tuple[int, ...]:
    return tuple(int(width) for width in text.split(","))


def _show(title: str, total: int, counts: Iterable[int]) -> None:
    with Progress() as progress:
        task = progress.add_task(title, total=total)
        for done in counts:
            progress.update(task, completed=done)


if __name__ == "__main__":
    app()
