"""Whether any worker has the memory for what is asked, by what runs have taken before."""

from __future__ import annotations

from core.contract.demand import Demand
from core.contract.errors import TooLarge
from core.contract.models import ModelSpec
from core.contract.requests import JobRequest
from core.jobs.needs import Known, predicted
from core.jobs.workers import alive
from service.backends import Backends


def check_room(backends: Backends, request: JobRequest) -> None:
    """Raise TooLarge where an effective request won't fit into any worker that is alive.

    As few pictures at once as it can do with are counted. What nothing is known of is let through.
    """
    model = backends.models.resolve(request.model)
    demand = request.demand(model)
    known = backends.needs.known(model.name, demand.kind)
    if not known:
        return
    rooms = [worker.room_bytes for worker in alive(backends.redis, backends.pool_of(model.name))]
    limits = [room for room in rooms if room is not None]
    if not limits or len(limits) < len(rooms) or fits(known, demand, demand.size, max(limits)):
        return
    width, height = demand.size
    largest = largest_size(model, known, demand, max(limits))
    advice = f"{largest[0]} x {largest[1]} does." if largest else "No smaller size of it does."
    raise TooLarge(f"{width} x {height} pixels don't fit into a worker's memory. {advice}")


def largest_size(
    model: ModelSpec, known: Known, demand: Demand, room_bytes: int
) -> tuple[int, int] | None:
    """The largest size on the model's grid, of about the same shape, that does fit."""
    width, height = demand.size
    for cells in range(max(width, height) // model.grid - 1, 0, -1):
        scale = cells * model.grid / max(width, height)
        size = tuple(max(1, round(side * scale / model.grid)) * model.grid for side in demand.size)
        if min(size) >= model.min_size and fits(known, demand, (size[0], size[1]), room_bytes):
            return size[0], size[1]
    return None


def fits(known: Known, demand: Demand, size: tuple[int, int], room_bytes: int) -> bool:
    """Whether the fewest pictures of a size fit, as far as is known."""
    need = predicted(known, size[0] * size[1], demand.least)
    return need is None or need <= room_bytes
