"""One image of which some components are known, and nothing else is there."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

from vqkit.errors import DataError
from vqkit.image_io.inputs import find_inputs, split_name
from vqkit.image_io.reading import InputImage, ReadOptions, read_images
from vqkit.interfaces import DataSpec


class OneImage(NamedTuple):
    """An image, the names of the components that it holds, and sentences on what was left out of its directory."""

    image: InputImage
    known: tuple[str, ...]
    notes: tuple[str, ...]


def read_one_image(
    path: Path, spec: DataSpec, known: tuple[str, ...] = (), pattern: str | None = None, form: str | None = None
) -> OneImage:
    """The only image at a path, which holds the components `known` and no others (empty: whatever it holds).

    Raises `DataError` for a path with no image or with several, and for an image that lacks a known component or holds another one;
    `ConfigError` for an unknown component, form or pattern.
    """
    spec.component_indices(known)
    items, notes = find_inputs(path, spec, pattern)
    if len(items) > 1:
        raise DataError(f"{path} holds {len(items)} images, and one is expected.", f"Name one of them, such as {items[0].path}.")
    # A component that is named by its file need not be named again: then what it holds is compared with what is known below.
    named = split_name(items[0].path.stem, spec)[1] is not None
    options = ReadOptions(() if named else known, None, form)
    image, *more = itertools.islice(read_images(items, spec, options, lambda name, reason: None, lambda found: None), 2)
    if more:
        raise DataError(f"{path} holds several images, and one is expected.", "Give a file of one image.")
    held = tuple(name for name, there in zip(spec.components, image.present.flatten(1).any(1).tolist(), strict=True) if there)
    lacking = [name for name in known if name not in held]
    if lacking:
        raise DataError(
            f"{path} holds {', '.join(held)}, and not {', '.join(lacking)}, said to be known.",
            f"Give --known {','.join(held)}, or the directory that holds the files of all known components.",
        )
    others = [name for name in held if name not in known]
    if known and others:
        raise DataError(
            f"{path} holds {', '.join(held)}, but only {', '.join(known)} {'is' if len(known) == 1 else 'are'} said to be known.",
            f"Add {', '.join(others)} to --known, or give an image without {'it' if len(others) == 1 else 'them'}.",
        )
    return OneImage(image, known or held, notes)
