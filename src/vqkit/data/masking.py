"""Random masks: kept components, boxes, free-form strokes and halves, and the masking schedule of training.

`observed` is bool [B, C, H, W] and True where a pixel is known, everywhere in vqkit. Sampling is vectorised over the batch.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from vqkit.config import HolesConfig, MaskingConfig

PIXEL_KINDS = ("boxes", "free-form", "half")
BOX_SIDE = (0.15, 0.35)
"""Shortest and longest side of a box, as a share of the image's side (values of the cat inpainting study)."""
_EVERY_ROW = slice(None)


def mask_probability(config: MaskingConfig, epoch: float) -> float:
    """Probability that a sample is masked at a (fractional) epoch: linear from 0 to `max_probability` over the warm-up."""
    if config.warmup_epochs == 0:
        return config.max_probability
    return config.max_probability * min(1.0, epoch / config.warmup_epochs)


def sample_observed(
    shape: tuple[int, int, int, int],
    probability: float,
    config: HolesConfig,
    generator: torch.Generator,
    held: Tensor | None = None,
) -> Tensor:
    """Sample masks for training: each sample is masked with `probability`, and fully observed otherwise.

    `shape` is (B, C, H, W); `held`: see `keep_sets`. Returns bool [B, C, H, W], which does not know of single absent pixels. Where
    components are hidden, an image that holds a single one has nothing to hide: the others are masked so much more often that the
    masked share of the batch is the same, as far as that goes.
    """
    if held is not None and config.kind in ("auto", "components"):
        probability *= len(held) / int((held.sum(dim=1) > 1).sum().clamp_min(1))
    masked = torch.rand(shape[0], generator=generator) < probability
    return sample_parts(shape, config, generator, held) | ~masked[:, None, None, None]


def sample_parts(
    shape: tuple[int, int, int, int], config: HolesConfig, generator: torch.Generator, held: Tensor | None = None
) -> Tensor:
    """Sample masks in which every image has something hidden: bool [B, C, H, W] of `shape` (B, C, H, W).

    `held`: see `keep_sets`; an image that holds a single component keeps it whole.
    """
    if config.kind not in ("auto", "components", "components-or-boxes"):
        return sample_pixels(shape, config.kind, generator).expand(shape)
    kept = keep_sets(shape[0], shape[1], config.keep, generator, held)[:, :, None, None].expand(shape)
    if config.kind != "components-or-boxes":
        return kept
    either = torch.rand(shape[0], generator=generator)[:, None, None, None] < 0.5
    return torch.where(either, kept, sample_pixels(shape, "boxes", generator))


def keep_sets(batch: int, components: int, keep: str, generator: torch.Generator, held: Tensor | None = None) -> Tensor:
    """Which components each sample keeps, bool [B, C].

    `one`: exactly one, uniform. `any`: their number is uniform over 1 ... C-1, then which ones is uniform. A single component is
    always kept. `held` bool [B, C]: the components that each sample has at all, from which alone it keeps some; None: all.
    """
    drawn = torch.rand(batch, components, generator=generator)
    if held is not None:
        order = drawn.masked_fill(~held, torch.inf).argsort(dim=1).argsort(dim=1)
        most_held = (held.sum(dim=1) - 1).clamp_min(1)
        share = torch.rand(batch, generator=generator)
        counts = 1 + (share * most_held).long().clamp_max(most_held - 1) if keep == "any" else torch.ones_like(most_held)
        return order < counts[:, None]
    order = drawn.argsort(dim=1).argsort(dim=1)
    most = max(1, components - 1)
    count = torch.randint(1, most + 1, (batch,), generator=generator) if keep == "any" else torch.ones(batch, dtype=torch.int64)
    return order < count[:, None]


def mask_components(images: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """The operation of the component-masking study: with probability `p`, keep one component of a sample and zero the others.

    `images` [B, C, H, W]; returns a tensor of the same shape. vqkit's models also receive the mask: see
    `sample_observed`.
    """
    generator = generator or torch.Generator().manual_seed(int(torch.randint(2**31, ()).item()))
    batch, components, height, width = images.shape
    observed = sample_observed((batch, components, height, width), p, MaskingConfig(keep="one"), generator)
    return images * observed.to(images.device)


def sample_pixels(
    shape: tuple[int, int, int, int], kind: str, generator: torch.Generator, rows: Tensor | slice = _EVERY_ROW
) -> Tensor:
    """A hole in each sample of the given kind, the same in all channels: bool [B, 1, H, W], True outside the hole.

    `rows`: only these samples of the batch (int64 [N]) are returned, which are what they are in the whole batch.
    """
    batch, _, height, width = shape
    if kind == "boxes":
        return _boxes(batch, height, width, generator, rows)
    if kind == "free-form":
        return _strokes(batch, height, width, generator, rows)
    if kind == "half":
        return _halves(batch, height, width, generator, rows)
    choice = torch.randint(len(PIXEL_KINDS), (batch,), generator=generator)[rows][:, None, None, None]
    drawn = torch.stack([sample_pixels(shape, each, generator, rows) for each in PIXEL_KINDS])
    return drawn.gather(0, choice[None].expand(1, -1, 1, height, width))[0]


def _boxes(batch: int, height: int, width: int, generator: torch.Generator, rows: Tensor | slice) -> Tensor:
    """One box per sample, with sides uniform in `BOX_SIDE` relative to the image, anywhere inside it."""
    low, high = BOX_SIDE
    side = low + (high - low) * torch.rand(batch, 2, generator=generator)
    size = (side * torch.tensor([height, width])).round().clamp_min(1)
    start = (torch.rand(batch, 2, generator=generator) * (torch.tensor([height, width]) - size + 1)).floor()
    start, size = start[rows], size[rows]
    vertical, horizontal = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    top, left = start[:, 0, None, None], start[:, 1, None, None]
    inside = (vertical >= top) & (vertical < top + size[:, 0, None, None])
    inside = inside & (horizontal >= left) & (horizontal < left + size[:, 1, None, None])
    return ~inside[:, None]


def _strokes(batch: int, height: int, width: int, generator: torch.Generator, rows: Tensor | slice, segments: int = 6) -> Tensor:
    """One thick random walk per sample: a chain of straight strokes whose direction changes slightly at every joint."""
    extent = torch.tensor([height, width], dtype=torch.float32)
    joints = [torch.rand(batch, 2, generator=generator) * extent]
    angle = torch.rand(batch, generator=generator) * 2 * torch.pi
    for _ in range(segments):
        angle = angle + (torch.rand(batch, generator=generator) - 0.5) * 2
        length = (0.1 + 0.2 * torch.rand(batch, generator=generator)) * min(height, width)
        step = torch.stack([angle.sin(), angle.cos()], dim=1) * length[:, None]
        joints.append((joints[-1] + step).clamp(torch.zeros(2), extent))
    radius = (0.03 + 0.05 * torch.rand(batch, generator=generator)) * min(height, width)
    grid = torch.stack(torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"), dim=-1)
    joints, radius = [joint[rows] for joint in joints], radius[rows]
    hole = torch.zeros(len(radius), height, width, dtype=torch.bool)
    for start, end in pairwise(joints):
        along = (end - start)[:, None, None]
        offset = grid[None] - start[:, None, None]
        share = ((offset * along).sum(-1) / along.square().sum(-1).clamp_min(1e-6)).clamp(0, 1)
        distance = (offset - share[..., None] * along).norm(dim=-1)
        hole |= distance <= radius[:, None, None].clamp_min(0.75)
    return ~hole[:, None]


def _halves(batch: int, height: int, width: int, generator: torch.Generator, rows: Tensor | slice) -> Tensor:
    """The upper, lower, left or right half of each sample is hidden."""
    side = torch.randint(4, (batch,), generator=generator)[rows][:, None, None]
    row, column = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    vertical = torch.where(side == 0, row < height // 2, row >= height - height // 2)
    horizontal = torch.where(side == 2, column < width // 2, column >= width - width // 2)
    return ~torch.where(side < 2, vertical, horizontal)[:, None]


def held_components(present: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Which components each image of `shape` (B, C, H, W) holds anything of, bool [B, C], by what is `present`."""
    return present.flatten(2).any(dim=2).expand(shape[0], shape[1])


def observed_components(keep: list[int], shape: tuple[int, int, int, int]) -> Tensor:
    """Exactly the components at the positions `keep` are observed: bool [B, C, H, W]."""
    kept = torch.zeros(shape[1], dtype=torch.bool)
    kept[keep] = True
    return kept[None, :, None, None].expand(shape)
