"""Whether written graphs give what their model gives: the same codes, and the same pictures up to rounding.

Shapes: B images, C components, H x W pixels, D condition values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.config import HolesConfig
from vqkit.core.randomness import generator_for
from vqkit.data.masking import sample_parts, sample_pixels
from vqkit.errors import DataError
from vqkit.inference.export.graphs import Graph
from vqkit.inference.export.writing import Runner
from vqkit.interfaces import Autoencoder, Context, DataSpec, Tokenizer

LARGEST_DIFFERENCE = 1e-3
"""Of a pixel, in unit values, from one way of rounding to another; beyond it a graph is wrong."""
MOST_OTHER_CODES = 1e-3
"""Share of the codes that may differ: features halfway between two codes are rounded to one or to the other."""
_BATCH = 32


@dataclass
class Parity:
    """What was compared: numbers of `images` and `codes`, how many codes are others, and the largest differences of pictures.

    `decoded` is None for a model without codes; `filled_alike` is the difference over those images whose codes are all equal.
    """

    images: int = 0
    codes: int = 0
    other_codes: int = 0
    decoded: float | None = None
    filled: float = 0.0
    filled_alike: float = 0.0

    def describe(self) -> str:
        """In words."""
        pictures = f"pictures differ by at most {max(self.filled, self.decoded or 0.0):.1e} of their range"
        if not self.codes:
            return pictures
        same = f"all {self.codes} codes are equal" if not self.other_codes else f"{self.other_codes} of {self.codes} codes differ"
        return f"{same}, {pictures}"

    def check(self) -> None:
        """Raise `DataError` where differences are larger than those of rounding."""
        wrong = max(self.filled_alike, self.decoded or 0.0)
        if wrong > LARGEST_DIFFERENCE or self.other_codes > MOST_OTHER_CODES * self.codes + 1:
            raise DataError(
                f"The written graphs do not give what the model gives: {self.describe()}.",
                "Do not use them. Try the other --format, or other versions of torch and onnxruntime.",
            )


def compare(model: Autoencoder, running: Mapping[Graph, Runner], images: Tensor, observed: Tensor, conditions: Tensor) -> Parity:
    """Compare the graphs of a model with it on images float [B, C, H, W] in unit values of which some is observed.

    The model computes in float32 on the CPU; `conditions` float32 [B, D], NaN where unknown.
    """
    parity = Parity()
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            part = slice(start, start + _BATCH)
            _compare_batch(model, running, images[part], observed[part], conditions[part], parity)
    return parity


def _compare_batch(
    model: Autoencoder, running: Mapping[Graph, Runner], images: Tensor, observed: Tensor, conditions: Tensor, parity: Parity
) -> None:
    seen = torch.where(observed, images, 0)
    given = {"images": images, "observed": observed, "conditions": conditions}
    same = torch.ones(len(images), dtype=torch.bool)
    named = {graph.name: graph for graph in running}
    parity.images += len(images)
    if isinstance(model, Tokenizer):
        codes = model.encode(seen, observed)
        results = _run(named["encode"], running, given)
        differs = [one != other for one, other in zip(results, codes, strict=True)]
        parity.codes += sum(each.numel() for each in differs)
        parity.other_codes += sum(int(each.sum()) for each in differs)
        same = ~torch.stack([each.flatten(1).any(dim=1) for each in differs]).any(dim=0)
        given |= {port.name: level for port, level in zip(named["encode"].outputs, codes, strict=True)}
        for shown in (observed, torch.zeros_like(observed)):
            expected = model.decode(codes, conditions, Context(torch.where(shown, images, 0), shown))
            (decoded,) = _run(named["decode"], running, {**given, "observed": shown})
            parity.decoded = max(parity.decoded or 0.0, float((decoded - expected).abs().max()))
    (filled,) = _run(named["fill_in"], running, given)
    expected = torch.where(observed, images, model.complete(seen, observed, conditions))
    apart = (filled - expected).abs().flatten(1).amax(dim=1)
    parity.filled = max(parity.filled, float(apart.max()))
    parity.filled_alike = max(parity.filled_alike, float(torch.where(same, apart, 0).max()))


def _run(graph: Graph, running: Mapping[Graph, Runner], given: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return running[graph](tuple(given[port.name] for port in graph.inputs))


def drawn_images(spec: DataSpec, count: int) -> Tensor:
    """Images without meaning, float32 [count, C, H, W] in unit values: smooth fields that the components share, and some noise."""
    generator = generator_for("export-images", 0)
    size = len(spec.components), max(2, spec.height // 8), max(2, spec.width // 8)
    coarse = (torch.rand(count, 1, *size[1:], generator=generator) + torch.rand(count, *size, generator=generator)) / 2
    smooth = F.interpolate(coarse, size=(spec.height, spec.width), mode="bilinear")
    images = smooth + 0.02 * torch.randn(smooth.shape, generator=generator)
    return torch.where(spec.binary[:, None, None], (images > 0.5).float(), images)


def drawn_masks(shape: torch.Size) -> Tensor:
    """What is observed of images [B, C, H, W], bool: everything, some components, all but a hole, or some beside such a hole."""
    generator = generator_for("export-masks", 0)
    sizes = shape[0], shape[1], shape[2], shape[3]
    kept = sample_parts(sizes, HolesConfig(), generator)
    holes = sample_pixels(sizes, "pixels", generator).expand(sizes)
    number = torch.arange(shape[0])[:, None, None, None] % 4
    observed = torch.ones_like(holes)
    for kind, masks in enumerate((kept, holes, kept | holes), 1):
        observed = torch.where(number == kind, masks, observed)
    return observed
