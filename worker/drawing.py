"""A job's files, with as many pictures at once as the device's memory takes."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

from redis.exceptions import RedisError

from core import catalog
from core.catalog import Technique
from core.contract.demand import Demand
from core.contract.errors import NumericsFailure, OutOfMemory
from core.contract.jobs import Artifact, JobWarning
from core.contract.pictures import Surroundings, alone
from core.contract.requests import JobRequest
from core.diffusion.model import DiffusionModel
from core.execution import Remarks, execute
from core.jobs.needs import Known, Needs, predicted
from worker.memory import DeviceMemory, ran_out
from worker.warm import WarmModels, logged

log = logging.getLogger(__name__)


_WARM_UP = {"prompts": ["one", "two"], "sampling": {"steps": 1}, "output": {"grid": False}}


@dataclass(frozen=True)
class Drawing:
    """Draws jobs with warm models, and learns what they take."""

    models: WarmModels
    memory: DeviceMemory
    needs: Needs

    def warm_up(self, name: str) -> None:
        """Load a model and draw a step with it, so that its first job finds everything ready.

        Raises JobFailure where it can't be used.
        """
        model = self.models.get(name, logged(name))
        technique = catalog.technique("style-aligned")
        asked = technique.request.model_validate(_WARM_UP).resolve(model.spec)
        try:
            for _ in execute(technique, model, asked, alone()):
                pass
        except NumericsFailure as failure:  # one step is no picture yet
            log.warning("%s, warming up: %s", name, failure.detail)

    def files(
        self,
        technique: Technique,
        model: DiffusionModel,
        request: JobRequest,
        around: Surroundings,
        remarks: Remarks,
    ) -> Generator[tuple[Artifact, bytes]]:
        """The files of an effective request, as `execute` gives them.

        Where memory runs out it goes on with half as many pictures at once, after what
        `around.finished` knows by then. Raises OutOfMemory where that does not help.
        """
        demand = request.demand(model.spec)
        for pictures in halvings(self._at_once(model, demand), demand.least):
            try:
                with closing(execute(technique, model.limited(pictures), request, around)) as files:
                    yield from files
            except Exception as error:
                if not ran_out(error):
                    raise
            else:
                if (taken_bytes := self.memory.taken_bytes()) is not None:
                    remarks.measures["memory_bytes"] = taken_bytes
                    self._learn(model, demand, pictures, taken_bytes)
                return
            # Only now, without the exception, nothing refers to the tensors that filled it.
            self.memory.free()
            log.warning("memory ran out with %d pictures at once", pictures)
            if self.memory.room_bytes is not None:
                self._learn(model, demand, pictures, self.memory.room_bytes + 1)
            if pictures > demand.least:
                detail = (
                    f"Memory ran out with {pictures} pictures at once: they were drawn in parts."
                )
                remarks.warnings.append(JobWarning(code="drawn-in-parts", detail=detail))
            self.memory.begin()
        width, height = demand.size
        raise OutOfMemory(
            f"{demand.least} pictures of {width} x {height} at once did not fit into the device's "
            "memory, and no fewer can be drawn. Ask for smaller ones."
        )

    def _at_once(self, model: DiffusionModel, demand: Demand) -> int:
        """How many pictures at once should fit, after other models made what room they can.

        The run is measured from here on.
        """
        known = self._known(model, demand)

        def fits(pictures: int) -> bool:
            need, room = predicted(known, demand.pixels, pictures), self.memory.room_bytes
            return need is None or room is None or need <= room

        self.memory.begin()
        while not fits(demand.pictures) and self.models.forget_another(model.spec.name):
            self.memory.begin()
        fitting = [n for n in range(demand.least, demand.pictures + 1) if fits(n)]
        return max(fitting, default=demand.least)

    def _known(self, model: DiffusionModel, demand: Demand) -> Known:
        if self.memory.limit_bytes is not None:
            with suppress(RedisError):
                return self.needs.known(model.spec.name, demand.kind)
        return {}

    def _learn(
        self, model: DiffusionModel, demand: Demand, pictures: int, taken_bytes: int
    ) -> None:
        with suppress(RedisError):
            name = model.spec.name
            self.needs.learn(name, demand.kind, demand.pixels, pictures, taken_bytes)


def halvings(most: int, least: int) -> Iterator[int]:
    """`most`, half of it and so on, at last `least`."""
    while most > least:
        yield most
        most //= 2
    yield least
