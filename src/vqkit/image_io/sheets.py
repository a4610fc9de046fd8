"""Sheets of panels: labelled rows under headings with colour bars, in blocks one below the other where they are wide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw
from torch import Tensor

from vqkit.image_io.pictures import BACKGROUND, INK, font, to_pil

_LEAST_SIDE = 128
_WIDEST_SHEET = 1400
_WIDEST_TEXT = 170
_LINE, _MARGIN, _BAR = 16, 8, 7
_FRAME, _EDGE = (150, 150, 150), (224, 224, 224)


class Bar(NamedTuple):
    """A colour bar: colours uint8 [3, n] from its low to its high end, and what is written at the ends and between them."""

    colours: Tensor
    low: str
    high: str
    between: str = ""


class Column(NamedTuple):
    """The heading of a column of panels."""

    title: str
    bar: Bar | None = None
    note: str = ""


class PanelRow(NamedTuple):
    """A row of panels uint8 [n, 3, H, W], one for each column; `bar` where its colours are not those of the columns."""

    label: str
    panels: Tensor
    bar: Bar | None = None


def panel_sheet(rows: Sequence[PanelRow], headings: Sequence[Column], scale: int | None = None) -> Image.Image:
    """Labelled rows of panels under their headings; where the columns do not fit side by side, in blocks one below the other.

    All panels have one size; `scale`: how many times they are enlarged, by default until they can be seen well.
    """
    return _Sheet(rows, headings, scale).draw()


class _Sheet:
    """Where everything is on a sheet of panels, and the drawing of it."""

    def __init__(self, rows: Sequence[PanelRow], headings: Sequence[Column], scale: int | None) -> None:
        self.rows = rows
        height, width = rows[0].panels.shape[-2:]
        self.scale = scale or max(1, round(_LEAST_SIDE / max(height, 1)))
        self.size = width * self.scale, height * self.scale
        self.headings = [column._replace(title=_elided(column.title), note=_elided(column.note)) for column in headings]
        self.column = max(self.size[0], *map(_heading_width, self.headings)) + _MARGIN
        self.labels = [[_elided(line) for line in row.label.split("\n")] for row in rows]
        bars = [_ends_width(row.bar) for row in rows if row.bar]
        self.indent = 2 * _MARGIN + max(*(_width(line) for label in self.labels for line in label), *bars, 0)
        self.top = _MARGIN + 2 * _LINE + _BAR if any(column != Column("") for column in headings) else _MARGIN
        self.block = self.top + len(rows) * (self.size[1] + _MARGIN)
        fitting = max(1, (_WIDEST_SHEET - self.indent) // self.column)
        self.blocks = math.ceil(len(headings) / fitting)
        self.per_block = math.ceil(len(headings) / self.blocks)

    def draw(self) -> Image.Image:
        """The whole sheet."""
        shape = self.indent + self.per_block * self.column, self.blocks * self.block + _MARGIN * (self.blocks - 1)
        self.sheet = Image.new("RGB", shape, BACKGROUND)
        self.pen = ImageDraw.Draw(self.sheet)
        for number, heading in enumerate(self.headings):
            block, position = divmod(number, self.per_block)
            top, left = block * (self.block + _MARGIN), self.indent + position * self.column
            self._heading(heading, top, left)
            for order, row in enumerate(self.rows):
                inset = (self.column - _MARGIN - self.size[0]) // 2
                self._panel(row.panels[number], top + self.top + order * (self.size[1] + _MARGIN), left + inset)
        for block in range(self.blocks):
            for order, row in enumerate(self.rows):
                top = block * (self.block + _MARGIN) + self.top + order * (self.size[1] + _MARGIN)
                self._label(self.labels[order], row.bar, top)
        return self.sheet

    def _panel(self, panel: Tensor, top: int, left: int) -> None:
        """A panel with a thin line around it, so that white ones have an edge."""
        self.pen.rectangle((left - 1, top - 1, left + self.size[0], top + self.size[1]), outline=_EDGE)
        self.sheet.paste(to_pil(panel, self.scale), (left, top))

    def _heading(self, heading: Column, top: int, left: int) -> None:
        width = self.column - _MARGIN
        self._text(left + width // 2, top + _MARGIN + _LINE // 2, heading.title, "mm")
        if heading.bar:
            self._bar(heading.bar, top + _MARGIN + _LINE, left, width)
        else:
            self._text(left + width // 2, top + _MARGIN + _LINE + _BAR, heading.note, "mm")

    def _label(self, lines: Sequence[str], bar: Bar | None, top: int) -> None:
        height = len(lines) * _LINE + (_BAR + _LINE if bar else 0)
        first = top + max(0, self.size[1] - height) // 2
        for number, line in enumerate(lines):
            self._text(_MARGIN, first + number * _LINE + _LINE // 2, line, "lm")
        if bar:
            self._bar(bar, first + len(lines) * _LINE, _MARGIN, self.indent - 2 * _MARGIN)

    def _bar(self, bar: Bar, top: int, left: int, width: int) -> None:
        """A framed bar with its text below."""
        strip = to_pil(bar.colours[:, None]).resize((width, _BAR), Image.Resampling.BILINEAR)
        self.sheet.paste(strip, (left, top))
        self.pen.rectangle((left, top, left + width - 1, top + _BAR - 1), outline=_FRAME)
        below = top + _BAR + _LINE // 2
        self._text(left, below, bar.low, "lm")
        self._text(left + width - 1, below, bar.high, "rm")
        self._text(left + (width + _width(bar.low) - _width(bar.high)) // 2, below, bar.between, "mm")

    def _text(self, left: int, top: int, text: str, anchor: str) -> None:
        self.pen.text((left, top), text, fill=INK, font=font(), anchor=anchor)


def _heading_width(heading: Column) -> int:
    return max(_width(heading.title), _width(heading.note), _ends_width(heading.bar) if heading.bar else 0)


def _ends_width(bar: Bar) -> int:
    """The width of what is written below a bar."""
    return sum(_width(text) + _MARGIN for text in (bar.low, bar.between, bar.high) if text)


def _width(text: str) -> int:
    return math.ceil(font().getlength(text))


def _elided(text: str) -> str:
    """The text, its middle left out where it is too long for a heading."""
    if _width(text) <= _WIDEST_TEXT:
        return text
    kept = len(text) - 1
    while kept > 2 and _width(shortened := f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}") > _WIDEST_TEXT:
        kept -= 1
    return shortened
