"""The forms in which an image of several components may be given, and how they are recognised.

A form fits by shape and content. If exactly one fits, the image is read in this form; if several fit, an error asks which one;
if none fits, the error gives the reasons. Values stay as they are, in their own type: see `vqkit.image_io.scales` for what they
mean. Images may be larger than the model's tile, or smaller, except as a strip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.image_io.pictures import BACKGROUND, palette
from vqkit.image_io.scales import given_spec, known_colours, known_values
from vqkit.interfaces import DataSpec

Array = NDArray[Any]


class Reading(NamedTuple):
    """Images, and which of their pixels the source contains.

    `images` [B, C, H, W] in the source's own type; `present` bool [B, C, H, W], False where the source has no value; `spec`: what
    the values mean; `form`: the name of the form they were in; `places`: for each component, the channel of the source that holds
    it, or None; empty where components are no channels of the source.
    """

    images: Array
    present: NDArray[np.bool_]
    spec: DataSpec
    form: str = ""
    places: tuple[int | None, ...] = ()


class Source(NamedTuple):
    """Pixels whose form is still to be recognised.

    `name` is for messages. `pixels` [K, h, w]: the K channels of a picture, None for an array that cannot be one; `present` bool
    [K or 1, h, w], or None where all are; `channel_names`: of the K channels, or empty; `is_colour`: they are red, green and blue.
    `array`: the whole array when it comes from one. `component`: the one that the file is named for, if any.
    """

    name: str
    pixels: Array | None
    present: NDArray[np.bool_] | None = None
    channel_names: tuple[str, ...] = ()
    is_colour: bool = False
    array: Array | None = None
    component: str | None = None


class _Misfit(Exception):  # noqa: N818 - an answer, not an error: the next form is tried
    """Why a form does not fit. `near`: whether the user may have meant it, so that the error should give the reason."""

    def __init__(self, reason: str, near: bool = False) -> None:
        super().__init__(reason)
        self.near = near


def read_form(source: Source, spec: DataSpec, keep: tuple[str, ...] = (), form: str | None = None, final: bool = True) -> Reading:
    """The images in a source. `keep` names the components that will be kept, which may identify what a greyscale picture shows.

    NaN and a component's nodata value are not present, the latter of a colour picture where all channels have it. `final`: whether
    results are to be final images, see `scales.describe_numbers`. Raises `DataError` when no form fits, when several do and `form`
    is None, or when values cannot be those of their component; `ConfigError` for an unknown form.
    """
    if source.array is not None and not source.array.size:
        raise DataError(f"{source.name} has the shape {source.array.shape}, which is no image.", _expected(spec))
    reading = _recognised(source, spec, keep, form)
    if reading.form == "label-map":
        return reading
    reading = reading._replace(present=_known(reading, spec))
    return reading._replace(spec=given_spec(reading.images, reading.present, spec, source.name, final))


def _known(reading: Reading, spec: DataSpec) -> NDArray[np.bool_]:
    """Where the images of a source are data, bool [B, C, H, W]: neither NaN nor nodata."""
    images, present = reading.images, reading.present
    if reading.form == "colour":
        known = known_colours(images, present, spec)
        return present if known is None else known
    columns = [known_values(images[:, number], present[:, number], each, spec) for number, each in enumerate(spec.component_specs)]
    return np.stack([column for column in columns if column is not None], axis=1)


def _recognised(source: Source, spec: DataSpec, keep: tuple[str, ...], form: str | None) -> Reading:
    """The images in a source, in the form that fits or is asked for."""
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
    if spec.is_colour and source.array is None and source.pixels is not None and len(source.pixels) == 1:
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
    if form == "pages":
        raise ConfigError("There is no form 'pages'.", "It is called channels: one a page, or side by side in each pixel.")
    if form not in FORMS:
        raise ConfigError(f"There is no form '{form}'.", did_you_mean(form, FORMS))


def _component(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """One component as a greyscale picture: the only one there is, the only one kept, or the one that the file is named for."""
    if len(spec.components) == 1 and source.array is not None and source.array.ndim != 2:
        raise _Misfit("it is an array of images")
    pixels = _pixels(source)
    if spec.is_colour and len(pixels) > 1 and not asked:
        raise _Misfit("it is a colour picture")
    grey = _grey(pixels)
    if grey.shape == _strip_shape(spec) and not asked and not source.component:
        raise _Misfit("it is a strip")
    if _is_label_map(grey, spec) and not asked and int(grey.max()) > 1:
        raise _Misfit("its values are component numbers rather than 0 to 255")
    only = keep[0] if len(keep) == 1 else None
    if source.component and only and source.component != only and not asked:
        raise _Misfit(f"its name says {source.component} and --keep says {only}; --form component takes it for {only}", near=True)
    component = spec.components[0] if len(spec.components) == 1 else only or source.component
    if component is None:
        raise _Misfit("--keep must name the one component that it shows", near=True)
    position = spec.component_indices([component])[0]
    places = tuple(0 if number == position else None for number in range(len(spec.components)))
    return _placed(grey[None], _presence(source)[:1], places, spec)


def _strip(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """All components side by side in greyscale, in the order of the specification."""
    del keep, asked
    if len(spec.components) == 1:
        raise _Misfit("there is only one component")
    grey = _grey(_pixels(source))
    if grey.shape != _strip_shape(spec):
        width, height = reversed(_strip_shape(spec))
        raise _Misfit(f"it is {grey.shape[1]} wide and {grey.shape[0]} high, not {width} and {height}")
    return Reading(split_strip(grey, spec)[None], split_strip(_presence(source)[0], spec)[None], spec)


def _label_map(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """Every pixel in the palette colour of its component, or as its number (0: none, 1: the first component)."""
    del keep
    if not spec.exclusive or len(spec.components) == 1:
        raise _Misfit("the components of this data may overlap" if len(spec.components) > 1 else "there is only one component")
    pixels, present = _pixels(source), _presence(source)
    if len(pixels) == 1:
        if not _is_label_map(pixels[0], spec) or (int(pixels.max()) == 0 and not asked):
            raise _Misfit(f"it needs the palette's colours, or numbers from 0 to {len(spec.components)}")
        return _shapes(pixels[0] == np.arange(1, len(spec.components) + 1)[:, None, None], present, spec)
    if pixels.dtype != np.uint8 or len(pixels) != 3:
        raise _Misfit("its colours must be uint8")
    matches = (pixels == palette(spec).numpy()[:, :, None, None]).all(axis=1) & present[:1]
    empty = (pixels == np.array(BACKGROUND, np.uint8)[:, None, None]).all(axis=0) | ~present[0]
    strange = ~(matches.any(axis=0) | empty)
    if strange.any():
        example = "#" + "".join(f"{value:02x}" for value in pixels[:, strange][:, 0].tolist())
        raise _Misfit(f"{int(strange.sum())} of its pixels have colours outside the palette, such as {example}", near=True)
    return _shapes(matches, np.ones_like(present), spec)


def _channels(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """A file with a channel for each component: by their names if the file has them, else in the order of the specification."""
    del keep, asked
    if source.array is not None:
        raise _Misfit("it is an array")
    if source.is_colour:
        raise _Misfit("it is a colour picture")
    pixels = _pixels(source)
    if len(pixels) == 1:
        raise _Misfit("it has one channel")
    places = match_channels(len(pixels), source.channel_names, spec)
    if places is None:
        named = f" ({', '.join(source.channel_names)})" if source.channel_names else ""
        raise _Misfit(f"it has {len(pixels)} channels{named}, not {len(spec.components)}", near=True)
    return _placed(pixels, _presence(source), places, spec)


def _colour(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """A red-green-blue picture whose channels are the three components; pixels without any opacity are missing.

    Greyscale is read as colour only on request, since a model of colour pictures may not have been trained on any.
    """
    del keep
    if len(spec.components) != 3 or source.array is not None:
        raise _Misfit(f"the model has {len(spec.components)} components, not 3" if source.array is None else "it is an array")
    pixels = _pixels(source)
    if len(pixels) == 1:
        if not spec.is_colour or not asked:
            raise _Misfit("it is greyscale")
        return _placed(pixels, _presence(source), (0, 0, 0), spec)
    if not source.is_colour:
        raise _Misfit("its channels are no colours")
    return _disjoint(_placed(pixels, _presence(source), (0, 1, 2), spec), spec)


def _channels_first(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """An array [C, H, W] or [B, C, H, W]; with a single component also [B, H, W]."""
    del keep
    array, count = _array(source), len(spec.components)
    if count == 1 and array.ndim == 3 and array.shape[2] != 1:
        if array.shape[0] != 1 and _is_small(array.shape[1:], spec) and not asked:
            raise _Misfit(f"its shape is {array.shape}")
        images = array[:, None]
    else:
        images = array[None] if array.ndim == 3 else array
    if images.ndim != 4 or images.shape[1] != count:
        raise _Misfit(f"its shape is {array.shape}")
    if _is_small(images.shape[2:], spec) and images.shape[3] == count and not asked:
        raise _Misfit(f"its shape is {array.shape}")
    return _disjoint(Reading(images, np.ones(images.shape, bool), spec), spec)


def _channels_last(source: Source, spec: DataSpec, keep: tuple[str, ...], asked: bool) -> Reading:
    """An array [H, W, C] or [B, H, W, C]; three components may be followed by opacity."""
    del keep
    array, count = _array(source), len(spec.components)
    images = array[None] if array.ndim == 3 else array
    depths = (count, 4) if count == 3 else (count,)
    if images.ndim != 4 or images.shape[3] not in depths:
        raise _Misfit(f"its shape is {array.shape}")
    first = array.shape[0] if array.ndim == 3 else images.shape[1]
    if _is_small(images.shape[1:3], spec) and first == count and not asked:
        raise _Misfit(f"its shape is {array.shape}")
    images = np.moveaxis(images, 3, 1)
    present = np.ones((len(images), count, *images.shape[2:]), bool)
    if images.shape[1] > count:
        present &= images[:, count:] > 0
    return _disjoint(Reading(images[:, :count], present, spec), spec)


FORMS: dict[str, Callable[[Source, DataSpec, tuple[str, ...], bool], Reading]] = {
    "component": _component,
    "strip": _strip,
    "label-map": _label_map,
    "channels": _channels,
    "colour": _colour,
    "channels-first": _channels_first,
    "channels-last": _channels_last,
}
"""Every form by name. A form takes the source, the specification, the components to keep and whether it was asked for by name."""


def array_source(array: Array, name: str) -> Source:
    """A source made of an array; two dimensions, or a last one of 3 (red, green, blue) or 4 (and opacity), are also a picture."""
    page = array[0] if array.ndim == 3 and array.shape[0] == 1 else array
    if page.ndim == 2:
        return Source(name, page[None], array=array)
    if page.ndim != 3 or page.shape[-1] not in (1, 3, 4):
        return Source(name, None, array=array)
    channels = np.moveaxis(page, -1, 0)
    opaque = channels[3:] > 0 if len(channels) == 4 else None
    return Source(name, channels[:3], opaque, is_colour=len(channels) > 1, array=array)


def match_channels(count: int, names: Sequence[str], spec: DataSpec) -> tuple[int | None, ...] | None:
    """For each component, the channel of a file with `count` channels that holds it; None where the file does not show them.

    Channels are matched by name (whatever the case of letters) where any name is that of a component, and in order otherwise.
    """
    folded = [name.strip().casefold() for name in names]
    places = tuple(
        names.index(name) if name in names else folded.index(name.casefold()) if name.casefold() in folded else None
        for name in spec.components
    )
    known = [place for place in places if place is not None]
    if known and len(set(known)) == len(known):
        return places
    return tuple(range(count)) if count == len(spec.components) else None


def split_strip(values: Array, spec: DataSpec) -> Array:
    """Components side by side [h, C * w] as an image [C, h, w]."""
    count = len(spec.components)
    return np.moveaxis(values.reshape(len(values), count, values.shape[1] // count), 1, 0)


def _strip_shape(spec: DataSpec) -> tuple[int, int]:
    """Height and width of all components side by side; (0, 0) for a single one."""
    count = len(spec.components)
    return (spec.height, spec.width * count) if count > 1 else (0, 0)


def _pixels(source: Source) -> Array:
    if source.pixels is None:
        raise _Misfit("it is no single picture")
    return source.pixels


def _presence(source: Source) -> NDArray[np.bool_]:
    """Where the pixels of a source are present, bool [K, h, w]."""
    pixels = _pixels(source)
    return np.ones(pixels.shape, bool) if source.present is None else np.broadcast_to(source.present, pixels.shape)


def _grey(pixels: Array) -> Array:
    """The values [h, w] of a picture without colours."""
    if len(pixels) == 3 and (pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all():
        return pixels[0]
    if len(pixels) > 1:
        raise _Misfit("it is in colour" if len(pixels) == 3 else f"it has {len(pixels)} channels")
    return pixels[0]


def _is_label_map(values: Array, spec: DataSpec) -> bool:
    """Whether greyscale values may be numbers of components."""
    whole = values.dtype.kind in "iu"
    return whole and spec.exclusive and int(values.min()) >= 0 and int(values.max()) <= len(spec.components)


def _is_small(size: Sequence[int], spec: DataSpec) -> bool:
    """Whether an image of this height and width is smaller than the model's tile."""
    return size[0] < spec.height or size[1] < spec.width


def _array(source: Source) -> Array:
    if source.array is None:
        raise _Misfit("it is a picture, not an array")
    return source.array


def _placed(pixels: Array, present: NDArray[np.bool_], places: tuple[int | None, ...], spec: DataSpec) -> Reading:
    """One image [1, C, h, w] from the channels that hold its components; those without a channel are absent."""
    if places == tuple(range(len(pixels))):
        return Reading(pixels[None], present[None], spec, places=places)
    shape = (1, len(places), *pixels.shape[1:])
    images, held = np.zeros(shape, pixels.dtype), np.zeros(shape, bool)
    for number, place in enumerate(places):
        if place is not None:
            images[0, number], held[0, number] = pixels[place], present[place]
    return Reading(images, held, spec, places=places)


def _shapes(shown: NDArray[np.bool_], present: NDArray[np.bool_], spec: DataSpec) -> Reading:
    """An image from where each component is set, bool [C, h, w], as stored values of the model."""
    low, high = (np.array([getattr(each, end) for each in spec.component_specs]) for end in ("low", "high"))
    values = np.where(shown, high[:, None, None], low[:, None, None])
    dtype = np.result_type(*(each.dtype for each in spec.component_specs))
    return Reading(values.astype(dtype)[None], np.broadcast_to(present[:1], shown.shape)[None], spec)


def _disjoint(reading: Reading, spec: DataSpec) -> Reading:
    """The reading, unless three components that exclude each other overlap: then it is a colour picture."""
    if spec.exclusive and len(spec.components) == 3 and ((reading.images > 0).sum(axis=1) > 1).any():
        raise _Misfit("its channels overlap, and the components of this data do not", near=True)
    return reading


def _describe(source: Source) -> str:
    if source.array is not None:
        return f"an array of shape {source.array.shape}"
    count, height, width = _pixels(source).shape
    kind = "in colour" if source.is_colour else "greyscale" if count == 1 else f"{count} channels"
    return f"{width} wide, {height} high, {kind}"


def _expected(spec: DataSpec) -> str:
    return f"The model's images are {spec.width} wide and {spec.height} high, with the components {', '.join(spec.components)}."
