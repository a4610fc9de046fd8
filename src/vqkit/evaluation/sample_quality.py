"""How close samples are to the data: plausible shapes, similar contents, and adherence to the requested conditions.

Components of exclusive data cannot overlap in final images, whatever the decoder's output. So shapes are measured twice: in the
final images, and with each component thresholded at one half by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from vqkit.evaluation.metrics import THRESHOLD
from vqkit.evaluation.shape_statistics import connected_parts, have_usual_parts, overlap_share, part_shares
from vqkit.inference.postprocess import discretize
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, DataSpec, ImageDataset

OVERLAP_ALLOWED = 0.001
"""The largest share of an image's pixels in which components may overlap for the image to count as free of overlap."""
USUAL_SHARE = 0.005
"""The share of the training images that must have a number of connected parts for it to count as usual."""


class Reference(NamedTuple):
    """Statistics of images that samples are compared with.

    `values` float64 [C]: mean of each component in stored values, of a binary one the share of its pixels that are set; `parts`
    float64 [S, M]: of each of the S binary components, the share of the images with 0 ... M - 1 connected parts; None where there
    are no binary components.
    """

    values: Tensor
    parts: Tensor | None


class GeneratedImages(NamedTuple):
    """Images to measure: the decoder's `expected` float [N, C, H, W], and the `final` ones, which are discretised; unit values."""

    name: str
    expected: Tensor
    final: Tensor


@dataclass(frozen=True)
class Plausibility:
    """Shares of images whose shapes are like those of the data.

    `free_of_overlap`: components overlap in at most `OVERLAP_ALLOWED` of the pixels; `usual_parts`: every component has a number of
    connected parts that at least `USUAL_SHARE` of the training images have; `both`. `overlap`: the mean share of the pixels in
    which components overlap.
    """

    name: str
    images: int
    free_of_overlap: float
    usual_parts: float
    both: float
    overlap: float


@dataclass(frozen=True)
class Contents:
    """Statistics of images by component, to be compared with those of the training images.

    `values`: the mean in stored values, of a binary component the share of its pixels that are set; `parts`: of each binary
    component, the share of the images with 0, 1, 2, ... connected parts.
    """

    name: str
    values: dict[str, float]
    parts: dict[str, list[float]]


@dataclass(frozen=True)
class Adherence:
    """How closely samples follow a condition, in its own unit, as measured on the samples.

    `mean_absolute_error` and `bias` (mean of measured minus requested) over `images` samples; `reconstruction_error`: the mean
    absolute error of the tokenizer's reconstructions of the images that have these conditions, a practical lower limit.
    """

    condition: str
    images: int
    mean_absolute_error: float
    bias: float
    reconstruction_error: float


def reconstructed(sampler: Sampler, batch: Batch) -> GeneratedImages:
    """The tokenizer's reconstructions of a batch of whole images, stored values [N, C, H, W]."""
    expected = sampler.pipeline.fill(batch.images, batch.observed)
    return GeneratedImages("reconstructions", expected, discretize(expected, sampler.spec))


def shapes_of(images: Tensor, spec: DataSpec) -> Tensor:
    """The shapes of images [N, C, H, W] in unit values: their S binary components, bool [N, S, H, W]."""
    return images[:, spec.binary] >= THRESHOLD


def held_shapes(batch: Batch, spec: DataSpec) -> Tensor:
    """Which of the S binary components each image of a batch holds anything of, bool [N, S]."""
    return batch.observed.flatten(2).any(dim=2)[:, spec.binary]


def plausibilities(drawn: GeneratedImages, usual: Tensor, spec: DataSpec) -> list[Plausibility]:
    """Plausibility of the final images and of independently thresholded ones; `usual` [S, M] as `Reference.parts`."""
    return [
        plausibility(drawn.name, shapes_of(drawn.final, spec), usual),
        plausibility(f"{drawn.name}, thresholded independently", shapes_of(drawn.expected, spec), usual),
    ]


def plausibility(name: str, shapes: Tensor, usual: Tensor, held: Tensor | None = None) -> Plausibility:
    """Plausibility of shapes bool [N, S, H, W]; `held` bool [N, S]: those that an image has at all; None: all."""
    overlap = overlap_share(shapes)
    free = overlap <= OVERLAP_ALLOWED
    parts = have_usual_parts(connected_parts(shapes), usual, USUAL_SHARE, held)
    free_share, usual_share, both = (float(flags.double().mean()) for flags in (free, parts, free & parts))
    return Plausibility(name, len(shapes), free_share, usual_share, both, float(overlap.mean()))


def contents(drawn: GeneratedImages, spec: DataSpec) -> Contents:
    """Contents of the final images."""
    values = spec.from_unit(drawn.final).double().mean(dim=(0, 2, 3))
    parts = None
    if bool(spec.binary.any()):
        shapes = shapes_of(drawn.final, spec)
        values[spec.binary] = shapes.double().mean(dim=(0, 2, 3))
        parts = part_shares(connected_parts(shapes))
    return reference_contents(drawn.name, Reference(values, parts), spec)


def reference_contents(name: str, reference: Reference, spec: DataSpec) -> Contents:
    """The statistics by component name."""
    values = dict(zip(spec.components, reference.values.tolist(), strict=True))
    binary = [each.name for each in spec.component_specs if each.kind == "binary"]
    parts = {} if reference.parts is None else dict(zip(binary, reference.parts.tolist(), strict=True))
    return Contents(name, values, parts)


def adherence(
    dataset: ImageDataset, requested: Mapping[str, Tensor], samples: Tensor, reconstructions: Tensor
) -> tuple[Adherence, ...]:
    """Adherence of samples to the `requested` values [N] by name, beside that of reconstructions of the images with these values.

    Both are float [N, C, H, W] in unit values. Unknown values (NaN) do not count. Empty for a data set whose conditions cannot be
    measured on images.
    """
    measured, floor = dataset.measure(samples), dataset.measure(reconstructions)
    if measured is None or floor is None:
        return ()
    results = []
    for name, values in requested.items():
        if name not in dataset.spec.condition_names or bool(values.isnan().all()):
            continue
        column = dataset.spec.condition_names.index(name)
        known = ~values.isnan()
        errors, least = ((each[:, column] - values)[known].double() for each in (measured, floor))
        means = (float(mean) for mean in (errors.abs().mean(), errors.mean(), least.abs().mean()))
        results.append(Adherence(name, int(known.sum()), *means))
    return tuple(results)
