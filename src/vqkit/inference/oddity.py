"""How unusual images are, and where: what their codes cost under a prior, and what their codes lose.

    bits        the cost of a place's codes, in bits, under the prior: of each code given those before it in the prior's order
    surprise    the same given all other codes, which blames the place itself; only of priors that predict in any order
    error       squared error of the reconstruction from the codes alone, of each pixel in units of the components' ranges

Only what is present counts: pixels for errors, and places with a pixel that is present for costs. The prior and the tokenizer are
given nothing beside the image: no conditions, no class, nothing observed.

Shapes: B images, C components, H x W pixels, h x w places of the finest grid of codes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Codes, Conditioning, DataSpec, where_present
from vqkit.priors.left_out import left_out_nll, predicts_left_out

SIGNALS = ("bits", "peak", "error")
"""What an image is judged by, beside what is derived from these."""


PEAK = 3
"""Rows and columns of places over which the surprise is averaged: a fault rarely fits into the place of one code."""


class Oddity(NamedTuple):
    """What was measured of B images, on the CPU.

    `bits` and `surprise` float32 [B, h, w]: the cost of each place, the latter equal to the former where the prior has only one
    order; 0 where nothing is present. `errors` float32 [B, C, H, W], 0 where not present. `reconstructions` float32
    [B, C, H, W] in units of the range. `places` bool [B, h, w] and `present` bool [B, C, H, W]: what counts.
    """

    bits: Tensor
    surprise: Tensor
    errors: Tensor
    reconstructions: Tensor
    places: Tensor
    present: Tensor

    @property
    def total_bits(self) -> Tensor:
        """The bits of each image's codes, float64 [B]."""
        return self.bits.double().sum(dim=(1, 2))

    def root_errors(self) -> Tensor:
        """The root mean square error of each pixel over the components that it has, float32 [B, H, W]; 0 where it has none."""
        return (self.errors.sum(dim=1) / self.present.sum(dim=1).clamp_min(1)).sqrt()

    def largest(self) -> dict[str, Tensor]:
        """The highest surprise of a place (bits) and the largest of the `root_errors` (error) of each image, float64 [B]."""
        maps = {"bits": self.surprise, "error": self.root_errors()}
        return {name: values.double().amax(dim=(1, 2)) for name, values in maps.items()}

    def signals(self) -> dict[str, Tensor]:
        """Each of `SIGNALS` for each image, float64 [B]; NaN of an image of which nothing is present.

        bits: the mean cost of a place; peak: the highest mean surprise of `PEAK` x `PEAK` places; error: the mean squared error.
        """
        pixels = self.present.sum(dim=(1, 2, 3)).double()
        return {
            "bits": self.total_bits / self.places.sum(dim=(1, 2)).double(),
            "peak": _highest_mean(self.surprise.double(), self.places),
            "error": self.errors.double().sum(dim=(1, 2, 3)) / pixels,
        }


@torch.inference_mode()
def measure_oddity(sampler: Sampler, images: Tensor, present: Tensor) -> Oddity:
    """Measure images float [B, C, H, W] in units of the range, which are `present` (bool of that shape), of the size of a tile."""
    pipeline, prior, device = sampler.pipeline, sampler.prior, sampler.device
    shown = where_present(images.to(torch.float32), present)
    codes = pipeline.encode_unit(shown, present)
    expected = pipeline.decode_batch(codes, pipeline.spec.unknown_conditions(len(images)))
    given = tuple(level.to(device) for level in codes)
    conditioning = Conditioning.unconditional(len(images), prior.spec, device)
    shapes = prior.spec.shapes
    finest = max(shapes, key=math.prod)
    own = tuple(places_of(present, shape) for shape in shapes)
    bits = spread(prior.nll(given, conditioning), own, finest)
    surprise = spread(left_out_nll(prior, given, conditioning), own, finest) if predicts_left_out(prior) else bits
    errors = where_present((expected - shown).square(), present)
    return Oddity(bits.clone(), surprise.clone(), errors.clone(), expected, places_of(present, finest), present)


def places_of(present: Tensor, shape: tuple[int, int]) -> Tensor:
    """The places of a grid in which any pixel of any component is present, bool [B, h, w], from `present` bool [B, C, H, W]."""
    return F.adaptive_max_pool2d(present.any(dim=1, keepdim=True).float(), shape)[:, 0] > 0


def spread(levels: Codes, counted: tuple[Tensor, ...], shape: tuple[int, int]) -> Tensor:
    """Nats of the codes of all levels as bits of the places of the finest grid, float32 [B, h, w] on the CPU.

    A code of a coarser level is spread evenly over the places that it stands for; codes that are not `counted`, bool [B, h, w] of
    each level, are left out.
    """
    total = torch.zeros(len(levels[0]), *shape)
    for nats, places in zip(levels, counted, strict=True):
        bits = where_present(nats.float().cpu(), places.cpu()) / math.log(2)
        down, right = shape[0] // bits.shape[1], shape[1] // bits.shape[2]
        total += bits.repeat_interleave(down, dim=1).repeat_interleave(right, dim=2) / (down * right)
    return total


def _highest_mean(values: Tensor, places: Tensor) -> Tensor:
    """The highest mean of `PEAK` x `PEAK` places, float64 [B], of values float64 [B, h, w] that are 0 where no `places` are.

    It is over the places that count, in squares of which at least half do; in any, where there are no such. NaN without places.
    """
    side = min(PEAK, places.shape[1]), min(PEAK, places.shape[2])
    counts = F.avg_pool2d(places.double(), side, stride=1, divisor_override=1)
    means = F.avg_pool2d(values, side, stride=1, divisor_override=1) / counts
    filled = 2 * counts >= side[0] * side[1]
    usable = torch.where(filled.flatten(1).any(dim=1)[:, None, None], filled, counts > 0)
    highest = torch.where(usable, means, -math.inf).amax(dim=(1, 2))
    return torch.where(highest.isinf(), torch.nan, highest)


def enlarged(places: Tensor, spec: DataSpec) -> Tensor:
    """A map of places [..., h, w] with a value for each pixel, [..., H, W]."""
    down, right = spec.height // places.shape[-2], spec.width // places.shape[-1]
    return places.repeat_interleave(down, dim=-2).repeat_interleave(right, dim=-1)
