"""An image that was filled in as cards: for each component its pictures with captions, its errors and its colour bars.

Display ranges, colours and hatching are those of every figure of vqkit: see `vqkit.image_io.panels`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.app.session import Filling
from vqkit.evaluation.error_meter import ComponentErrors, pooled_psnr
from vqkit.image_io.panels import columns, grey_row, number_text, shown_range, views
from vqkit.image_io.sheets import Bar, Column, PanelRow
from vqkit.inference.figures import before_after_rows, is_one_picture
from vqkit.inference.sampler import Completions
from vqkit.interfaces import DataSpec, ShownImages
from vqkit.interfaces.components import ComponentSpec


class Picture(NamedTuple):
    """A picture uint8 [3, H, W] and what it shows."""

    caption: str
    pixels: Tensor


class Card(NamedTuple):
    """One component, or all `together`: `state` says what was given of it, `error` how wrong it is, empty where unknown.

    `bars`: the colour bars of its pictures, each with the caption of what it explains.
    """

    title: str
    state: str
    error: str
    pictures: tuple[Picture, ...]
    bars: tuple[tuple[str, Bar], ...] = ()


class Cards(NamedTuple):
    """Cards of what was filled in, the composite of all components first, and of components that were given."""

    filled: tuple[Card, ...]
    given: tuple[Card, ...]


def cards_of(filling: Filling, spec: DataSpec) -> Cards:
    """What was given, the result, and where it is known, the truth and the difference from it, component by component.

    Of a colour picture that misses all channels in the same pixels, only the picture is shown.
    """
    image, observed, present = filling.image.image, filling.image.observed, filling.image.present
    rows, headings = before_after_rows(image, observed, present, filling.filled.stored, spec)
    first = len(headings) - len(spec.components)
    cards = Cards((), ())
    if first:
        title = "Picture" if spec.is_colour else "All components"
        together = Card(title, _shown(headings[0]), _colour_error(filling, spec), _pictures(rows, 0))
        cards = cards._replace(filled=(together,))
        if is_one_picture(observed, spec):
            return cards
    for position, component in enumerate(spec.component_specs):
        column = first + position
        if bool(observed[position].all()):
            card = Card(component.name, "", "", _pictures(rows[:1], column), _bars(headings[column], component))
            cards = cards._replace(given=(*cards.given, card))
            continue
        partly = bool(observed[position].any())
        chosen = rows if partly else rows[1:]
        truth = bool((present & ~observed)[position].any())
        chosen = chosen if truth else [row for row in chosen if row.label not in ("truth", "difference")]
        bars = _bars(headings[column], component)
        if truth and rows[-1].bar is not None and component.kind == "intensity":
            bars += (("difference", rows[-1].bar),)
        error = error_text(filling.errors[position], component)
        card = Card(component.name, "partly given" if partly else "filled in", error, _pictures(chosen, column), bars)
        cards = cards._replace(filled=(*cards.filled, card))
    return cards


def answer_cards(filling: Filling, completions: Completions, spec: DataSpec) -> tuple[Card, ...]:
    """Several answers for each component that was not given as a whole, the best first, and where they differ."""
    image, observed = filling.image.image, filling.image.observed
    answers, uncertainty = completions.images[0], completions.uncertainty[0]
    unit = spec.to_unit(torch.cat([image[None], answers]))
    ends = shown_range([ShownImages(unit[:1], observed), ShownImages(unit[1:])], spec)
    nats = [f"{value:.1f} nats" for value in completions.nll[0].tolist()]
    rows = [PanelRow(caption, views(each, spec, None, ends)) for caption, each in zip(nats, unit[1:], strict=True)]
    rows.append(grey_row("uncertainty", uncertainty, spec))
    headings = columns(spec, ends)
    first = len(headings) - len(spec.components)
    cards = []
    if first:
        cards.append(Card("All components", _shown(headings[0]), "", _pictures(rows, 0)))
    if is_one_picture(observed, spec):
        return (cards[0]._replace(title="Picture"),)
    for position, component in enumerate(spec.component_specs):
        if not bool(observed[position].all()):
            column = first + position
            bars = _bars(headings[column], component)
            cards.append(Card(component.name, "", "", _pictures(rows, column), bars))
    return tuple(cards)


def error_text(errors: ComponentErrors | None, component: ComponentSpec) -> str:
    """The errors of a component in words, in its own unit; empty where the true values are not known."""
    if errors is None:
        return ""
    if component.kind == "binary":
        return f"IoU {errors.iou:.3f}"
    unit = f" {component.unit}" if component.unit else ""
    rmse = "" if math.isnan(errors.rmse) else f"RMSE {number_text(errors.rmse)}{unit}, "
    return f"{rmse}PSNR {errors.psnr:.1f} dB, SSIM {errors.ssim:.2f}"


def _colour_error(filling: Filling, spec: DataSpec) -> str:
    """The error of a colour picture, over its channels; of other images, the components have theirs."""
    found = [each for each in filling.errors if each is not None]
    if not spec.is_colour or not found:
        return ""
    mse = sum(each.mse for each in found) / len(found)
    return f"PSNR {pooled_psnr(mse):.1f} dB, SSIM {sum(each.ssim for each in found) / len(found):.2f}"


def _shown(heading: Column) -> str:
    """Which components a picture of all of them shows, if not all."""
    return f"shown: {heading.note}" if heading.note else ""


def _pictures(rows: Sequence[PanelRow], column: int) -> tuple[Picture, ...]:
    return tuple(Picture(row.label, row.panels[column]) for row in rows)


def _bars(heading: Column, component: ComponentSpec) -> tuple[tuple[str, Bar], ...]:
    """The colour bar of an intensity, which says what is black and what is white."""
    return () if heading.bar is None or component.kind == "binary" else (("values", heading.bar),)
