"""The splits in a file of arrays: which array is what, the axes of images, and which pixels hold data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.data.array_types import as_stored, chunks, stored_type
from vqkit.data.rows import BitRows, JointRows, PresentRows, Rows
from vqkit.errors import DataError
from vqkit.image_io.arrays import Arrays
from vqkit.image_io.split_names import SPLIT_FOLDERS
from vqkit.image_io.values import channel_axis
from vqkit.interfaces import SPLITS, DataSpec, SplitName
from vqkit.interfaces.names import shown, wrong_name

MOST_CLASSES = 2**16
_PATTERNS = {
    "images": ("{}_images", "{}", "x_{}", "{}_x", "images_{}"),
    "labels": ("{}_labels", "y_{}", "{}_y", "labels_{}"),
    "conditions": ("{}_conditions",),
    "names": ("{}_names",),
    "present": ("{}_present", "{}_mask"),
    "bits": ("{}_present_bits",),
}
"""Names of the arrays with each content of a split, in any case, with any of the split's names in place of the braces."""

Layout = Literal["auto", "NCHW", "NHWC"]


class StoredImages(Rows, Protocol):
    """Rows of images as they are stored: a tensor is one, and so are those of several files."""

    @property
    def shape(self) -> torch.Size:
        """[N, C, H, W]."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the values."""


class StoredSplit(NamedTuple):
    """One split as stored, memory-mapped where the file allows it.

    `images`: values [N, C, H, W] of the file's type, or of several files; `labels` int64 [N]; `conditions` float32 [N, D]; `names`:
    one an image, or None; `present`: rows of bool, broadcastable to the images, or None where everything is.
    """

    images: StoredImages
    labels: Tensor
    conditions: Tensor
    names: Sequence[str] | None
    present: Rows | None


def read_splits(arrays: Arrays, path: Path, layout: Layout, packed: DataSpec | None) -> dict[str, StoredSplit]:
    """The splits that a file has images of. `packed`: the specification of a file that was packed with its data set.

    Raises `DataError` for arrays without images under a known name, or that do not fit each other.
    """
    keys = _images_keys(arrays)
    if not keys:
        found = ", ".join(arrays) or "none"
        hint = "Name them train, val and test, or train_images and so on, or store a single array."
        raise DataError(f"{path} contains no images under a known name; its arrays are {found}.", hint)
    images = {keys[name]: _channels_first(arrays[keys[name]], _source(keys[name], path), layout, packed) for name in keys}
    _check_alike(images, path)
    dtype = stored_type(images, path)
    return {name: _read_split(arrays, name, as_stored(images[key], dtype), path, layout, packed) for name, key in keys.items()}


def with_gaps(content: StoredSplit, nodata: Sequence[float | None], source: str) -> StoredSplit:
    """The split whose NaN and whose `nodata` (one a component) are absent too.

    Raises `DataError` for infinite values that are not absent: they are neither data nor a statement that there are none.
    """
    rows = PresentRows(content.images, nodata)
    if not rows.can_have_gaps:
        return content
    known = rows if content.present is None else JointRows(content.present, rows)
    gaps, start = False, 0
    assert isinstance(content.images, Tensor), "shards are packed, and say themselves what is absent"
    for chunk in chunks(content.images.numpy()):
        infinite = np.isinf(chunk) if chunk.dtype.kind == "f" else np.zeros((), np.bool_)
        if infinite.any():
            infinite = infinite & known[torch.arange(start, start + len(chunk))].numpy()
        if infinite.any():
            raise DataError(
                f"{source} holds infinite values, such as {float(chunk[infinite][0])}.",
                "Replace them by NaN where there are no data, or by what they stand for.",
            )
        gaps = gaps or not rows.of(chunk).all()
        start += len(chunk)
    return content._replace(present=known) if gaps else content


def _read_split(
    arrays: Arrays, split: SplitName, images: NDArray[Any], path: Path, layout: Layout, packed: DataSpec | None
) -> StoredSplit:
    count = len(images)
    labels = _column(arrays, "labels", split, count, path)
    conditions = _column(arrays, "conditions", split, count, path)
    names_key = _find(arrays, "names", split)
    return StoredSplit(
        torch.from_numpy(images),
        torch.full((count,), -1) if labels is None else torch.from_numpy(labels.astype(np.int64).reshape(count)),
        torch.empty(count, 0) if conditions is None else torch.from_numpy(conditions.astype(np.float32).reshape(count, -1)),
        _names(arrays[names_key], count, path) if names_key and packed else None,
        _present(arrays, split, images.shape, path, layout, packed),
    )


def _names(text: NDArray[Any], count: int, path: Path) -> list[str]:
    """The names of images. Raises `DataError` unless there is one for each, which can be the name of a file."""
    hint = "Prepare the file again with `vqkit data prepare`."
    try:
        names = text.tobytes().decode().split("\n")
    except UnicodeDecodeError:
        raise DataError(f"The names of images in {path} are no text.", hint) from None
    if len(names) != count:
        raise DataError(f"{path} has {len(names)} names for {count} images.", hint)
    for name in names:
        fault = wrong_name(name)
        if fault is not None:
            raise DataError(f"{path} names an image {shown(name)}, which {fault}.", hint)
    return names


def _present(
    arrays: Arrays, split: SplitName, shape: tuple[int, ...], path: Path, layout: Layout, packed: DataSpec | None
) -> Rows | None:
    """What the file says is present in images of a shape [N, C, H, W], by component or by pixel."""
    if packed is not None and (bits := _find(arrays, "bits", split)) is not None:
        packed_bits = arrays[bits]
        wanted = [(shape[0], part, shape[2], -(-shape[3] // 8)) for part in (1, shape[1])]
        if packed_bits.dtype != np.uint8 or packed_bits.shape not in wanted:
            raise DataError(
                f"{_source(bits, path)} has the shape {packed_bits.shape} and the type {packed_bits.dtype}.",
                f"For these images it is uint8 {wanted[0]} or {wanted[1]}; prepare the file again with `vqkit data prepare`.",
            )
        return BitRows(torch.from_numpy(packed_bits), shape[-1])
    key = _find(arrays, "present", split)
    if key is None:
        return None
    mask = arrays[key]
    source = _source(key, path)
    count, components, height, width = shape
    if mask.dtype != np.bool_ and (mask.dtype.kind not in "iu" or not {0, 1}.issuperset(np.unique(mask).tolist())):
        raise DataError(f"{source} is no mask: it holds values of type {mask.dtype}.", "Store bool: true where there are data.")
    mask = mask.astype(np.bool_, copy=False)
    if mask.shape == (count, components):
        mask = mask[:, :, None, None]
    elif mask.ndim == 3:
        mask = mask[:, None]
    elif mask.ndim == 4:
        last = layout == "NHWC" or (
            layout == "auto" and mask.shape[1:3] == (height, width) and mask.shape[1:] != (components, height, width)
        )
        mask = np.moveaxis(mask, -1, 1) if last and packed is None else mask
    if mask.shape not in [(count, part, *size) for part in (1, components) for size in ((1, 1), (height, width))]:
        hint = f"Store [N, H, W], [N, C, H, W] or [N, C], with N, C, H, W = {count}, {components}, {height}, {width}."
        raise DataError(f"{source} has the shape {arrays[key].shape}, which does not fit its images.", hint)
    return torch.from_numpy(mask)


def _channels_first(array: NDArray[Any], source: str, layout: Layout, packed: DataSpec | None) -> NDArray[Any]:
    """An array of images as [N, C, H, W], without a copy."""
    if array.ndim not in (3, 4) or 0 in array.shape:
        hint = "Store [N, H, W], [N, C, H, W] or [N, H, W, C]."
        raise DataError(f"{source} has the shape {array.shape}, which is not a shape of images.", hint)
    if array.ndim == 3:
        return array[:, None]
    last = layout == "NHWC" or (layout == "auto" and packed is None and channel_axis(array.shape[1:], source) == -1)
    return np.moveaxis(array, -1, 1) if last else array


def _check_alike(images: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Raise `DataError` unless the splits' images have the same number of channels."""
    (first, expected), *others = images.items()
    for name, array in others:
        if array.shape[1] != expected.shape[1]:
            raise DataError(
                f"The images of '{name}' of {path} have {array.shape[1]} channels, and those of '{first}' {expected.shape[1]}.",
                "Store the same components in all splits.",
            )


def _images_keys(arrays: Arrays) -> dict[SplitName, str]:
    """The names of the arrays of each split's images; a single array of another name is the training images."""
    keys = {split: key for split in SPLITS if (key := _find(arrays, "images", split)) is not None}
    return keys or ({"train": next(iter(arrays))} if len(arrays) == 1 else {})


def unused_arrays(arrays: Arrays) -> list[str]:
    """The names of the arrays that are no content of a split with images."""
    keys = _images_keys(arrays)
    used = {*keys.values(), *(_find(arrays, content, split) for split in keys for content in _PATTERNS if content != "images")}
    return [key for key in arrays if key not in used]


def _source(key: str, path: Path) -> str:
    return f"The array '{key}' of {path}"


def _find(arrays: Arrays, content: str, split: SplitName) -> str | None:
    """The name of the array with this content of a split, or None."""
    spelled = {**{key.casefold(): key for key in reversed(list(arrays))}, **{key: key for key in arrays}}
    names = (pattern.format(word) for word in SPLIT_FOLDERS[split] for pattern in _PATTERNS[content])
    return next((spelled[name] for name in names if name in spelled), None)


def _column(arrays: Arrays, content: str, split: SplitName, count: int, path: Path) -> NDArray[Any] | None:
    """Labels or conditions of a split, or None. Raises `DataError` unless there is one row per image."""
    key = _find(arrays, content, split)
    if key is None:
        return None
    values = arrays[key]
    if len(values) != count or values.dtype.kind not in "iufb" or (content == "labels" and values.size != count):
        hint = f"Store one row of numbers for each of the {count} images."
        raise DataError(f"The array '{key}' of {path} has the shape {values.shape} and type {values.dtype}.", hint)
    if content == "labels" and not (values.min() >= -1 and values.max() < MOST_CLASSES):
        given = f"{float(values.min()):g} to {float(values.max()):g}"
        raise DataError(
            f"The labels '{key}' of {path} run from {given}.", f"Number the classes 0 ... {MOST_CLASSES - 1}; -1 is none."
        )
    return values
