"""Figures of filling in: what was given beside what came out, component by component, and the truth where it is known."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from vqkit.image_io.panels import columns, difference_row, grey_row, shown_range, views
from vqkit.image_io.pictures import composite, composite_shows_all, rows_figure
from vqkit.image_io.sheets import Column, PanelRow, panel_sheet
from vqkit.interfaces import DataSpec, ShownImages

MAX_SHOWN = 8
"""Completions in a figure, however many are drawn."""


def before_after(image: Tensor, observed: Tensor, present: Tensor, filled: Tensor, spec: DataSpec) -> Image.Image:
    """A figure of one image: what was given, the result, and where it is known, the truth and the difference from it.

    `image` and `filled`: stored values [C, H, W]; `observed` and `present`: bool [C, H, W], the given and the known part of the
    image. All components are shown as panels, beside their composite; of a colour picture that misses all channels in the same
    pixels only the picture is shown.
    """
    drawn, headings = before_after_rows(image, observed, present, filled, spec)
    if is_one_picture(observed, spec):
        drawn, headings = [row._replace(panels=row.panels[:1]) for row in drawn], [Column("")]
    return panel_sheet(drawn, headings)


def before_after_rows(
    image: Tensor, observed: Tensor, present: Tensor, filled: Tensor, spec: DataSpec
) -> tuple[list[PanelRow], list[Column]]:
    """What `before_after` shows: rows called given, filled in, and where it is known, truth and difference, with their headings."""
    unit, result = spec.to_unit(torch.stack([image, filled]))
    rows = [("given", unit, observed), ("filled in", result, None)]
    known = bool((present & ~observed).any())
    if known:
        rows.append(("truth", unit, present))
    ends = shown_range([ShownImages(each[None], where) for _, each, where in rows], spec)
    drawn = [PanelRow(label, views(each, spec, where, ends)) for label, each, where in rows]
    if known:
        drawn.append(difference_row(result, unit, spec, present))
    return drawn, columns(spec, ends)


def is_one_picture(observed: Tensor, spec: DataSpec) -> bool:
    """Whether an image is a colour picture of which the same pixels are known in all channels; `observed` bool [C, H, W]."""
    return spec.is_colour and torch.equal(observed, observed[:1].expand_as(observed))


def completions_figure(
    image: Tensor, observed: Tensor, present: Tensor, completions: Tensor, nll: Tensor, uncertainty: Tensor, spec: DataSpec
) -> Image.Image:
    """A figure of one image: what was given, the first completions, their uncertainty, and where it is known, the truth.

    `image` and `completions`: stored values [C, H, W] and [K, C, H, W], with `nll` float32 [K]; `observed` and `present`: as for
    `before_after`; `uncertainty` float [C, H, W], 1 is white. In one row of composites where these show everything, else with a row
    for each and the components as panels.
    """
    shown = spec.to_unit(torch.cat([image[None], completions[:MAX_SHOWN]]))
    nats = [f"{value:.1f} nats" for value in nll[:MAX_SHOWN].tolist()]
    known = bool((present & ~observed).any())
    if composite_shows_all(spec):
        least_certain = uncertainty.amax(dim=0).clamp(0, 1).mul(255).round().to(torch.uint8)
        pictures = [composite(shown[:1], spec, observed[None]), composite(shown[1:], spec), least_certain.expand(1, 3, -1, -1)]
        titles = ["given", *nats, "uncertainty"]
        if known:
            pictures.append(composite(shown[:1], spec, present[None]))
            titles.append("truth")
        return rows_figure([("", torch.cat(pictures))], titles=titles)
    rows = [("given", shown[0], observed), *((name, each, None) for name, each in zip(nats, shown[1:], strict=True))]
    truth = [("truth", shown[0], present)] if known else []
    ends = shown_range([ShownImages(each[None], where) for _, each, where in (*rows, *truth)], spec)
    drawn, last = ([PanelRow(label, views(each, spec, where, ends)) for label, each, where in part] for part in (rows, truth))
    return panel_sheet([*drawn, grey_row("uncertainty", uncertainty, spec), *last], columns(spec, ends))
