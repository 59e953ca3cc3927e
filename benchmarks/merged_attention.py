"""Time and memory of merged attention against concatenated keys, as ratios within one run.

    python -m benchmarks.merged_attention [--rows 4] [--tokens 4096] [--repeat 20]

The comparison is what StyleAligned's own code does: expand the reference's keys and values to
every target, concatenate, one fused attention.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.record import write
from core.attention.merged import Group, merged_attention
from core.diffusion.model import best_device

HEADS, HEAD_DIM = 10, 64
SCALE = HEAD_DIM**-0.5


def concatenated(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Targets attend to their own keys and a copy of row 0's."""
    all_keys, all_values = (torch.cat([x, x[:1].expand(x.shape)], dim=2) for x in (keys, values))
    return scaled_dot_product_attention(queries, all_keys, all_values, scale=SCALE)


def merged(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The same through `merged_attention`."""
    return merged_attention(
        queries, [Group(keys, values, SCALE), Group(keys[:1], values[:1], SCALE)]
    )


def seconds_and_bytes(run: Callable[[], Tensor]) -> tuple[float, int]:
    """Wall time of one call, and the device memory it took at its peak (0 on the CPU)."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    began = time.perf_counter()
    run()
    if cuda:
        torch.cuda.synchronize()
    spent = time.perf_counter() - began
    return spent, torch.cuda.max_memory_allocated() - before if cuda else 0


def main(
    rows: Annotated[int, typer.Option(min=1)] = 4,
    tokens: Annotated[int, typer.Option(min=1)] = 4096,
    repeat: Annotated[int, typer.Option(min=1)] = 20,
) -> None:
    """Run both in turn; print and record the ratios of their medians."""
    device = best_device()
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    shape = (3, rows, HEADS, tokens, HEAD_DIM)
    queries, keys, values = torch.randn(shape, device=device, dtype=dtype)
    ways = {"merged": merged, "concatenated": concatenated}
    figures: dict[str, list[tuple[float, int]]] = {name: [] for name in ways}
    for _ in range(repeat + 1):
        for name, way in ways.items():
            figures[name].append(seconds_and_bytes(partial(way, queries, keys, values)))
    times = {name: median(seconds for seconds, _ in runs[1:]) for name, runs in figures.items()}
    peaks = {name: max(peak for _, peak in runs[1:]) for name, runs in figures.items()}
    typer.echo(f"{device} {dtype}, {rows} rows x {HEADS} heads x {tokens} tokens x {HEAD_DIM}")
    ratios = {"time": times["merged"] / times["concatenated"]}
    if peaks["concatenated"]:
        ratios["memory"] = peaks["merged"] / peaks["concatenated"]
    for what, ratio in ratios.items():
        typer.echo(f"{what} merged / concatenated: {ratio:.2f}")
    rounded = {what: round(ratio, 3) for what, ratio in ratios.items()}
    document = {"dtype": str(dtype), "merged / concatenated": rounded}
    options = f"--rows {rows} --tokens {tokens} --repeat {repeat}"
    write("merged_attention", options, document, file=f"merged_attention-{device.type}")


if __name__ == "__main__":
    typer.run(main)
