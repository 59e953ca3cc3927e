"""Jobs drawn with as many pictures at once as memory takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis

from core import catalog
from core.contract.errors import ModelUnavailable, NumericsFailure, OutOfMemory
from core.contract.models import load_catalog
from core.contract.pictures import alone
from core.diffusion.model import load_model
from core.execution import Remarks, execute
from core.jobs.needs import Needs
from tests.tiny_models import models_file
from worker import drawing as drawing_module
from worker import warm
from worker.drawing import Drawing
from worker.memory import DeviceMemory, ran_out
from worker.warm import WarmModels

TECHNIQUE = catalog.technique("style-aligned")
PIXELS = 64 * 64


class KnownMemory(DeviceMemory):
    """A device with as much room as is said, of which runs take as much as is said."""

    takes = 0

    def begin(self) -> None:
        self.room_bytes = self.limit_bytes

    def taken_bytes(self) -> int | None:
        return None if self.limit_bytes is None else self.takes


@pytest.fixture(scope="module")
def models_toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models_file(tmp_path_factory.mktemp("models"))


@pytest.fixture
def models(models_toml: Path) -> WarmModels:
    return WarmModels(load_catalog(models_toml), torch.device("cpu"))


@pytest.fixture
def draw(models: WarmModels, redis: Redis) -> Callable[..., tuple[dict[str, str], Remarks]]:
    def drawn(
        limit: int | None = None, prompts: int = 6, takes: int = 0
    ) -> tuple[dict[str, str], Remarks]:
        memory = KnownMemory(torch.device("cpu"), limit)
        memory.takes = takes
        model, remarks = models.get(None), Remarks()
        body = {"prompts": [f"a cat {n}" for n in range(prompts)], "seed": 1}
        request = TECHNIQUE.request.model_validate(body).resolve(model.spec)
        drawing = Drawing(models, memory, Needs(redis))
        files = drawing.files(TECHNIQUE, model, request, alone(), remarks)
        return {artifact.name: artifact.sha256 for artifact, _ in files}, remarks

    return drawn


def hungry(most: int, seen: list[int]) -> Callable[..., Any]:
    """A run that has memory for at most so many pictures at once."""

    def run(technique: Any, model: Any, *rest: Any) -> Any:
        seen.append(model.spec.max_batch)
        if model.spec.max_batch > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield from execute(technique, model, *rest)

    return run


def test_where_memory_runs_out_half_as_many_pictures_are_drawn_at_once(
    draw: Callable[..., Any], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = draw()
    seen: list[int] = []
    monkeypatch.setattr(drawing_module, "execute", hungry(3, seen))
    parts, remarks = draw(limit=1000, takes=300)
    assert seen == [4, 2]
    assert list(parts) == list(whole)
    assert [warning.code for warning in remarks.warnings] == ["drawn-in-parts"]
    assert remarks.measures == {"memory_bytes": 300}
    known = Needs(redis).known("tiny", "StyleAlignedRequest")
    assert known == {(PIXELS, 4): 1001, (PIXELS, 2): 300}
    seen.clear()
    again, remarks = draw(limit=1000, takes=300)
    assert (seen, list(again), remarks.warnings) == ([3], list(parts), [])  # it knows by now


def test_where_the_fewest_pictures_do_not_fit_the_job_is_told_so(
    draw: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(drawing_module, "execute", hungry(1, seen))
    with pytest.raises(OutOfMemory, match="2 pictures of 64 x 64"):
        draw()
    assert seen == [4, 2]


def test_an_error_that_is_not_of_memory_is_not_tried_again(
    draw: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def broken(*_: Any) -> Any:
        tried.append(1)
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(drawing_module, "execute", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        draw(limit=1000)
    assert tried == [1]


def test_without_a_limit_nothing_is_measured_or_learned(
    draw: Callable[..., Any], redis: Redis
) -> None:
    _, remarks = draw()
    assert remarks.measures == {}
    assert redis.keys("attention-please:needs:*") == []


def test_a_model_that_is_not_used_makes_room_for_a_run_that_needs_it(
    draw: Callable[..., Any], models: WarmModels, redis: Redis
) -> None:
    models._loaded["other"] = models.get(None)
    Needs(redis).learn("tiny", "StyleAlignedRequest", PIXELS, 4, 2000)
    draw(limit=1000)
    assert models.names() == ("tiny",)


def test_a_model_that_does_not_fit_beside_others_takes_their_place(
    models: WarmModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    models._loaded["other"] = models.get(None)
    del models._loaded["tiny"]

    def tight(*given: Any) -> Any:
        if models.names():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return load_model(*given)

    monkeypatch.setattr(warm, "load_model", tight)
    models.get(None)
    assert models.names() == ("tiny",)


def test_a_model_is_warm_once_it_has_drawn(
    models: WarmModels, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def run(*given: Any) -> Any:
        for artifact, data in execute(*given):
            drawn.append(artifact.name)
            yield artifact, data

    monkeypatch.setattr(drawing_module, "execute", run)
    Drawing(models, KnownMemory(torch.device("cpu"), 1000), Needs(redis)).warm_up("tiny")
    assert models.names() == ("tiny",)
    assert drawn == ["reference.png", "image-000.png", "image-001.png"]
    # A step of two pictures says little of what jobs take.
    assert Needs(redis).known("tiny", "StyleAlignedRequest") == {}


def test_a_model_that_can_not_draw_is_not_warm_but_one_step_may_be_no_picture(
    models: WarmModels, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [NumericsFailure("black"), ModelUnavailable("broken")]

    def fails(*_: Any) -> Any:
        if failures:
            raise failures.pop(0)
        yield

    monkeypatch.setattr(drawing_module, "execute", fails)
    drawing = Drawing(models, KnownMemory(torch.device("cpu")), Needs(redis))
    drawing.warm_up("tiny")
    with pytest.raises(ModelUnavailable):
        drawing.warm_up("tiny")


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_what_torch_says_of_memory_is_told_from_other_errors(
    error: Exception, is_memory: bool
) -> None:
    assert ran_out(error) is is_memory


REAL = """
import sys
import torch
from pathlib import Path
from redis import Redis
from core import catalog
from core.contract.errors import ModelUnavailable, NumericsFailure, OutOfMemory
from core.contract.models import load_catalog
from core.contract.pictures import alone
from core.diffusion.model import load_model
from core.execution import Remarks
from core.jobs.needs import Needs
from worker.drawing import Drawing
from worker.memory import _of_process, limited
from worker.warm import WarmModels

cpu = torch.device("cpu")
models = WarmModels(load_catalog(Path(sys.argv[1])), cpu)
model = models.get(None)
needs = Needs(Redis.from_url(sys.argv[2]))

def run(drawing, **body):
    technique = catalog.technique("style-aligned")
    request = technique.request.model_validate({"prompts": ["a cat"], "seed": 1} | body)
    resolved = request.resolve(model.spec)
    return list(drawing.files(technique, model, resolved, alone(), Remarks()))

assert run(Drawing(models, limited(cpu, None), needs))
tight = Drawing(models, limited(cpu, _of_process("VmData") + 70_000_000), needs)
panorama = {"width": 1024, "height": 512, "stride": 256, "views_per_batch": 1}
try:
    run(tight, panorama=panorama, sampling={"steps": 1, "width": 256, "height": 256})
except OutOfMemory as error:
    print(error.detail)
assert run(tight)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_run_that_really_has_no_memory_fails_and_spares_the_next(
    models_toml: Path, redis_url: str, redis: Redis
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(models_toml), redis_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "of 1024 x 512 at once did not fit" in done.stdout
    ((size, taken),) = Needs(redis).known("tiny", "StyleAlignedRequest panorama").items()
    assert size == (1024 * 512, 2)
    assert taken > 50_000_000
