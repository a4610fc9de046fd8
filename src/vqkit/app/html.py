"""Parts of the page as HTML. Everything that comes from files or runs is escaped."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jinja2

from vqkit.app.cards import Card, Cards
from vqkit.app.codes_used import CodesUsed, code_colour
from vqkit.errors import VQKitError
from vqkit.evaluation.next_component import Choice
from vqkit.image_io.data_uris import data_uri
from vqkit.image_io.pictures import to_pil
from vqkit.image_io.sheets import Bar

_SMALL = 128
"""Pictures up to this many pixels are enlarged without smoothing."""
_STOPS = 4


def heading(title: str, lines: Sequence[str], notes: Sequence[str] = ()) -> str:
    """The head of the page: a title, lines on the run, and notes."""
    return _render("heading", title=title, lines=lines, notes=notes)


def notice(error: VQKitError) -> str:
    """What the command line says of an error: a sentence and a hint."""
    return _render("notice", kind="error", message=error.message, hint=error.hint)


def note(text: str) -> str:
    """A sentence that is no error."""
    return _render("notice", kind="note", message=text, hint="")


def results(cards: Cards, title: str) -> str:
    """What was filled in, and what was given."""
    has_truth = any(picture.caption == "difference" for card in cards.filled for picture in card.pictures)
    filled, given = list(map(_shown, cards.filled)), list(map(_shown, cards.given))
    return _render("results", title=title, filled=filled, given=given, has_truth=has_truth)


def answers(cards: Sequence[Card], text: str) -> str:
    """Several answers."""
    return _render("answers", cards=list(map(_shown, cards)), text=text)


def codes(used: CodesUsed) -> str:
    """The map of codes of each level, and how many different ones there are."""
    levels = []
    for level in used.levels:
        height, width = level.codes.shape
        cells = [
            {"x": number % width, "y": number // width, "code": code, "colour": code_colour(code)}
            for number, code in enumerate(level.codes.flatten().tolist())
        ]
        levels.append({"level": level, "cells": cells, "height": height, "width": width})
    return _render("codes", levels=levels, is_part=used.is_part)


def advice(choice: Choice) -> str:
    """Which component to measure next, and what each candidate leaves of the error."""
    step = choice.steps[0]
    top = max(*step.candidates.values(), step.before or 0.0, 1e-9)
    candidates = sorted(step.candidates.items(), key=lambda each: each[1])
    rows = [{"name": name, "error": f"{error:.4f}", "share": f"{100 * error / top:.1f}"} for name, error in candidates]
    return _render("advice", choice=choice, step=step, rows=rows)


def _shown(card: Card) -> dict[str, object]:
    """What the template needs of a card."""
    pictures = [
        {
            "caption": picture.caption,
            "uri": data_uri(to_pil(picture.pixels)),
            "height": picture.pixels.shape[1],
            "width": picture.pixels.shape[2],
            "small": max(picture.pixels.shape[1:]) <= _SMALL,
        }
        for picture in card.pictures
    ]
    bars = [{"caption": caption, "bar": bar, "colours": _gradient(bar)} for caption, bar in card.bars]
    return {"card": card, "pictures": pictures, "bars": bars}


def _gradient(bar: Bar) -> str:
    """The colours of a bar for CSS."""
    count = bar.colours.shape[1]
    places = [round(number * (count - 1) / _STOPS) for number in range(_STOPS + 1)]
    return ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in bar.colours[:, places].T.tolist())


def _render(name: str, **values: object) -> str:
    return _environment().get_template(f"{name}.html.jinja").render(**values)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("vqkit.app", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
