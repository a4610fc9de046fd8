"""A trained model as a folder of graphs, with a description of what they take and give: `vqkit export`.

encode.onnx, decode.onnx, fill_in.onnx     or .pt2
export.json                                inputs, outputs, components and their ranges, and how far they were checked
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import vqkit
from vqkit.core.atomic import write_text
from vqkit.errors import ConfigError
from vqkit.inference.export.checking import Parity, compare, drawn_images, drawn_masks
from vqkit.inference.export.graphs import Graph, graphs_of
from vqkit.inference.export.parts import exportable, without_kriging
from vqkit.inference.export.writing import SUFFIXES, Format, open_graph, write_graph
from vqkit.interfaces import DataSpec
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded

DESCRIPTION = "export.json"
CHECKED_IMAGES = 8
_UNIT_VALUES = (
    "unit = (t(stored) - t(low)) / (t(high) - t(low)), where t is the transform of the component: linear, or with the sign kept "
    "sqrt, log1p or asinh. Not clipped. Binary components are set where a result is at least 0.5; filled-in intensities are "
    "clipped to minimum .. maximum, whole numbers rounded."
)


class Examples(NamedTuple):
    """Images with which graphs are checked: float32 [B, C, H, W] in unit values, NaN where there are no data, and their conditions
    float32 [B, D], NaN where unknown.
    """

    images: Tensor
    conditions: Tensor


class Exported(NamedTuple):
    """The written files, and how they compare with the model."""

    files: tuple[Path, ...]
    parity: Parity


def parse_format(name: str) -> Format:
    """The format of that name. Raises `ConfigError` where there is none."""
    for each in SUFFIXES:
        if each == name:
            return each
    raise ConfigError(f"There is no format '{name}' to export to.", f"Formats are {' and '.join(SUFFIXES)}.")


def export_model(loaded: Loaded, out: Path, form: Format, examples: Examples | None = None) -> Exported:
    """Write the graphs of a model on the CPU into the directory `out` and check them with `examples` (None: drawn images).

    Raises `DataError` where a package is missing, for a model that a graph cannot hold, and where the written files do not give
    what the model gives; `OSError` when it cannot write.
    """
    graphs = graphs_of(exportable(loaded.model))
    running = {}
    files = []
    for graph in graphs:
        path = out / f"{graph.name}{SUFFIXES[form]}"
        write_graph(graph, path, form)
        running[graph] = open_graph(path, graph, form)
        files.append(path)
    spec = loaded.model.spec
    if examples is None:
        examples = Examples(drawn_images(spec, CHECKED_IMAGES), spec.unknown_conditions(CHECKED_IMAGES))
    masks = drawn_masks(examples.images.shape) & examples.images.isfinite()
    parity = compare(without_kriging(loaded.model), running, examples.images, masks, examples.conditions)
    content = describe(loaded, graphs, form, parity)
    write_text(out / DESCRIPTION, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    parity.check()
    return Exported((*files, out / DESCRIPTION), parity)


def describe(loaded: Loaded, graphs: list[Graph], form: Format, parity: Parity) -> dict[str, Any]:
    """The content of export.json."""
    spec: DataSpec = loaded.model.spec
    described = spec.to_json()
    return {
        "format": form,
        "vqkit": vqkit.__version__,
        "torch": torch.__version__,
        "model": MODELS.name_of(loaded.model),
        "digest": loaded.digest,
        "data": spec.name,
        "graphs": {
            graph.name: {
                "file": f"{graph.name}{SUFFIXES[form]}",
                "inputs": [each.to_json() for each in graph.inputs],
                "outputs": [each.to_json() for each in graph.outputs],
            }
            for graph in graphs
        },
        "axes": "Pictures are [batch, component, row, column]; components have the order of this list.",
        "unit_values": _UNIT_VALUES,
        "components": described["component_specs"],
        "exclusive": spec.exclusive,
        "holes": "Where no component is known, intensities start from smooth interpolation here, and from kriging in vqkit.",
        "conditions": described["conditions"],
        "checked": {
            "images": parity.images,
            "codes": parity.codes,
            "codes_that_differ": parity.other_codes,
            "largest_difference_decoded": parity.decoded,
            "largest_difference_filled": parity.filled,
        },
    }
