"""The figure of one scored image: where its codes are expensive, where they lose something, and every component."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from vqkit.image_io.heat import heat, heat_bar
from vqkit.image_io.panels import columns, difference_row, reduced, shown_range, views
from vqkit.image_io.pictures import stacked
from vqkit.image_io.sheets import Column, PanelRow, panel_sheet
from vqkit.inference.oddity import Oddity, enlarged
from vqkit.interfaces import DataSpec, ShownImages


def oddity_figure(image: Tensor, found: Oddity, lines: Sequence[str], tops: tuple[float, float], spec: DataSpec) -> Image.Image:
    """A figure of one image: float [C, H, W] in units of the range, with what was measured of it (a batch of one).

    `lines`: what stands beside it; `tops`: the bits of a place and the root mean square error of a pixel with the full colour.
    Above, the image, its reconstruction and both maps; below, for more than one component that is not a colour picture, every
    component with its reconstruction and the difference.
    """
    present, rebuilt = found.present[0], found.reconstructions[0]
    ends = shown_range([ShownImages(each[None], found.present) for each in (image, rebuilt)], spec)
    given, decoded = views(image, spec, present, ends), views(rebuilt, spec, present, ends)
    bits, shown = reduced(enlarged(found.surprise, spec)[None], enlarged(found.places, spec)[None])
    errors, known = reduced(found.root_errors()[None], found.present.any(dim=1)[None])
    maps = [
        heat(bits[0], tops[0], None if shown is None else shown[0]),
        heat(errors[0], tops[1], None if known is None else known[0]),
    ]
    headings = [
        Column("image"),
        Column("from its codes"),
        Column("bits", heat_bar(tops[0], "a place")),
        Column("error", heat_bar(tops[1], "RMS")),
    ]
    together = torch.cat([given[:1], decoded[:1], *maps])
    top = panel_sheet([PanelRow("\n".join(lines), together)], headings)
    if len(spec.components) == 1 or spec.is_colour:
        return top
    rows = [PanelRow("image", given), PanelRow("from its codes", decoded), difference_row(rebuilt, image, spec, present)]
    return stacked([top, panel_sheet(rows, columns(spec, ends))])
