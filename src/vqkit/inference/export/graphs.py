"""The graphs of a model: what each takes and gives, and the module that is traced.

    encode   images, observed                       -> codes of each level               models with codes
    decode   codes, (images, observed), conditions  -> expected images                   models with codes
    fill_in  images, observed, conditions           -> images with what is missing       all models

Shapes: B images, C components, H x W pixels, D condition values, h x w a grid of codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.interfaces import Autoencoder, Context, Tokenizer
from vqkit.models.coding import CodingModel

_TYPES = {"float32": torch.float32, "bool": torch.bool, "int64": torch.int64}
MOST_IMAGES = 2**20
"""The largest batch that a graph says it takes."""


@dataclass(frozen=True)
class Port:
    """An input or an output of a graph: its name, type (float32, bool or int64), shape after the batch, and meaning."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str

    def to_json(self) -> dict[str, Any]:
        """As in export.json, with the batch as first dimension."""
        return {"name": self.name, "dtype": self.dtype, "shape": ["batch", *self.shape], "meaning": self.meaning}

    def example(self, count: int) -> Tensor:
        """Any tensor of this type and shape."""
        return torch.zeros(count, *self.shape, dtype=_TYPES[self.dtype])


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph to be written: its name, the module that is traced with the inputs in their order, and what it gives."""

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class _Encode(nn.Module):
    def __init__(self, model: Tokenizer) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        return self.model.encode(torch.where(observed, images, 0), observed)


class _Decode(nn.Module):
    """Takes `levels` tensors of codes, then images and observed pixels if `context`, then conditions if the model has some."""

    def __init__(self, model: Tokenizer, levels: int, context: bool) -> None:
        super().__init__()
        self.model, self.levels, self.context = model, levels, context

    def forward(self, *inputs: Tensor) -> Tensor:
        codes, rest = inputs[: self.levels], inputs[self.levels :]
        seen = Context(torch.where(rest[1], rest[0], 0), rest[1]) if self.context else None
        return self.model.decode(codes, _conditions(rest[2 * self.context :], codes[0]), seen)


class _FillIn(nn.Module):
    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, observed: Tensor, *conditions: Tensor) -> Tensor:
        expected = self.model.complete(torch.where(observed, images, 0), observed, _conditions(conditions, images))
        return torch.where(observed, images, expected)


def _conditions(given: Sequence[Tensor], like: Tensor) -> Tensor:
    """Condition values [B, D], also where there are none."""
    return given[0] if given else torch.zeros(like.shape[0], 0)


def graphs_of(model: Autoencoder) -> list[Graph]:
    """The graphs of an exportable model (see `parts.exportable`)."""
    spec = model.spec
    size = len(spec.components), spec.height, spec.width
    images = Port("images", "float32", size, "Pixels in unit values; anything, also NaN, where they are not observed.")
    observed = Port("observed", "bool", size, "True where a pixel is known.")
    picture = Port("expected", "float32", size, "Expected pixels in unit values.")
    conditions: tuple[Port, ...] = ()
    if spec.conditions:
        meaning = f"Values of {', '.join(spec.condition_names)} in the units of the data; NaN where unknown."
        conditions = (Port("conditions", "float32", (len(spec.conditions),), meaning),)
    filled = Port("filled", "float32", size, "Observed pixels as they were given, and the expected ones elsewhere, in unit values.")
    fill_in = Graph("fill_in", _FillIn(model), (images, observed, *conditions), (filled,))
    if not isinstance(model, Tokenizer):
        return [fill_in]
    levels = zip(model.level_names, model.code_shapes, model.cardinalities, strict=True)
    codes = tuple(Port(f"codes_{name}", "int64", shape, f"Indices from 0 to {count - 1}.") for name, shape, count in levels)
    seen = (images, observed) if isinstance(model, CodingModel) and model.decoder.context is not None else ()
    decode = Graph("decode", _Decode(model, len(codes), bool(seen)), (*codes, *seen, *conditions), (picture,))
    return [Graph("encode", _Encode(model), (images, observed), codes), decode, fill_in]
