"""`tyre`: procedural tyre sections of five components, the data set that needs no files.

An image is the left half of a mirror-symmetric tyre section, 64 high and 32 wide, drawn as five binary components that never overlap:

    group_nc  carcass: the inner band, from the crown down to the bead
    group_km  crown: the band over the carcass, down to the shoulder
    bt        belt: thin plies over the crown
    fpu       sidewalls: outside on the flank, tapering towards the bead
    tpc       tread: outermost at the top, cut by grooves; a base layer below the grooves keeps it in one part

The outlines are nested superellipses above the belly (the widest row) and S-shaped flanks below it. The tread's design (thickness,
edge, number, place, width and depth of the grooves) and the crown's thickness are drawn independently of the rest, so what is
hidden can only partly be told from what is shown.

Every machine draws the same pixels: random integers come from torch's Mersenne Twister on the processor, and outlines are computed
in float64 with +, -, *, / and sqrt alone, element by element, all of which IEEE 754 defines to the last bit.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from vqkit.config import Settings
from vqkit.data.splits import LabelMapSplit, condition_specs
from vqkit.interfaces import DataSpec, ImageDataset
from vqkit.registry import DATASETS

COMPONENTS = ("group_nc", "group_km", "bt", "fpu", "tpc")
CONDITIONS = ("width_px", "height_px")
HEIGHT, WIDTH = 64, 32
CHUNK = 256
"""Sections drawn at once: what is in work stays in the cache, and is too little for torch to start threads, which would cost more."""

# Each parameter: lowest value, step, number of values; in pixels where nothing else is said.
_PARAMETERS: dict[str, tuple[float, float, int]] = {
    "top": (6, 0.5, 13),
    "bottom": (52, 0.5, 13),
    "belly_share": (0.40, 0.01, 13),  # place of the widest row, as a share of the height from the top
    "belly": (20, 0.5, 17),  # half-width at the widest row
    "base": (10, 0.5, 17),  # half-width at the bead
    "squareness": (0.4, 0.1, 7),  # 0: elliptic crown, 1: square shoulders
    "carcass": (3, 0.5, 4),
    "crown": (3, 0.5, 6),  # thickness at the top
    "crown_end": (-7, 0.5, 11),  # row of its lower end, from the belly
    "belt": (2, 0.5, 3),
    "belt_share": (0.74, 0.02, 9),  # half-width, as a share of the tread's
    "tread": (3.5, 0.5, 6),
    "tread_share": (0.70, 0.02, 8),  # half-width, as a share of the belly's
    "shoulder_step": (0, 0.5, 3),  # how far the tread stands out over the sidewall
    "flank": (1.5, 0.5, 4),  # thickness of the sidewall at the belly, where the crown ended
    "flank_end": (1, 0.5, 4),  # thickness of the sidewall at the bead
    "bead": (0, 0.5, 5),  # how much thicker the carcass is at the bead
    "centre_groove": (0, 1, 2),  # whether a groove lies on the symmetry axis
    "side_grooves": (1, 1, 2),  # grooves beside it
    "groove_width": (2, 0.5, 3),
    "groove_depth": (0.45, 0.1, 3),  # as a share of the tread's thickness
    "groove_shift": (-1, 0.5, 5),
}


class Sections(NamedTuple):
    """Drawn sections: `label_maps` uint8 [N, H, W] (0: nothing, k + 1: component k) and `conditions` float32 [N, 2] in pixels."""

    label_maps: Tensor
    conditions: Tensor


@DATASETS.register("tyre", "procedural tyre sections, five binary components, 64 x 32 (built in)")
class TyreDataset(ImageDataset):
    """Tyre sections drawn on demand. A sample depends on the seed, its split and its number, not on the size of the splits."""

    class Options(Settings):
        """Settings of `tyre`."""

        num_train: int = Field(16_000, ge=1, description="Training images.")
        num_val: int = Field(2_000, ge=1, description="Validation images.")
        num_test: int = Field(2_000, ge=1, description="Test images.")
        seed: int = Field(0, ge=0, lt=2**32, description="Which sections are drawn.")

    def __init__(self, options: Options) -> None:
        self._options = options
        self._counts = {"train": options.num_train, "val": options.num_val, "test": options.num_test}
        self._sections: dict[str, Sections] = {}

    @cached_property
    def spec(self) -> DataSpec:  # type: ignore[override]
        """Names, size and, from the training sections, the ranges of the conditions."""
        ranges = condition_specs(CONDITIONS, self._draw("train").conditions)
        return DataSpec("tyre", COMPONENTS, HEIGHT, WIDTH, "binary", exclusive=True, conditions=ranges)

    def split(self, name: Literal["train", "val", "test"]) -> LabelMapSplit:
        """One split, drawn at its first use."""
        sections = self._draw(name)
        return LabelMapSplit(self.spec, sections.label_maps, sections.conditions, prefix=name)

    def _draw(self, name: str) -> Sections:
        if name not in self._sections:
            seed = 3 * self._options.seed + list(self._counts).index(name)
            self._sections[name] = draw_sections(self._counts[name], torch.Generator().manual_seed(seed))
        return self._sections[name]


def draw_sections(count: int, generator: torch.Generator) -> Sections:
    """Draw `count` sections. The first n of them are the same whatever `count` is."""
    draws = torch.randint(2**16, (count, len(_PARAMETERS)), generator=generator)
    label_maps = torch.cat([_rasterise(_parameters(chunk)) for chunk in draws.split(CHUNK)])
    return Sections(label_maps, _extent(label_maps != 0))


def measure_conditions(images: Tensor) -> Tensor:
    """Width and height in pixels of the mirrored sections, float32 [B, 2], from images [B, C, H, W] (set where above half range).

    The width is twice the number of columns from the first occupied one to the symmetry axis at the right edge; the height is
    the number of rows from the first to the last occupied one. An empty image measures 0 x 0.
    """
    threshold = 0.5 if images.is_floating_point() else 127
    return _extent((images > threshold).any(dim=1))


def _extent(occupied: Tensor) -> Tensor:
    """(width, height) float32 [B, 2] of bool [B, H, W]."""
    columns, rows = occupied.any(dim=1), occupied.any(dim=2)
    return torch.stack([2 * (columns.shape[1] - _first(columns)), rows.shape[1] - _first(rows) - _first(rows.flip(1))], dim=1).clamp_min(0).float()


def _first(flags: Tensor) -> Tensor:
    """Position of the first True in each row of bool [B, n], n if there is none."""
    return torch.where(flags.any(dim=1), flags.to(torch.uint8).argmax(dim=1), flags.shape[1])


def _parameters(draws: Tensor) -> dict[str, Tensor]:
    """Integers [N, parameters] in 0 ... 65535 as values of each parameter, float64 [N, 1], on a coarse grid."""
    values = {}
    for column, (name, (lowest, step, number)) in enumerate(_PARAMETERS.items()):
        values[name] = lowest + step * ((draws[:, column, None] * number) >> 16).to(torch.float64)
    return values


def _rasterise(p: dict[str, Tensor]) -> Tensor:
    """Label maps uint8 [N, H, W] of sections with the given parameters, each float64 [N, 1].

    Every outline is a number of columns, counted from the symmetry axis, for each row; layers are painted from the outside inwards.
    """
    rows = torch.arange(HEIGHT, dtype=torch.float64)[None] + 0.5
    flank = _flank(p)
    belly_row = p["top"] + flank.rise
    above = (belly_row - rows).clamp_min(0)
    below = ((rows - belly_row) / (p["bottom"] - belly_row)).clamp(0, 1)
    sway = below * below * (3 - 2 * below)  # an S from the belly (0) to the bead (1)

    def arch(inset: Tensor | float, depth: Tensor | float) -> Tensor:
        """Half-widths [N, H] of the outermost arch, moved in by `inset` px at the belly and by `depth` px at the top."""
        return _superellipse(p["belly"] - inset, flank.rise - depth, p["squareness"], above)

    sidewall_below = flank.carcass_inset + (p["flank_end"] - flank.carcass_inset) * sway
    drift = (p["belly"] - p["base"]) * sway
    bead = p["bead"] * (5 * below - 4).clamp_min(0)
    belt_depth = p["tread"] + p["belt"]
    crown_depth = belt_depth + p["crown"]
    groove_depth = p["groove_depth"] * p["tread"]
    tread_edge = p["tread_share"] * p["belly"]
    inside = {
        "tread": arch(0, 0),
        "groove floor": arch(groove_depth * p["flank"] / p["tread"], groove_depth),
        "tread edge": tread_edge + 2 - 0.5 * (rows - p["top"]),  # the tread's end is cut across the slope of the shoulder
        "sidewall": arch(0, p["shoulder_step"]) - drift,
        "belt outer": arch(p["flank"], p["tread"]),
        "belt edge": (p["belt_share"] * tread_edge).expand_as(above),
        "crown outer": arch(p["flank"], belt_depth),
        "carcass": arch(flank.carcass_inset, crown_depth) - drift - (sidewall_below - flank.carcass_inset),
        "cavity": arch(flank.carcass_inset + p["carcass"], crown_depth + p["carcass"]) - drift - (sidewall_below - flank.carcass_inset) - bead,
    }
    rows_inside = {name: _row_masks(outline) for name, outline in inside.items()}
    shoulder_rows = -(rows < belly_row + p["crown_end"]).to(torch.int64)  # all bits set above the crown's end
    labels = _paint(rows_inside, shoulder_rows, _grooves(p, tread_edge))
    return _unpack(labels * (rows < p["bottom"]))


class _Flank(NamedTuple):
    """`rise`: px from the belly to the top; `carcass_inset`: px from the outermost outline to the carcass at the belly; both [N, 1]."""

    rise: Tensor
    carcass_inset: Tensor


def _flank(p: dict[str, Tensor]) -> _Flank:
    thickness = p["tread"] + p["belt"] + p["crown"] + p["carcass"]
    rise = torch.maximum(p["belly_share"] * (p["bottom"] - p["top"]), thickness + 4)
    return _Flank(rise, p["flank"] + 0.5 * p["crown"])


def _paint(inside: dict[str, Tensor], shoulder_rows: Tensor, grooves: Tensor) -> Tensor:
    """Row masks of the five components, int64 [5, N, H], from those of the areas inside each outline, [N, H], and of the grooves, [N, 1]."""
    tread = inside["tread"] & inside["tread edge"] & ~(grooves & ~inside["groove floor"])
    belt = inside["belt outer"] & inside["belt edge"] & shoulder_rows
    crown = inside["crown outer"] & shoulder_rows
    carcass = inside["carcass"]
    inner = carcass | crown
    sidewall = inside["sidewall"] & ~inside["tread edge"]
    layers = [carcass, crown & ~carcass, belt & ~inner, sidewall & ~(inner | belt), tread & ~(inner | belt)]
    return torch.stack(layers) & ~inside["cavity"]


def _grooves(p: dict[str, Tensor], tread_edge: Tensor) -> Tensor:
    """Row masks int64 [N, 1] of the columns that lie in a groove. Ribs between grooves are equally wide before the shift."""
    column = torch.arange(WIDTH, dtype=torch.float64)[None] + 0.5
    centre, pairs = p["centre_groove"], p["side_grooves"]
    spacing = 2 * tread_edge / (2 * pairs + centre + 1)
    inside = (column < 0.5 * p["groove_width"]) & (centre > 0)
    for pair in (1, 2):
        place = (pair - 0.5 * (1 - centre)) * spacing + p["groove_shift"]
        inside |= ((column - place).abs() < 0.5 * p["groove_width"]) & (pairs >= pair)
    return (inside.to(torch.int64) << torch.arange(WIDTH)).sum(dim=1, keepdim=True)


def _superellipse(half_width: Tensor, rise: Tensor, squareness: Tensor, above: Tensor) -> Tensor:
    """Half-widths [N, H] of an arch at the distances `above` [N, H] from its widest row.

    A mean of an ellipse and of a superellipse of the fourth order, weighted by `squareness`; zero above its apex, where `above` >= `rise`.
    """
    square = (above / rise).square()
    ellipse = (1 - square).clamp_min(0).sqrt()
    fourth = (1 - square * square).clamp_min(0).sqrt().sqrt()
    return half_width * (ellipse + squareness * (fourth - ellipse))


def _row_masks(half_width: Tensor) -> Tensor:
    """Rows of pixels as bits, int64: bit j is set when the centre of column j, counted from the axis, is nearer than `half_width`."""
    return (1 << (half_width - 0.5).ceil().clamp(0, WIDTH).to(torch.int64)) - 1


def _unpack(masks: Tensor) -> Tensor:
    """Label maps uint8 [N, H, W], the axis at the right edge, of the components' row masks int64 [C, N, H]."""
    bits = ((torch.arange(256)[:, None] >> torch.arange(7, -1, -1)) & 1).to(torch.uint8)
    octets = torch.stack([(masks >> shift) & 255 for shift in range(WIDTH - 8, -8, -8)], dim=-1)
    pixels = bits[octets].flatten(-2)
    return (pixels * torch.arange(1, len(masks) + 1, dtype=torch.uint8)[:, None, None, None]).sum(dim=0, dtype=torch.uint8)
