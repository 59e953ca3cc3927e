"""The models a worker holds loaded."""

from __future__ import annotations

import gc
import logging
import math
import time

import torch

from core.contract.models import ModelCatalog, ModelSpec
from core.diffusion.model import DiffusionModel, load_model
from core.execution import brought
from core.weights.hub import Told
from worker.memory import ran_out

log = logging.getLogger(__name__)

_TELL_EVERY_SECONDS = 15.0


def logged(name: str) -> Told:
    """Tells the log of a model's weights while they are fetched."""
    told_at = -math.inf

    def told(here_bytes: int, whole_bytes: int) -> None:
        nonlocal told_at
        now = time.monotonic()
        if whole_bytes and (now - told_at >= _TELL_EVERY_SECONDS or here_bytes == whole_bytes):
            log.info("%s: %.2f of %.2f GB are here", name, here_bytes / 1e9, whole_bytes / 1e9)
            told_at = now

    return told


class WarmModels:
    """Loads a model when it is first asked for and keeps it, until too many others were."""

    def __init__(
        self, catalog: ModelCatalog, device: torch.device, most: int | None = None
    ) -> None:
        self.catalog = catalog
        self.device = device
        self.most = most
        self._loaded: dict[str, DiffusionModel] = {}
        """The least recently used first."""

    def get(self, name: str | None, told: Told = lambda here, whole: None) -> DiffusionModel:
        """The model called `name`, or the default.

        told: the bytes that are here, and the whole, while its weights are fetched; it may raise.
        Raises InvalidRequest or ModelUnavailable.
        """
        spec = self.catalog.resolve(name)
        model = self._loaded.pop(spec.name, None)
        if model is None:
            spec = brought(spec, told)  # the others stay for as long as this takes
            # Before the new one is loaded: the two need not fit beside each other.
            while self.most is not None and len(self._loaded) >= self.most:
                self._forget(next(iter(self._loaded)))
            model = self._load(spec)
        self._loaded[spec.name] = model
        return model

    def forget_another(self, name: str) -> bool:
        """Let go of the least recently used model but the one called `name`, if there is one."""
        other = next((other for other in self._loaded if other != name), None)
        if other is not None:
            self._forget(other)
        return other is not None

    def _load(self, spec: ModelSpec) -> DiffusionModel:
        log.info("loading %s on %s", spec.name, self.device)
        while True:
            try:
                return load_model(spec, self.device)
            except Exception as error:
                if not ran_out(error) or not self._loaded:
                    raise
            # Only now, without the exception, nothing refers to what was loaded of it.
            self.forget_another(spec.name)

    def _forget(self, name: str) -> None:
        log.info("%s makes room for another model", name)
        del self._loaded[name]
        gc.collect()  # a pipeline refers to itself
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def names(self) -> tuple[str, ...]:
        """The models that are loaded."""
        return tuple(self._loaded)
