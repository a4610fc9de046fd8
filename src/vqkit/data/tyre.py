"""`tyre`: procedural tyre sections of five components, a data set without files.

An image is the left half of a mirror-symmetric tyre section, 64 high and 32 wide, in five binary components that never overlap:

    group_nc  carcass: the inner band, from the crown down to the bead
    group_km  crown: the band over the carcass, down to the shoulder
    bt        belt: thin plies over the crown
    fpu       sidewalls: outside on the flank, tapering towards the bead
    tpc       tread: outermost at the top, cut by grooves; a base layer below the grooves keeps it in one part

The outlines are nested superellipses above the belly (the widest row) and S-shaped flanks below it. The tread's design (thickness,
edge, number, place, width and depth of the grooves) and the crown's thickness are sampled independently of the rest, so
hidden components can only partly be predicted from visible ones.

Every machine draws the same pixels: random integers come from torch's Mersenne Twister on the processor, and outlines are computed
by NumPy in float64 with +, -, *, / and sqrt alone, element by element, all of which IEEE 754 defines to the last bit (torch hands
sqrt to a vector library that need not round so).
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from vqkit.config import Settings
from vqkit.data.splits import LabelMapSplit, condition_specs
from vqkit.interfaces import DataSpec, ImageDataset, SplitName
from vqkit.registry import DATASETS

COMPONENTS = ("group_nc", "group_km", "bt", "fpu", "tpc")
CONDITIONS = ("width_px", "height_px")
HEIGHT, WIDTH = 64, 32
CHUNK = 256
"""Number of sections rasterised together, chosen to fit the processor's cache."""

Numbers = NDArray[np.float64]
RowBits = NDArray[np.int64]
"""Rows of pixels: bit j is the column j pixels from the symmetry axis."""

_MOST = 10**6
"""Sections of a split, which are held in memory: 2 GB."""

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
    "flank_end": (1.5, 0.5, 3),  # thickness of the sidewall at the bead
    "bead": (0, 0.5, 5),  # how much thicker the carcass is at the bead
    "centre_groove": (0, 1, 2),  # whether a groove lies on the symmetry axis
    "side_grooves": (1, 1, 2),  # grooves beside it
    "groove_width": (2, 0.5, 3),
    "groove_depth": (0.45, 0.1, 3),  # as a share of the tread's thickness
    "groove_shift": (-1, 0.5, 5),
}


class Sections(NamedTuple):
    """Sections: `label_maps` uint8 [N, H, W] (0: background, k + 1: component k) and `conditions` float32 [N, 2] in pixels."""

    label_maps: Tensor
    conditions: Tensor


@DATASETS.register("tyre")
class TyreDataset(ImageDataset):
    """Tyre sections drawn on demand. A sample depends on the seed, its split and its number, not on the size of the splits."""

    class Options(Settings):
        """Settings of `tyre`."""

        num_train: int = Field(5_000, ge=1, le=_MOST, description="Training images.")
        num_val: int = Field(500, ge=1, le=_MOST, description="Validation images.")
        num_test: int = Field(1_000, ge=1, le=_MOST, description="Test images.")
        seed: int = Field(0, ge=0, lt=2**32, description="Seed of the sections.")

    def __init__(self, options: Options) -> None:
        self._options = options
        self._counts = {"train": options.num_train, "val": options.num_val, "test": options.num_test}
        self._sections: dict[str, Sections] = {}

    @cached_property
    def spec(self) -> DataSpec:
        """Names, size and, from the training sections, the ranges of the conditions."""
        ranges = condition_specs(CONDITIONS, self._draw("train").conditions)
        return DataSpec.uniform("tyre", COMPONENTS, HEIGHT, WIDTH, "binary", exclusive=True, conditions=ranges)

    def split(self, name: SplitName) -> LabelMapSplit:
        """One split, drawn at its first use."""
        sections = self._draw(name)
        return LabelMapSplit(self.spec, sections.label_maps, sections.conditions, prefix=name)

    def measure(self, images: Tensor) -> Tensor:
        """See `measure_conditions`."""
        return measure_conditions(images)

    def _draw(self, name: str) -> Sections:
        if name not in self._sections:
            seed = 3 * self._options.seed + list(self._counts).index(name)
            self._sections[name] = draw_sections(self._counts[name], torch.Generator().manual_seed(seed))
        return self._sections[name]


def draw_sections(count: int, generator: torch.Generator) -> Sections:
    """Draw `count` sections. The first n of them are the same whatever `count` is."""
    draws = torch.randint(2**16, (count, len(_PARAMETERS)), generator=generator).numpy()
    chunks = [_rasterise(_parameters(draws[start : start + CHUNK])) for start in range(0, count, CHUNK)]
    label_maps = torch.from_numpy(np.concatenate(chunks))
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
    width = 2 * (columns.shape[1] - _first(columns))
    height = rows.shape[1] - _first(rows) - _first(rows.flip(1))
    return torch.stack([width, height.clamp_min(0)], dim=1).to(torch.float32)


def _first(flags: Tensor) -> Tensor:
    """Position of the first True in each row of bool [B, n], n if there is none."""
    return torch.where(flags.any(dim=1), flags.to(torch.uint8).argmax(dim=1), flags.shape[1])


def _parameters(draws: NDArray[np.int64]) -> dict[str, Numbers]:
    """Integers [N, parameters] in 0 ... 65535 as values of each parameter, [N, 1], on a coarse grid."""
    values = {}
    for column, (name, (lowest, step, number)) in enumerate(_PARAMETERS.items()):
        values[name] = lowest + step * ((draws[:, column, None] * number) >> 16).astype(np.float64)
    return values


def _rasterise(p: dict[str, Numbers]) -> NDArray[np.uint8]:
    """Label maps [N, H, W] of sections with the given parameters, each [N, 1].

    Every outline is a half-width for each row, and a row of pixels is painted at once, as the bits of one integer.
    """
    rows = np.arange(HEIGHT)[None] + 0.5
    thickness = p["tread"] + p["belt"] + p["crown"] + p["carcass"]
    rise = np.maximum(p["belly_share"] * (p["bottom"] - p["top"]), thickness + 4)  # from the belly to the top
    belly_row = p["top"] + rise
    above = np.maximum(belly_row - rows, 0)
    below = np.clip((rows - belly_row) / (p["bottom"] - belly_row), 0, 1)
    sway = below * below * (3 - 2 * below)  # an S from the belly (0) to the bead (1)

    def arch(inset: Numbers | float, depth: Numbers | float) -> Numbers:
        """Half-widths [N, H] of the outermost arch, moved in by `inset` px at the belly and by `depth` px at the top."""
        return _superellipse(p["belly"] - inset, rise - depth, p["squareness"], above)

    flank = p["flank"] + 0.5 * p["crown"]  # of the carcass at the belly, from outside
    belt_depth = p["tread"] + p["belt"]
    crown_depth = belt_depth + p["crown"]
    groove_depth = p["groove_depth"] * p["tread"]
    tread_edge = p["tread_share"] * p["belly"]
    outer_drift = (p["belly"] - p["base"]) * sway
    inner_drift = outer_drift + (p["flank_end"] - flank) * sway
    bead = p["bead"] * np.maximum(5 * below - 4, 0)
    inside = {
        "tread": arch(0, 0),
        "groove floor": arch(p["groove_depth"] * p["flank"], groove_depth),
        "tread edge": tread_edge + 2 - 0.5 * (rows - p["top"]),  # the tread's end is cut across the slope of the shoulder
        "sidewall": arch(0, p["shoulder_step"]) - outer_drift,
        "belt outer": arch(p["flank"], p["tread"]),
        "belt edge": p["belt_share"] * tread_edge,
        "crown outer": arch(p["flank"], belt_depth),
        "carcass": arch(flank, crown_depth) - inner_drift,
        "cavity": arch(flank + p["carcass"], crown_depth + p["carcass"]) - inner_drift - bead,
    }
    # However flat the arch, the crown reaches at least as far down as its own thickness at the top.
    crown_end = np.maximum(belly_row + p["crown_end"], p["top"] + crown_depth + 1)
    painted = _paint(
        {name: _row_bits(half_width) for name, half_width in inside.items()},
        crown_rows=_row_bits(np.where(rows < crown_end, float(WIDTH), 0.0)),
        grooves=_grooves(p, tread_edge),
    )
    section_rows = _row_bits(np.where(rows < p["bottom"], float(WIDTH), 0.0))
    return _label_maps([layer & section_rows for layer in painted])


def _paint(inside: dict[str, RowBits], crown_rows: RowBits, grooves: RowBits) -> list[RowBits]:
    """The five components [N, H] from the areas inside each outline, the rows that the crown may reach, and the grooves [N, 1]."""
    tread = inside["tread"] & inside["tread edge"] & ~(grooves & ~inside["groove floor"])
    sidewall = inside["sidewall"] & ~inside["tread edge"]
    belt = inside["belt outer"] & inside["belt edge"] & crown_rows
    crown = inside["crown outer"] & crown_rows
    carcass = inside["carcass"]
    inner = carcass | crown
    layers = (carcass, crown & ~carcass, belt & ~inner, sidewall & ~(inner | belt), tread & ~(inner | belt))
    return [layer & ~inside["cavity"] for layer in layers]


def _grooves(p: dict[str, Numbers], tread_edge: Numbers) -> RowBits:
    """The columns that lie in a groove, [N, 1]. The ribs between grooves are equally wide before the shift."""
    centre, pairs = p["centre_groove"], p["side_grooves"]
    spacing = 2 * tread_edge / (2 * pairs + centre + 1)
    columns = np.where(centre > 0, _row_bits(0.5 * p["groove_width"]), 0)
    for pair in (1, 2):
        place = (pair - 0.5 * (1 - centre)) * spacing + p["groove_shift"]
        groove = _row_bits(place + 0.5 * p["groove_width"]) & ~_row_bits(place - 0.5 * p["groove_width"])
        columns |= np.where(pairs >= pair, groove, 0)
    return columns


def _superellipse(half_width: Numbers, rise: Numbers, squareness: Numbers, above: Numbers) -> Numbers:
    """Half-widths [N, H] of an arch at the distances `above` [N, H] from its widest row.

    A mean of an ellipse and of a superellipse of the fourth order, weighted by `squareness`; zero where `above` passes `rise`.
    """
    share = above / rise
    square: Numbers = np.minimum(share * share, 1)
    ellipse: Numbers = np.sqrt(1 - square)
    fourth_order: Numbers = np.sqrt(np.sqrt(1 - square * square))
    return half_width * (ellipse + squareness * (fourth_order - ellipse))


def _row_bits(half_width: Numbers) -> RowBits:
    """Rows of pixels as bits: bit j is set when the centre of column j is nearer to the symmetry axis than `half_width`."""
    columns = np.clip(np.ceil(half_width - 0.5), 0, WIDTH).astype(np.int64)
    bits: RowBits = np.left_shift(1, columns) - 1
    return bits


def _label_maps(layers: list[RowBits]) -> NDArray[np.uint8]:
    """Label maps [N, H, W], the axis at the right edge, of the components' rows [N, H] each."""
    labels = np.zeros((*layers[0].shape, WIDTH), dtype=np.uint8)
    for label, layer in enumerate(layers, start=1):
        # Written with the highest bit first, a row shows the column that is farthest from the axis first.
        labels += label * np.unpackbits(layer.astype(">u4").view(np.uint8), axis=-1).reshape(labels.shape)
    return labels
