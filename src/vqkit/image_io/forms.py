"""The forms in which an image of several components may be given, and how they are recognised.

A form fits by shape and content. If exactly one fits, the image is read in this form; if several fit, an error asks which one;
if none fits, the error gives the reasons. Values are uint8 0 to 255 or float32 0 to 1 here, whichever the source holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.image_io.pictures import BACKGROUND, palette
from vqkit.image_io.values import one_hot_images
from vqkit.interfaces import DataSpec, fully_observed


class Reading(NamedTuple):
    """Images, and which of their pixels the source contains.

    `images` uint8 (0 to 255) or float32 (0 to 1) [B, C, H, W]; `present` bool [B, C, H, W], False where the source has no value;
    `form`: the name of the form it was in.
    """

    images: Tensor
    present: Tensor
    form: str = ""


class Source(NamedTuple):
    """Pixels whose form is still to be recognised.

    `name` is for messages. `pages`: pictures [h, w, 1], [h, w, 3] or [h, w, 4] (red, green, blue, opacity), none for an array that
    cannot be one; `page_count`: their number in the file, of which only a fitting number is loaded. `array`: the whole array when
    it comes from one. `component`: the one that the name of the file ends in, if any.
    """

    name: str
    pages: tuple[Tensor, ...]
    page_count: int = 1
    array: Tensor | None = None
    component: str | None = None


class _Misfit(Exception):  # noqa: N818 - an answer, not an error: the next form is tried
    """Why a form does not fit. `near`: whether the user may have meant it, so that the error should give the reason."""

    def __init__(self, reason: str, near: bool = False) -> None:
        super().__init__(reason)
        self.near = near


def read_form(source: Source, spec: DataSpec, keep: tuple[str, ...] = (), form: str | None = None) -> Reading:
    """The images in a source. `keep` names the components that will be kept, which may identify what a greyscale picture shows.

    Raises `DataError` when no form fits, when several do and `form` is None, or when a value is out of range;
    `ConfigError` for an unknown form.
    """
    if form is not None:
        check_form(form)
        try:
            return FORMS[form](source, spec, keep, True)._replace(form=form)
        except _Misfit as misfit:
            raise DataError(f"{source.name} cannot be read as {form}: {misfit}.", _expected(spec)) from None
    readings: dict[str, Reading] = {}
    reasons: list[str] = []
    for name in FORMS:
        outcome = _attempt(name, source, spec, keep)
        if isinstance(outcome, Reading):
            readings[name] = outcome
        elif outcome.near:
            reasons.append(f"As {name}: {outcome}.")
    if len(readings) > 1:
        raise DataError(
            f"{source.name} can be read in {len(readings)} ways: {', '.join(readings)}.",
            f"Say which with --form {'|'.join(readings)} (in Python: form=...).",
        )
    if not readings:
        raise _no_form(source, spec, reasons)
    return next(iter(readings.values()))


def _no_form(source: Source, spec: DataSpec, reasons: list[str]) -> DataError:
    """The error for a source that no form fits."""
    if spec.is_colour and source.array is None and source.pages[0].shape == (spec.height, spec.width, 1):
        hint = "--form colour takes it as a picture without colours, --keep r as the red channel (in Python: form=..., keep=...)."
        return DataError(f"{source.name} is greyscale; the model's images are colour pictures.", hint)
    what = f"{source.name} ({_describe(source)}) does not show the model's components."
    return DataError(what, " ".join([*reasons, _expected(spec)]))


def _attempt(form: str, source: Source, spec: DataSpec, keep: tuple[str, ...]) -> Reading | _Misfit:
    try:
        return FORMS[form](source, spec, keep, False)._replace(form=form)
    except _Misfit as misfit:
        return misfit


def check_form(form: str) -> None:
    """Raise `ConfigError` unless `form` is one of `FORMS`."""
    if form not in FORMS:
        raise ConfigError(f"There is no form '{form}'.", did_you_mean(form, FORMS))


def _component(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """One component as a greyscale picture: the only one there is, the only one kept, or the one that the file is named for."""
    if len(spec.components) == 1 and source.array is not None and source.array.ndim != 2:
        raise _Misfit("it is an array of images")
    page = _single_page(source, spec.height, spec.width)
    if spec.is_colour and page.shape[-1] > 1 and not asked:
        raise _Misfit("it is a colour picture")
    grey = _grey(page)
    if _is_label_map(grey, spec) and not asked and int(grey.max()) > 1:
        raise _Misfit("its values are component numbers rather than 0 to 255")
    only = keep[0] if len(keep) == 1 else None
    if source.component and only and source.component != only and not asked:
        raise _Misfit(f"its name says {source.component} and --keep says {only}; --form component takes it for {only}", near=True)
    component = spec.components[0] if len(spec.components) == 1 else only or source.component
    if component is None:
        raise _Misfit("--keep must name the one component that it shows", near=True)
    position = spec.component_indices([component])[0]
    values = checked_values(grey, spec, source.name)
    images = values.new_zeros((1, len(spec.components), spec.height, spec.width))
    images[0, position] = values
    present = torch.zeros(images.shape, dtype=torch.bool)
    present[0, position] = True
    return Reading(images, present)


def _strip(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """All components side by side in greyscale, in the order of the specification."""
    del keep, asked
    if len(spec.components) == 1:
        raise _Misfit("there is only one component")
    grey = _grey(_single_page(source, spec.height, spec.width * len(spec.components)))
    values = checked_values(grey, spec, source.name)
    return _whole(split_strip(values, spec))


def _label_map(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """Every pixel in the palette colour of its component, or as its number (0: none, 1: the first component)."""
    del keep
    if not spec.exclusive or len(spec.components) == 1:
        raise _Misfit("the components of this data may overlap" if len(spec.components) > 1 else "there is only one component")
    page = _single_page(source, spec.height, spec.width)
    if page.shape[-1] == 1:
        if not _is_label_map(page[..., 0], spec) or (int(page.max()) == 0 and not asked):
            raise _Misfit(f"it needs the palette's colours, or numbers from 0 to {len(spec.components)}")
        return _whole(one_hot_images(page[None, ..., 0], len(spec.components)))
    if page.dtype != torch.uint8:
        raise _Misfit("its colours must be uint8")
    colour = page[..., :3]
    matches = (colour == palette(spec)[:, None, None]).all(dim=-1)
    empty = (colour == torch.tensor(BACKGROUND, dtype=torch.uint8)).all(dim=-1)
    if page.shape[-1] == 4:
        matches, empty = matches & (page[..., 3] > 0), empty | (page[..., 3] == 0)
    strange = ~(matches.any(dim=0) | empty)
    if strange.any():
        example = "#" + "".join(f"{value:02x}" for value in colour[strange][0].tolist())
        raise _Misfit(f"{int(strange.sum())} of its pixels have colours outside the palette, such as {example}", near=True)
    return _whole(matches[None].to(torch.uint8) * 255)


def _pages(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """A TIFF with one greyscale page a component, in the order of the specification."""
    del keep, asked
    count = len(spec.components)
    if source.page_count != count or count == 1:
        pages = "1 page" if source.page_count == 1 else f"{source.page_count} pages"
        raise _Misfit(f"it has {pages}, not {count}", near=source.page_count > 1)
    for page in source.pages:
        _check_size(page, spec.height, spec.width)
    return _whole(torch.stack([checked_values(_grey(page), spec, source.name) for page in source.pages])[None])


def _colour(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """A red-green-blue picture whose channels are the three components; pixels without any opacity are missing.

    Greyscale is read as colour only on request, since a model of colour pictures may not have been trained on any.
    """
    del keep
    if len(spec.components) != 3 or source.array is not None:
        raise _Misfit(f"the model has {len(spec.components)} components, not 3" if source.array is None else "it is an array")
    page = _single_page(source, spec.height, spec.width)
    if page.shape[-1] == 1:
        if not spec.is_colour or not asked:
            raise _Misfit("it is greyscale")
        page = page.expand(-1, -1, 3)
    return _channels(page[None].permute(0, 3, 1, 2), spec, source.name)


def _channels_first(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """An array [C, H, W] or [B, C, H, W]; with a single component also [B, H, W]."""
    del keep, asked
    array = _array(source)
    if len(spec.components) == 1 and array.ndim == 3:
        array = array[:, None] if array.shape[0] != 1 else array[None]
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1:] != (len(spec.components), spec.height, spec.width):
        raise _Misfit(f"its shape is {tuple(_array(source).shape)}")
    return _channels(array, spec, source.name)


def _channels_last(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """An array [H, W, C] or [B, H, W, C]; three components may be followed by opacity."""
    del keep, asked
    array = _array(source)
    array = array[None] if array.ndim == 3 else array
    count = len(spec.components)
    depths = (count, 4) if count == 3 else (count,)
    if array.ndim != 4 or array.shape[1:3] != (spec.height, spec.width) or array.shape[3] not in depths:
        raise _Misfit(f"its shape is {tuple(_array(source).shape)}")
    return _channels(array.permute(0, 3, 1, 2), spec, source.name)


FORMS: dict[str, Callable[[Source, DataSpec, tuple[str, ...], bool], Reading]] = {
    "component": _component,
    "strip": _strip,
    "label-map": _label_map,
    "pages": _pages,
    "colour": _colour,
    "channels-first": _channels_first,
    "channels-last": _channels_last,
}
"""Every form by name. A form takes the source, the specification, the components to keep and whether it was asked for by name."""


def array_source(array: Tensor, name: str) -> Source:
    """A source made of an array; two dimensions, or a last one of 3 or 4, are also a picture."""
    page = array.squeeze(0) if array.ndim == 3 and array.shape[0] == 1 else array
    if page.ndim == 2:
        return Source(name, (page[..., None],), array=array)
    return Source(name, (page,) if page.ndim == 3 and page.shape[-1] in (1, 3, 4) else (), array=array)


def split_strip(values: Tensor, spec: DataSpec) -> Tensor:
    """Components side by side [H, C * W] as an image [1, C, H, W]."""
    return values.reshape(spec.height, -1, spec.width).movedim(1, 0)[None]


def checked_values(values: Tensor, spec: DataSpec, name: str) -> Tensor:
    """Values as uint8 0 to 255 or float32 0 to 1, of the same shape.

    Booleans, and integers of binary data that are only 0 and 1, become 0 and 255. Raises `DataError` for values outside these
    ranges and for NaN.
    """
    if values.dtype == torch.bool:
        return values.to(torch.uint8) * 255
    low, high = (float(bound) for bound in values.aminmax())
    if values.is_floating_point():
        if not (low >= -1e-6 and high <= 1 + 1e-6):
            given = f"values from {low:g} to {high:g}" if low == low else "NaN"
            hint = "Scale the array, or give uint8 values 0 to 255."
            raise DataError(f"{name} holds {given} where numbers from 0 to 1 are expected.", hint)
        return values.to(torch.float32).clamp(0, 1)
    if low < 0 or high > 255:
        hint = "Scale the array to uint8."
        raise DataError(f"{name} holds whole numbers from {low:g} to {high:g} where 0 to 255 are expected.", hint)
    return values.to(torch.uint8) * (255 if spec.value_kind == "binary" and high == 1 else 1)


def _single_page(source: Source, height: int, width: int) -> Tensor:
    if source.page_count != 1 or len(source.pages) != 1:
        raise _Misfit("it has several pages" if source.page_count > 1 else "it is no single picture")
    _check_size(source.pages[0], height, width)
    return source.pages[0]


def _check_size(page: Tensor, height: int, width: int) -> None:
    if tuple(page.shape[:2]) != (height, width):
        raise _Misfit(f"it is {page.shape[1]} wide and {page.shape[0]} high, not {width} and {height}")


def _grey(page: Tensor) -> Tensor:
    """The values [h, w] of a picture without colours."""
    if page.shape[-1] > 1 and not ((page[..., 0] == page[..., 1]) & (page[..., 0] == page[..., 2])).all():
        raise _Misfit("it is in colour")
    return page[..., 0]


def _is_label_map(values: Tensor, spec: DataSpec) -> bool:
    """Whether greyscale values may be numbers of components."""
    whole = values.dtype != torch.bool and not values.is_floating_point()
    return whole and spec.exclusive and int(values.min()) >= 0 and int(values.max()) <= len(spec.components)


def _array(source: Source) -> Tensor:
    if source.array is None:
        raise _Misfit("it is a picture, not an array")
    return source.array


def _channels(channels: Tensor, spec: DataSpec, name: str) -> Reading:
    """Whole images from [B, C, H, W], or from colours and opacity [B, 4, H, W]."""
    if spec.exclusive and len(spec.components) == 3 and ((channels[:, :3] > 0).sum(dim=1) > 1).any():
        raise _Misfit("its channels overlap, and the components of this data do not", near=True)
    count = len(spec.components)
    images = checked_values(channels[:, :count], spec, name)
    present = fully_observed(images)
    if channels.shape[1] > count:
        present = (channels[:, count:] > 0).expand(images.shape)
    return Reading(images, present)


def _whole(images: Tensor) -> Reading:
    return Reading(images, fully_observed(images))


def _describe(source: Source) -> str:
    if source.array is not None:
        return f"an array of shape {tuple(source.array.shape)}"
    height, width, channels = source.pages[0].shape
    kind = {1: "greyscale", 3: "in colour", 4: "in colour with opacity"}[channels]
    return f"{width} wide, {height} high, {kind}" if source.page_count == 1 else f"{source.page_count} pages"


def _expected(spec: DataSpec) -> str:
    return f"The model's images are {spec.width} wide and {spec.height} high, with the components {', '.join(spec.components)}."
