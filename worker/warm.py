"""The models a worker holds loaded."""

from __future__ import annotations

import logging

import torch

from core.contract.models import ModelCatalog
from core.diffusion.model import DiffusionModel, load_model

log = logging.getLogger(__name__)


class WarmModels:
    """Loads a model when it is first asked for and keeps it."""

    def __init__(self, catalog: ModelCatalog, device: torch.device) -> None:
        self.catalog = catalog
        self.device = device
        self._loaded: dict[str, DiffusionModel] = {}

    def get(self, name: str | None) -> DiffusionModel:
        """The model called `name`, or the default. Raises InvalidRequest or ModelUnavailable."""
        spec = self.catalog.resolve(name)
        if spec.name not in self._loaded:
            log.info("loading %s on %s", spec.name, self.device)
            self._loaded[spec.name] = load_model(spec, self.device)
        return self._loaded[spec.name]

    def names(self) -> tuple[str, ...]:
        """The models that are loaded."""
        return tuple(self._loaded)
