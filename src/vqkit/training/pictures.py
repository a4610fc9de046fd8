"""The pictures of a run: what a task makes of a few validation images, as sheets."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image

from vqkit.image_io.panels import overview
from vqkit.image_io.pictures import composite, composite_shows_all, grid
from vqkit.interfaces import DataSpec, ShownImages

COMPONENTS = "components"
"""Name of the sheet that shows all components of the first image."""
_SIDE = 128


def training_pictures(rows: Mapping[str, ShownImages], spec: DataSpec) -> dict[str, Image.Image]:
    """A grid of composites for each row of images, by its name; and, where composites leave components out, `COMPONENTS`."""
    shown = {name: row._replace(images=row.images.float().cpu()) for name, row in rows.items()}
    shown = {name: row if row.present is None else row._replace(present=row.present.cpu()) for name, row in shown.items()}
    scale = max(1, round(_SIDE / spec.height))
    sheets = {name: grid(composite(images, spec, present), columns=8, scale=scale) for name, (images, present) in shown.items()}
    if not composite_shows_all(spec):
        sheets[COMPONENTS] = overview(list(shown.items()), spec)
    return sheets
