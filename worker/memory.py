"""How much of its device's memory a worker may take, has taken, and takes at the most."""

from __future__ import annotations

import gc
import resource
from dataclasses import dataclass
from pathlib import Path

import torch

_SHARE = 0.9
"""Of a GPU's memory; the rest is for its driver and for what falls between the blocks."""

_OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "could not create a ",  # oneDNN, of a primitive or of memory
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""In what torch says where it has no exception of its own for it."""


@dataclass
class DeviceMemory:
    """The memory of one device. Without a limit nothing is measured."""

    device: torch.device
    limit_bytes: int | None = None
    room_bytes: int | None = None
    """What a run could take when the last one began, beside the weights."""
    _used_bytes: int = 0

    def begin(self) -> None:
        """Note the room for a run, and measure it from here on."""
        if self.limit_bytes is None:
            return
        self.free()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._used_bytes = torch.cuda.memory_allocated(self.device)
            free, _ = torch.cuda.mem_get_info(self.device)
            kept = torch.cuda.memory_reserved(self.device) - self._used_bytes
            self.room_bytes = min(self.limit_bytes - self._used_bytes, free + kept)
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak is the present
            self._used_bytes = _of_process("VmRSS")
            self.room_bytes = self.limit_bytes - _of_process("VmData")

    def taken_bytes(self) -> int | None:
        """The most that was taken since `begin`."""
        if self.limit_bytes is None:
            return None
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self._used_bytes
        return _of_process("VmHWM") - self._used_bytes

    def free(self) -> None:
        """Let go of what nothing refers to any more."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def limited(device: torch.device, limit_bytes: int | None) -> DeviceMemory:
    """The memory of `device`, of which this process takes at most `limit_bytes` from here on.

    By default that is nine tenths of a GPU, and no limit on the CPU.
    """
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        limit_bytes = min(limit_bytes or total, int(_SHARE * total))
        torch.cuda.set_per_process_memory_fraction(limit_bytes / total, device)
    elif limit_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    return DeviceMemory(device, limit_bytes)


def ran_out(error: BaseException) -> bool:
    """Whether memory ran out, of which torch has several ways to tell."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _of_process(name: str) -> int:
    """A figure of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
