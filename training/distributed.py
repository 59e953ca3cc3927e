"""Data-parallel training in plain processes: on a CPU, one thread each.

Two processes of one thread train about as fast as one of two when the machine is free, and many
times faster when it is not, because no thread waits for another at every operator.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Worker:
    """One training process among `count`; rank 0 writes the files and reports."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def agreed(self, value: float) -> float:
        """Rank 0's value, so that all take the same step and stop together."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared.item())

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Mean of the gradients over the processes, sent as one bfloat16 message."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        message = torch.cat([gradient.flatten() for gradient in gradients]).bfloat16()
        dist.all_reduce(message)
        offset = 0
        for gradient in gradients:
            mean = message[offset : offset + gradient.numel()].float() / self.count
            gradient.copy_(mean.view_as(gradient))
            offset += gradient.numel()


def launch(train: Callable[..., None], processes: int, *arguments: Any) -> None:
    """Runs `train(worker, *arguments)` in each process; a GPU takes one process."""
    if torch.cuda.is_available():
        train(Worker(device=torch.device("cuda")), *arguments)
    elif processes == 1:
        train(Worker(), *arguments)
    else:
        entry = (train, processes, _free_port(), arguments)
        spawn(_enter, entry, nprocs=processes)  # type: ignore[no-untyped-call]


def _enter(
    rank: int, train: Callable[..., None], count: int, port: int, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=count)
    train(Worker(rank, count), *arguments)
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
