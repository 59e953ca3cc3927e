"""The models that a worker holds."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from core.contract.errors import InvalidRequest, ModelUnavailable
from core.contract.models import ModelCatalog
from tests.tiny_models import save_tiny, spec_of
from worker.warm import WarmModels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> ModelCatalog:
    folder = tmp_path_factory.mktemp("models")
    save_tiny(folder, "sd1")
    specs = {name: spec_of(folder, "sd1", name) for name in ("a", "b", "c")}
    return ModelCatalog(default="a", models=specs)


def test_a_model_is_loaded_once(catalog: ModelCatalog) -> None:
    models = WarmModels(catalog, CPU)
    assert models.get("a") is models.get(None)
    models.get("b")
    assert models.names() == ("a", "b")


def test_the_least_recently_used_makes_room_and_its_memory_is_free(catalog: ModelCatalog) -> None:
    models = WarmModels(catalog, CPU, most=2)
    gone = weakref.ref(models.get("b").unet)
    kept = models.get("a")
    models.get("c")
    assert models.names() == ("a", "c")
    gc.collect()
    assert gone() is None
    assert models.get("a") is kept
    models.get("b")
    assert models.names() == ("a", "b")


def test_a_model_that_does_not_come_takes_no_others_place(catalog: ModelCatalog) -> None:
    gone = catalog.models["a"].model_copy(update={"name": "gone", "source": "/nowhere"})
    models = WarmModels(
        catalog.model_copy(update={"models": catalog.models | {"gone": gone}}), CPU, 1
    )
    models.get("a")
    with pytest.raises(ModelUnavailable, match="The weights of gone are not here"):
        models.get("gone")
    assert models.names() == ("a",)


def test_a_model_that_is_not_known_makes_no_room(catalog: ModelCatalog) -> None:
    models = WarmModels(catalog, CPU, most=1)
    models.get("a")
    with pytest.raises(InvalidRequest):
        models.get("nothing")
    assert models.names() == ("a",)
