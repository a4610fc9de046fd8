"""One image from files of single components: absent where there is no file, on one grid whatever the resolution of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.errors import DataError
from vqkit.image_io.inputs import Item
from vqkit.image_io.layouts import Member
from vqkit.image_io.originals import Channel, ComponentOriginal, single_channel
from vqkit.image_io.rasters import RasterInfo, open_raster
from vqkit.image_io.resampling import Axis, resample
from vqkit.image_io.scales import Extremes, describe_numbers, find_extremes, known_values, numbers_of_others, to_model
from vqkit.image_io.values import tensor_of
from vqkit.interfaces import DataSpec
from vqkit.interfaces.components import ComponentSpec

_SAME_SHAPE = 0.02
"""Largest difference of the ratios of height to width of components that show the same area."""


class _Layer(NamedTuple):
    """The one channel of a file: values and presence [h, w], and its header."""

    values: NDArray[Any]
    present: NDArray[np.bool_] | None
    info: RasterInfo


class ComponentsRead(NamedTuple):
    """An image [C, H, W] as stored values of the model, where it is present, and the files that it was read from."""

    image: Tensor
    present: Tensor
    original: ComponentOriginal


def read_components(item: Item, spec: DataSpec) -> ComponentsRead:
    """The image of an item whose components lie in files of their own.

    Those of a lower resolution than the largest are interpolated on its grid, as in training. Raises `DataError` naming a file that
    cannot be read, that is not one channel, or that shows another area than the others.
    """
    layers = {
        number: _read_layer(item.members[component.name], component, spec)
        for number, component in enumerate(spec.component_specs)
        if component.name in item.members
    }
    largest = max(layers.values(), key=lambda layer: layer.values.size)
    height, width = largest.values.shape
    _check_shapes(layers, largest)
    found = {number: find_extremes(layer.values, layer.present) for number, layer in layers.items()}
    meanings = meanings_of({number: layer.info for number, layer in layers.items()}, found, spec)
    channels = {
        number: Channel(layer.values, meanings[number].component_specs[number], layer.info) for number, layer in layers.items()
    }
    image, present = _on_one_grid(layers, meanings, spec, height, width)
    first = meanings[next(iter(meanings))]
    original = ComponentOriginal(numbers_of_others(first, spec), channels, largest.info, item.component_path)
    return ComponentsRead(image, present, original)


def _on_one_grid(
    layers: dict[int, _Layer], meanings: dict[int, DataSpec], spec: DataSpec, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """All components as stored values of the model, and where they are present: [C, height, width] each."""
    image = np.zeros((len(spec.component_specs), height, width), np.result_type(*(each.dtype for each in spec.component_specs)))
    present = np.zeros(image.shape, bool)
    for number, layer in layers.items():
        values, known = layer.values, layer.present
        if values.shape != (height, width):
            rows, columns = (Axis(own, whole, 0, whole) for own, whole in zip(values.shape, (height, width), strict=True))
            values, known = resample(values, known, rows, columns, spec.component_specs[number].kind == "binary")
        meaning = meanings[number]
        image[number] = values if meaning is spec else as_stored(values, number, meaning, spec).numpy()
        present[number] = True if known is None else known
    return torch.from_numpy(image), torch.from_numpy(present)


def _read_layer(member: Member, component: ComponentSpec, spec: DataSpec) -> _Layer:
    """The channel of a file that is a component. Greyscale may be stored as three equal channels."""
    with open_raster(member.path) as raster:
        info = raster.info
        chosen = None if member.channel is None else (member.channel,)
        values, present = raster.read(channels=chosen)
    if len(values) == 3 and info.is_colour and (values == values[:1]).all():
        values = values[:1]
    if len(values) != 1:
        kind = "a colour picture" if info.is_colour else f"an image of {len(values)} channels"
        raise DataError(f"{member.path} is {kind}; {component.name} is one component.", "Give a greyscale picture, or one channel.")
    known = known_values(values[0], None if present is None else present[0], component, spec)
    return _Layer(values[0], known, single_channel(info, member.channel or 0))


def _check_shapes(layers: dict[int, _Layer], largest: _Layer) -> None:
    height, width = largest.values.shape
    for layer in layers.values():
        own_height, own_width = layer.values.shape
        if abs(own_height * width / (own_width * height) - 1) > _SAME_SHAPE:
            raise DataError(
                f"{layer.info.path} is {own_width} wide and {own_height} high; {largest.info.path} is {width} and {height}.",
                "The components of an image must show the same area.",
            )


def meanings_of(files: Mapping[int, RasterInfo], found: Mapping[int, Extremes | None], spec: DataSpec) -> dict[int, DataSpec]:
    """What the numbers of each component mean, from its file and its extremes. Binary components of one type go together."""
    meanings: dict[int, DataSpec] = {}
    for number, info in files.items():
        if number in meanings:
            continue
        together = [number]
        if spec.component_specs[number].kind == "binary":
            together = [
                other for other in files if spec.component_specs[other].kind == "binary" and files[other].dtype == info.dtype
            ]
        extremes = [found[other] if other in together else None for other in range(len(spec.component_specs))]
        meanings |= dict.fromkeys(together, describe_numbers(info.dtype, extremes, spec, str(info.path)))
    return {number: meanings[number] for number in files}


def as_stored(values: NDArray[Any], number: int, meaning: DataSpec, spec: DataSpec) -> Tensor:
    """Values [h, w] of one component as stored values of the model."""
    if meaning is spec:
        return tensor_of(values)
    alone, model = (replace(each, component_specs=(each.component_specs[number],), display=()) for each in (meaning, spec))
    numbers = tensor_of(values.astype(alone.component_specs[0].dtype, copy=False))
    return to_model(numbers[None], alone, model)[0]
