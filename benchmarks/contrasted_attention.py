"""Memory and time of contrasted attention, as ratios within one run.

    python -m benchmarks.contrasted_attention [--repeat 3]

One row of 8 heads of 40 features, as in SD 1 at 512 pixels, where the finest self-attention has
64 x 64 tokens. Compared are

- `whole map`: softmax of all scores, contrast, times the values, as in the paper's code;
- `log-sum-exp`: the plain two-pass form: a fused pass for each query's log-sum-exp, then chunks
  of queries whose weights are exp(score - log-sum-exp);
- `contrasted`: what the service runs, `core.attention.contrast`.

Memory on the CPU (on Linux) is the growth of a fresh process's peak resident size.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks.record import write
from core.attention.contrast import contrasted_attention
from core.attention.merged import attention_with_log_sum
from core.diffusion.model import best_device

HEADS, HEAD_DIM = 8, 40
SCALE, CONTRAST = HEAD_DIM**-0.5, 1.67
CHUNK_SCORES = 2**22
MEGABYTE = 2**20

Way = Callable[[Tensor, Tensor, Tensor], Tensor]


def whole_map(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """With the map of queries x keys in memory."""
    weights = (SCALE * (queries @ keys.mT)).softmax(dim=-1)
    mean = 1 / keys.shape[2]
    output: Tensor = (CONTRAST * (weights - mean) + mean).clamp(0, 1) @ values
    return output


def by_log_sum(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """A fused pass for the log-sum-exp, and one of plain products over chunks of queries."""
    _, log_sum = attention_with_log_sum(queries, keys, values, SCALE)
    mean, step = 1 / keys.shape[2], max(1, CHUNK_SCORES // (HEADS * keys.shape[2]))
    chunks = []
    for start in range(0, queries.shape[2], step):
        some = slice(start, start + step)
        scores = SCALE * (queries[:, :, some] @ keys.mT)
        weights = (scores - log_sum[:, :, some, None]).exp()
        chunks.append((CONTRAST * (weights - mean) + mean).clamp(0, 1) @ values)
    return torch.cat(chunks, dim=2)


def contrasted(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return contrasted_attention(queries, keys, values, SCALE, CONTRAST)


WAYS: dict[str, Way] = {
    "whole map": whole_map,
    "log-sum-exp": by_log_sum,
    "contrasted": contrasted,
}


def features(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    device = best_device()
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    queries, keys, values = torch.randn((3, 1, HEADS, tokens, HEAD_DIM), device=device, dtype=dtype)
    return queries, keys, values


def seconds(way: Way, given: tuple[Tensor, Tensor, Tensor]) -> float:
    began = time.perf_counter()
    way(*given)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def peak_megabytes(name: str, tokens: int) -> float:
    """Memory that one call takes beyond its inputs and its output's size."""
    if torch.cuda.is_available():
        given = features(tokens)
        WAYS[name](*given)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        WAYS[name](*given)
        return (torch.cuda.max_memory_allocated() - before) / MEGABYTE
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_resident_growth, (name, tokens))


def _resident_growth(name: str, tokens: int) -> float:
    torch.set_num_threads(1)
    given = features(tokens)
    WAYS[name](*features(64))  # what is loaded at a first call is no part of it
    before = _peak_kilobytes()
    WAYS[name](*given)
    return (_peak_kilobytes() - before) / 1024


def _peak_kilobytes() -> int:
    """From Linux: `getrusage` would give a spawned process the peak of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def main(repeat: Annotated[int, typer.Option(min=1)] = 3) -> None:
    """Measure, print, and write `results/contrasted_attention.json`."""
    found: dict[str, Any] = {"times": {}, "peak_megabytes": {}}
    for tokens in (32**2, 64**2):
        given = features(tokens)
        runs = [{n: seconds(way, given) for n, way in WAYS.items()} for _ in range(repeat + 1)]
        times = {name: median(run[name] for run in runs[1:]) for name in WAYS}
        ratios = {name: round(spent / times["whole map"], 3) for name, spent in times.items()}
        found["times"][tokens] = {"relative": ratios, "contrasted_seconds": times["contrasted"]}
        against = times["contrasted"] / times["log-sum-exp"]
        typer.echo(f"{tokens} tokens, time relative to the whole map: {ratios}")
        typer.echo(f"  contrasted / log-sum-exp: {against:.2f}")
    for name in ("whole map", "contrasted"):
        largest = 64**2 if name == "whole map" else 128**2
        sizes = [size for size in (32**2, 64**2, 128**2) if size <= largest]
        peaks = {tokens: round(peak_megabytes(name, tokens), 1) for tokens in sizes}
        found["peak_megabytes"][name] = peaks
        typer.echo(f"{name}: peak MB by tokens {peaks}")
    write(
        "contrasted_attention",
        f"--repeat {repeat}",
        found,
    )


if __name__ == "__main__":
    typer.run(main)
