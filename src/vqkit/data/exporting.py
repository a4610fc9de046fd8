"""Exporting images of a data set as files that `vqkit inpaint` and the `components` data set read."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vqkit.core.atomic import write_atomically
from vqkit.image_io.pictures import image_files, save_picture
from vqkit.image_io.tables import TABLE, write_table
from vqkit.interfaces import Split


def export(split: Split, split_name: str, count: int, out: Path) -> list[Path]:
    """Write the first `count` images of a split (or all, if there are fewer) to `out`, and return the paths.

    Several components are written in the component layout, composites and `performances.csv` included; colour and grey pictures
    as one PNG each. Every file is either whole or absent. Raises `OSError`.
    """
    indices = first_indices(split, count)
    batch = split.batch(indices)
    names = split.names(indices)
    written: list[Path] = []
    for image, name in zip(batch.images, names, strict=True):
        for path, picture in image_files(image, name, out, split.spec).items():
            save_picture(picture, path)
            written.append(path)
    if split.spec.conditions:
        with write_atomically(out / TABLE) as temporary:
            write_table(temporary, names, split_name, split.spec.condition_names, batch.conditions)
        written.append(out / TABLE)
    return written


def first_indices(split: Split, count: int) -> Tensor:
    """The positions of the first `count` images of a split, or of all if there are fewer: int64 [B]."""
    return torch.arange(min(count, len(split)))
