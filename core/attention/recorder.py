"""Records attention maps while a UNet runs, as running means: the maps themselves are not kept.

Sources: Hertz et al., "Prompt-to-Prompt Image Editing with Cross Attention Control", ICLR
2023, arXiv 2208.01626 (maps averaged over steps, layers and heads); Patashnik et al., ICCV
2023, arXiv 2303.11306 (the same of self-attention).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from core.attention.control import AttentionPlan
from core.attention.layers import AttentionLayer

Key = Callable[[AttentionLayer], Hashable]
"""Under which name a layer's maps are kept; layers of one name are averaged."""


@dataclass
class MapRecorder:
    """Running means of attention maps over the calls, layers and heads that come by.

    rows: the rows of the UNet batch that are recorded, in this order.
    key: layers with the same key go into one mean, so they need the same number of tokens.
    heads: those recorded; None is all. heads_apart: keep a map a head instead of their mean.
    active: switch off to pass over steps.

    Memory is one map (rows, tokens, keys) a key in float32, heads times that if apart; one
    head's map of one row is the most held beside it.
    """

    rows: Sequence[int]
    key: Key
    heads: Sequence[int] | None = None
    heads_apart: bool = False
    active: bool = True
    _means: dict[Hashable, Tensor] = field(default_factory=dict)
    _counts: dict[Hashable, int] = field(default_factory=dict)

    def mean(self, key: Hashable) -> Tensor:
        """The mean map: (rows, tokens, keys), or (rows, heads, tokens, keys) with heads apart.

        Keys are tokens of the picture in self-attention and of the text in cross-attention.
        Raises KeyError where nothing was recorded under `key`.
        """
        mean = self._means[key]
        return mean if self.heads_apart else mean[:, 0]

    def state_dict(self) -> dict[str, Any]:
        """What was recorded so far."""
        return {"means": self._means, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what was recorded before."""
        self._means, self._counts = dict(state["means"]), dict(state["counts"])

    def plan(
        self,
        unet: Any,
        layers: Iterable[AttentionLayer],
        installed: Mapping[str, Any] | None = None,
    ) -> AttentionPlan:
        """Record `layers` while they run what is in `installed`, or what they run now.

        Processors in `installed` of layers that aren't recorded stay in the plan.
        """
        inner = dict(installed or {})
        for layer in layers:
            attend = inner.get(layer.name) or unet.get_submodule(layer.name).processor
            inner[layer.name] = Recording(attend, layer, self)
        return AttentionPlan(inner)

    def see(self, layer: AttentionLayer, attn: Any, states: Tensor, context: Tensor) -> None:
        """Take in the maps of one call of a layer: queries from `states`, keys from `context`.

        states: (batch, tokens, channels); context: (batch, keys, channels).
        """
        heads = range(attn.heads) if self.heads is None else self.heads
        key = self.key(layer)
        rows = list(self.rows)
        queries, keys = (
            project(x[rows]).unflatten(-1, (attn.heads, -1)).transpose(1, 2).float()
            for project, x in ((attn.to_q, states), (attn.to_k, context))
        )  # (rows, heads, tokens, head_dim)
        queries = attn.scale * queries
        kept = len(heads) if self.heads_apart else 1
        shape = (len(rows), kept, states.shape[1], context.shape[1])
        if key not in self._means:
            self._means[key] = torch.zeros(shape, device=states.device)
        mean = self._means[key]
        if mean.shape != shape:
            raise ValueError(f"maps under {key!r} are {tuple(mean.shape)}, not {shape}")
        count = self._counts[key] = self._counts.get(key, 0) + 1
        mean.mul_((count - 1) / count)
        share = kept / (count * len(heads))
        for row in range(len(rows)):
            for place, head in enumerate(heads):
                scores = queries[row, head] @ keys[row, head].T
                mean[row, place % kept].add_(scores.softmax(dim=-1), alpha=share)


@dataclass(frozen=True)
class Recording:
    """An attention processor that shows a recorder what it gets, and leaves the rest to another."""

    attend: Any
    layer: AttentionLayer
    recorder: MapRecorder

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """What the other processor gives, of the same shape as hidden_states."""
        if self.recorder.active:
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            self.recorder.see(self.layer, attn, hidden_states, context)
        output: Tensor = self.attend(
            attn, hidden_states, encoder_hidden_states, attention_mask, temb
        )
        return output
