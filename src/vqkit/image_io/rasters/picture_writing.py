"""Pictures written without loss (JPEG aside): 8 and 16 bits, grey or colour, absent pixels fully transparent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqkit.errors import DataError
from vqkit.image_io.rasters.absence import Mask
from vqkit.image_io.rasters.contract import RasterInfo, RasterSink, Window
from vqkit.image_io.rasters.failures import image_codecs
from vqkit.image_io.rasters.gaps import cannot_mark, one_mark, says_absent_by, with_gaps

_TWO_DEPTHS = ("uint8", "uint16")
DTYPES = {
    "PNG": _TWO_DEPTHS,
    "Netpbm": _TWO_DEPTHS,
    "JPEG 2000": (*_TWO_DEPTHS, "int8", "int16"),
    "JPEG": ("uint8",),
    "WebP": ("uint8",),
    "BMP": ("uint8",),
    "TGA": ("uint8",),
}
"""The formats that pictures are written in, and their dtypes."""
_SETTINGS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WebP": {"lossless": True, "exact": True}}
_FEW_VALUES = 16
_SMALL = 2**20
"""Samples of a picture up to which its values are counted."""
_TRANSPARENT = ("PNG", "WebP", "TGA")


class PictureSink(RasterSink):
    """A picture: collected in memory, encoded when it is complete."""

    def __init__(self, file: Path, info: RasterInfo) -> None:
        super().__init__(file, info)
        check_picture(info)
        self._values: NDArray[Any] | None = None
        self._mark: Mask | None = None

    def write(self, window: Window, values: NDArray[Any], present: Mask | None) -> None:
        """Collect a window."""
        info = self.info
        values, mark = _marked(values, present, info)
        if window == info.whole:
            self._values, self._mark = values, mark
            return
        if self._values is None:
            self._values = np.zeros((info.channels, info.height, info.width), info.dtype)
        self._values[:, window.rows, window.columns] = values
        if mark is not None:
            if self._mark is None:
                self._mark = np.ones((info.height, info.width), np.bool_)
            self._mark[window.rows, window.columns] = mark

    def finish(self) -> None:
        """Encode the picture and write it."""
        info = self.info
        values = self._values if self._values is not None else np.zeros((info.channels, info.height, info.width), info.dtype)
        _encode(self.file, values, self._mark, info)


def write_picture(file: Path, values: NDArray[Any], present: Mask | None, info: RasterInfo) -> None:
    """Write a whole picture [C, H, W] to `file`; `present` is bool [C or 1, H, W], or None. Raises `DataError` as `PictureSink`."""
    check_picture(info)
    _encode(file, *_marked(values, present, info), info)


def _marked(values: NDArray[Any], present: Mask | None, info: RasterInfo) -> tuple[NDArray[Any], Mask | None]:
    """Values with what stands for absent, and what is present as [h, w] where a mark says so. Raises `DataError`."""
    values = with_gaps(values, present, info)
    mark = one_mark(present, info) if says_absent_by(info) == "mark" else None
    if mark is not None and info.format not in _TRANSPARENT:
        raise cannot_mark(info)
    return values, mark


def _encode(file: Path, values: NDArray[Any], mark: Mask | None, info: RasterInfo) -> None:
    """Encode a whole picture [C, H, W] and write it."""
    samples = values.transpose(1, 2, 0)
    if mark is not None:
        opacity = mark[..., None].astype(info.dtype) * info.dtype.type(np.iinfo(info.dtype).max)
        samples = np.concatenate([samples, opacity], axis=-1)
    samples = np.ascontiguousarray(samples[..., 0] if samples.shape[-1] == 1 else samples)
    if info.format == "Netpbm":
        file.write_bytes(_netpbm(samples))
    elif info.format == "JPEG 2000":
        kind = "j2k" if info.path.suffix.lower() == ".j2k" else "jp2"
        encoded = image_codecs(info.path).jpeg2k_encode(samples, level=0, reversible=True, codecformat=kind)
        file.write_bytes(encoded)
    elif info.format == "PNG" and (_is_plain(info) or (info.dtype == np.uint16 and samples.ndim == 3)):
        # In a fifth of the time that Pillow takes for small pictures, and Pillow has no colours of 16 bits.
        codecs = image_codecs(info.path)
        # Shapes and label maps become smaller, in two thirds of the time, without the filters that suit photographs.
        chosen = codecs.PNG.FILTER.NONE if _has_few_values(samples) else None
        file.write_bytes(codecs.png_encode(samples, filter=chosen))
    else:
        _with_pillow(samples, file, info)


def _has_few_values(samples: NDArray[Any]) -> bool:
    """Whether a small picture of 8 bits holds at most `_FEW_VALUES` different ones."""
    if samples.dtype != np.uint8 or samples.size > _SMALL:
        return False
    return int(np.count_nonzero(np.bincount(samples.ravel(), minlength=256))) <= _FEW_VALUES


def _is_plain(info: RasterInfo) -> bool:
    """Whether a picture has neither a profile of its colours nor a resolution."""
    return info.tags.profile is None and info.tags.resolution is None


def check_picture(info: RasterInfo) -> None:
    """Refuse dtypes and numbers of channels that the format cannot hold. Raises `DataError`."""
    known = DTYPES[info.format]
    if not any(info.dtype == each for each in known):
        message = f"{info.path}: {info.format} holds {' and '.join(known)}, not {info.dtype}."
        raise DataError(message, "Write .tif or .npy, which hold every type of values.")
    if info.channels not in (1, 3) and info.format != "JPEG 2000":
        message = f"{info.path}: {info.format} holds 1 or 3 channels, not {info.channels}."
        raise DataError(message, "Write .tif or .npy, which hold any number of channels.")


def _with_pillow(samples: NDArray[Any], file: Path, info: RasterInfo) -> None:
    image = Image.fromarray(samples)  # its mode follows from the dtype and the number of samples
    if samples.ndim == 3 and samples.shape[-1] == 2:
        image = Image.merge("LA", [Image.fromarray(np.ascontiguousarray(samples[..., number])) for number in range(2)])
    settings = dict(_SETTINGS.get(info.format, {}))
    if info.tags.profile is not None and info.format in ("PNG", "JPEG", "WebP"):
        settings["icc_profile"] = info.tags.profile
    resolution = info.tags.resolution
    if resolution is not None and resolution.unit == 2 and info.format in ("PNG", "JPEG", "BMP"):
        settings["dpi"] = (resolution.across, resolution.down)
    image.save(file, format="JPEG" if info.format == "JPEG" else info.format.upper(), **settings)


def _netpbm(samples: NDArray[Any]) -> bytes:
    kind, greatest = ("P5" if samples.ndim == 2 else "P6"), np.iinfo(samples.dtype).max
    head = f"{kind}\n{samples.shape[1]} {samples.shape[0]}\n{greatest}\n".encode()
    return head + samples.astype(samples.dtype.newbyteorder(">")).tobytes()
