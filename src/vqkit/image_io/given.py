"""Images as callers give them to a trained model, and results in the same form: arrays, tensors and PIL pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vqkit.errors import DataError
from vqkit.image_io.forms import Reading, Source, array_source, read_form
from vqkit.image_io.pictures import composite, to_pil
from vqkit.image_io.rasters.pictures import picture_values
from vqkit.image_io.scales import gives_final_images
from vqkit.image_io.values import tensor_of
from vqkit.interfaces import DataSpec

AnyImage = TypeVar("AnyImage", NDArray[Any], Tensor, Image.Image)
Result = TypeVar("Result")
Changed = TypeVar("Changed")
Array = NDArray[Any]


class Given(Generic[Result]):
    """An image, or a batch, as it was given: read in its form, and the way back.

    `spec` says what the B x C x H x W `numbers` mean (see `vqkit.image_io.scales`); `present` bool, of the same shape.
    """

    def __init__(self, reading: Reading, restore: Callable[[Array], Result]) -> None:
        self.spec = reading.spec
        self.present = tensor_of(reading.present)
        self._reading = reading
        self._restore: Callable[[Array], Result] = restore

    @property
    def numbers(self) -> Tensor:
        """The numbers as stored values of `spec`, [B, C, H, W]."""
        return as_tensor(self._reading.images, self.spec)

    def restore(self, result: Tensor, kept: Tensor | None = None) -> Result:
        """A result [B, C, H, W], stored values of `spec`, in the form and type that was given.

        Where `kept` (bool [B, C, H, W]) is True, the given numbers are returned, bit for bit.
        """
        values = result.numpy().astype(self._reading.images.dtype)
        return self._restore(values if kept is None else np.where(kept.numpy(), self._reading.images, values))

    def map(self, change: Callable[[Result], Changed]) -> Given[Changed]:
        """The same, whose results are changed."""
        restored = self._restore
        return Given(self._reading, lambda result: change(restored(result)))


def read_given(image: AnyImage, spec: DataSpec, keep: tuple[str, ...], form: str | None) -> Given[AnyImage]:
    """Read what was given. Raises `DataError` when it is no image of the model, and as `forms.read_form` does."""
    spec.component_indices(keep)
    if isinstance(image, Image.Image):
        reading = read_form(_picture_source(image), spec, keep, form)
        return Given(reading, lambda result: _as_picture(result[0], reading, spec))
    if not isinstance(image, (np.ndarray, Tensor)):
        raise DataError(f"The image is a {type(image).__name__}.", "Give a numpy array, a tensor or a PIL picture.")
    given = _as_array(image)
    reading = read_form(array_source(given, "The array"), spec, keep, form, gives_final_images(given.dtype, spec))

    def restore(result: Array) -> AnyImage:
        shaped = shaped_like(given, result, reading, spec)
        if isinstance(image, Tensor):
            return torch.from_numpy(shaped).to(image.device, image.dtype)
        return shaped.astype(image.dtype, copy=False)

    return Given(reading, restore)


def _as_array(image: Array | Tensor) -> Array:
    """Numbers of an array or a tensor in the byte order of this machine."""
    if isinstance(image, Tensor):
        # NumPy has no bfloat16, whose numbers float32 holds exactly.
        return (image.float() if image.dtype == torch.bfloat16 else image).detach().cpu().numpy()
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def as_tensor(values: Array, spec: DataSpec) -> Tensor:
    """Values in the type of the stored values of `spec`, which is theirs, or one that holds all that are present."""
    name = np.result_type(*(each.dtype for each in spec.component_specs))
    with np.errstate(invalid="ignore"):  # what is absent may be anything
        return tensor_of(values.astype(name, copy=False))


def _picture_source(picture: Image.Image) -> Source:
    """The channels of a PIL picture, turned as its EXIF orientation says."""
    values, present = picture_values(picture)
    return Source("The picture", values, present, is_colour=len(values) > 1)


def shaped_like(given: Array, result: Array, reading: Reading, spec: DataSpec) -> Array:
    """A result [B, C, H, W] in the shape that was given; [C, H, W] for a single component."""
    return np.ascontiguousarray(_shaped(given, result, reading, spec))


def _shaped(given: Array, result: Array, reading: Reading, spec: DataSpec) -> Array:
    if reading.form == "label-map":
        if given.ndim == 3 and given.shape[-1] in (3, 4):
            return _painted(result, spec).movedim(0, -1).numpy()
        return _component_numbers(result[0], spec).reshape(given.shape).astype(given.dtype)
    if reading.form == "strip":
        return _strip(result[0]).reshape(given.shape)
    if reading.form == "channels-last":
        return np.moveaxis(result, 1, 3) if given.ndim == 4 else np.moveaxis(result[0], 0, 2)
    if reading.form == "channels-first" and len(spec.components) == 1 and given.ndim == 3:
        return result[:, 0]
    return result if given.ndim == 4 else result[0]


def _as_picture(result: Array, reading: Reading, spec: DataSpec) -> Image.Image:
    """A result [C, H, W] as a picture: what was given if it can show all components, else the palette, else a strip."""
    if spec.is_colour or reading.form == "colour":
        return to_pil(tensor_of(result))
    if len(spec.components) == 1:
        return Image.fromarray(np.ascontiguousarray(result[0]))
    if spec.exclusive and reading.form != "strip":
        return to_pil(_painted(result[None], reading.spec))
    return Image.fromarray(np.ascontiguousarray(_strip(result)))


def _painted(result: Array, spec: DataSpec) -> Tensor:
    """All components of the first image of [B, C, H, W] in the palette, uint8 [3, H, W]."""
    return composite(spec.to_unit(as_tensor(result[:1], spec)), spec)[0]


def _component_numbers(image: Array, spec: DataSpec) -> NDArray[np.int64]:
    """The number of the component that each pixel of [C, H, W] belongs to, int64 [H, W]; 0: none."""
    shown = spec.to_unit(as_tensor(image[None], spec))[0].numpy() >= 0.5
    numbers: NDArray[np.int64] = (shown * np.arange(1, len(image) + 1)[:, None, None]).max(axis=0)
    return numbers


def _strip(image: Array) -> Array:
    """The components of an image [C, H, W] side by side, [H, C * W]."""
    return np.moveaxis(image, 0, 1).reshape(image.shape[1], -1)
