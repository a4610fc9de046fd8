"""Tiny pictures at given paths, for tests of layouts."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def draw(root: Path, *relative: str, colour: bool = False, size: tuple[int, int] = (4, 6)) -> None:
    """A picture at each path below `root`, grey or in colour, `size` wide and high."""
    for each in relative:
        path = root / each
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", size, (200, 30, 90)) if colour else Image.new("L", size, 90)
        picture.save(path)
