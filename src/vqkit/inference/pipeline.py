"""A trained model in Python: inpaint, reconstruct, encode and decode arrays, pictures and tensors.

    model = vqkit.load("runs/latest")
    filled = model.inpaint(image, keep=["group_nc"])

An image may be
- a numpy array or a tensor of uint8 0 to 255, bool, or float 0 to 1, shaped [C, H, W], [H, W, C] or a batch of either; or [H, W]
  for one component (the only one kept) or a label map of component numbers, or [H, C * W] for all components side by side;
- a PIL picture in any of the forms of `vqkit.image_io.forms`.
An ambiguous array raises `DataError`; `form=` resolves it. Results have the type of the input. Floats are returned as expected
values; integers, booleans and pictures are discretised: shapes are on or off, and components of exclusive data do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vqkit.core.precision import autocast, choose_device
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.image_io.decoding import picture_pixels
from vqkit.image_io.forms import Reading, Source, array_source, read_form
from vqkit.image_io.observing import as_observed, observe
from vqkit.image_io.pictures import composite, to_pil
from vqkit.inference.postprocess import fill_stored, to_stored
from vqkit.inference.tile_grid import TileGrid, default_overlap
from vqkit.inference.tiling import fill_images
from vqkit.interfaces import Autoencoder, Codes, DataSpec, Tokenizer, where_present
from vqkit.storage.checkpoints import Loaded, load_model
from vqkit.storage.code_files import check_codes

AnyImage = TypeVar("AnyImage", NDArray[Any], Tensor, Image.Image)
Conditions = Mapping[str, float | Sequence[float]]
Precision = Literal["auto", "fp32", "bf16"]
BATCH_SIZE = 64


def load(run: str | Path | None = None, device: str = "auto", precision: Precision = "auto") -> Pipeline:
    """A trained model, ready to use.

    `run`: a run directory, a checkpoint directory, a `model.safetensors`, or None for the newest run in `runs/`;
    `device`: auto, cpu or cuda; `precision`: auto, fp32 or bf16, for inpainting and reconstructing (auto: bf16 where the
    hardware supports it, more than twice as fast in batches). Encoding and decoding always use float32, so that codes are the same
    on every machine. Raises `CheckpointError` when there is no such run or it cannot be used.
    """
    chosen = choose_device(device)
    return Pipeline(load_model(run, chosen), chosen, precision)


class Pipeline:
    """A trained model with the conversions around it.

    `spec` names components, sizes and conditions; `model` is the network, `path` its file and `digest` its fingerprint.
    """

    def __init__(self, loaded: Loaded, device: torch.device, precision: Precision = "auto") -> None:
        self.model: Autoencoder = loaded.model
        self.spec: DataSpec = loaded.model.spec
        self.path = loaded.path
        self.digest = loaded.digest
        self.device = device
        self.precision = precision

    @property
    def tokenizer(self) -> Tokenizer:
        """The model as a tokenizer. Raises `CheckpointError` for a model without codes."""
        if not isinstance(self.model, Tokenizer):
            raise CheckpointError(f"The model in {self.path} has no codes.", "Use a run of a VQ model, such as vqvae.")
        return self.model

    def inpaint(
        self,
        image: AnyImage,
        keep: str | Sequence[str] | None = None,
        observed: NDArray[Any] | Tensor | None = None,
        conditions: Conditions | None = None,
        form: str | None = None,
    ) -> AnyImage:
        """The image with everything filled in that is not kept; what is kept is returned unchanged.

        `keep`: names of the components that are kept; `observed`: bool [H, W], [C, H, W], [H, W, C] or a batch of these, True
        where a pixel is known; with both, the intersection. `conditions`: named values, one for all images or one each; those not
        named are unknown. Raises `DataError` for an image or a mask that does not fit, or when nothing or everything is kept,
        and `ConfigError` for an unknown name.
        """
        names = (keep,) if isinstance(keep, str) else tuple(keep or ())
        reading, restore = self._read(image, names, form)
        mask = as_observed(observed, reading.images.shape) if observed is not None else None
        known = observe(reading.present, names, mask, self.spec)
        if bool(known.all()):
            raise DataError(
                "Everything is kept, so there is nothing to fill in.", "Name fewer components in keep, or give observed."
            )
        expected = self.fill_unit(self._unit(reading.images), known, conditions)
        return restore(self._fill_missing(expected, reading.images, known))

    def reconstruct(self, image: AnyImage, conditions: Conditions | None = None, form: str | None = None) -> AnyImage:
        """The reconstruction of a whole image. Raises `DataError` for an image that does not fit."""
        reading, restore = self._read(image, (), form)
        expected = self.fill_unit(self._unit(reading.images), reading.present, conditions)
        return restore(expected if reading.images.is_floating_point() else to_stored(expected, self.spec))

    def encode(
        self,
        image: AnyImage,
        keep: str | Sequence[str] | None = None,
        observed: NDArray[Any] | Tensor | None = None,
        form: str | None = None,
    ) -> Codes:
        """Codes of an image or a batch: for each level, coarse first, int64 [B, h, w]. `keep` and `observed` as for `inpaint`."""
        names = (keep,) if isinstance(keep, str) else tuple(keep or ())
        reading, _ = self._read(image, names, form)
        mask = as_observed(observed, reading.images.shape) if observed is not None else None
        known = observe(reading.present, names, mask, self.spec)
        chunks = zip(torch.split(self._unit(reading.images), BATCH_SIZE), torch.split(known, BATCH_SIZE), strict=True)
        parts = [self.encode_unit(*chunk) for chunk in chunks]
        return tuple(torch.cat(level) for level in zip(*parts, strict=True))

    def decode(self, codes: Codes, conditions: Conditions | None = None) -> Tensor:
        """Expected images, float32 [B, C, H, W] in [0, 1], of codes as `encode` returns them.

        Raises `CheckpointError` for codes whose shapes or values are not this model's.
        """
        check_codes(codes, self.tokenizer)
        rows = condition_rows(self.spec, conditions, len(codes[0]))
        chunks = zip(*(torch.split(level, BATCH_SIZE) for level in (*codes, rows)), strict=True)
        return torch.cat([self.decode_batch(parts[:-1], parts[-1]) for parts in chunks])

    def fill(self, stored: Tensor, observed: Tensor, conditions: Conditions | None = None, batch_size: int = BATCH_SIZE) -> Tensor:
        """Expected whole images in unit values, float32 [B, C, H, W] on the CPU, of stored images; see `fill_unit`."""
        return self.fill_unit(self.spec.to_unit(stored), observed, conditions, batch_size)

    def tile_grid(self, height: int, width: int, overlap: int | None = None) -> TileGrid:
        """The tiles in which an image is filled in, which share `overlap` pixels (None: `tile_grid.default_overlap`).

        Raises `ConfigError` for an overlap that the tiles do not allow.
        """
        tile = self.spec.height, self.spec.width
        return TileGrid(height, width, *tile, default_overlap(*tile) if overlap is None else overlap)

    def fill_unit(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Conditions | None = None,
        batch_size: int = BATCH_SIZE,
        wanted: Tensor | None = None,
        overlap: int | None = None,
    ) -> Tensor:
        """Expected images, float32 [B, C, H, W] on the CPU, in one pass of the model over every tile: see `vqkit.inference.tiling`.

        `images` float [B, C, H, W], in unit values as the result; `observed` bool [B, C, H, W]; at most `batch_size` tiles at once.
        `wanted` bool [B, C, H, W]: where the result is needed, everywhere by default; tiles in which nothing is are left out.
        `overlap`: see `tile_grid`.
        """
        grid = self.tile_grid(images.shape[2], images.shape[3], overlap)
        rows = condition_rows(self.spec, conditions, len(images))
        if wanted is None:
            wanted = torch.ones_like(observed)

        def fill(tiles: Tensor, known: Tensor, numbers: Tensor) -> Tensor:
            return self._fill_tiles(tiles, known, rows[numbers])

        return fill_images(images, observed, wanted, fill, grid, batch_size)

    def _fill_tiles(self, images: Tensor, observed: Tensor, conditions: Tensor) -> Tensor:
        """Expected tiles [N, C, h, w] on the CPU, of tiles in unit values and their conditions [N, D]."""
        with torch.inference_mode(), autocast(self.precision, self.device):
            expected = self.model.reconstruct(*self._on_device(images, observed), conditions.to(self.device)).cpu()
        # A copy, because inference tensors may not take part in what callers do with autograd.
        return expected.clone()

    def encode_batch(self, stored: Tensor, observed: Tensor) -> Codes:
        """Codes int64 [B, h, w] of each level, on the CPU, of stored images [B, C, H, W] where `observed` is True."""
        return self.encode_unit(self.spec.to_unit(stored), observed)

    def encode_unit(self, images: Tensor, observed: Tensor) -> Codes:
        """As `encode_batch`, of float images [B, C, H, W] in unit values."""
        with torch.inference_mode():
            codes = self.tokenizer.encode(*self._on_device(images, observed))
        return tuple(level.cpu().clone() for level in codes)

    def decode_batch(self, codes: Codes, conditions: Tensor) -> Tensor:
        """Expected images, float32 [B, C, H, W] in [0, 1] on the CPU, of codes [B, h, w] and conditions [B, D] (NaN: unknown)."""
        with torch.inference_mode():
            images = self.tokenizer.decode(tuple(level.to(self.device) for level in codes), conditions.to(self.device))
        return images.cpu().clone()

    def _on_device(self, images: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Images and mask on the device, the images 0 where they are not observed: there may be anything, also NaN."""
        known = observed.to(self.device)
        return where_present(images.to(self.device, torch.float32), known), known

    def _unit(self, images: Tensor) -> Tensor:
        """The images of a reading in unit values: floating point numbers are, whole numbers are stored values."""
        return images if images.is_floating_point() else self.spec.to_unit(images)

    def _fill_missing(self, expected: Tensor, images: Tensor, observed: Tensor) -> Tensor:
        """The images with expected values in the missing part: as they are for float images, discretised for the others."""
        if images.is_floating_point():
            return torch.where(observed, images, expected)
        return fill_stored(expected, images, observed, self.spec)

    def _read(self, image: AnyImage, keep: tuple[str, ...], form: str | None) -> tuple[Reading, Callable[[Tensor], AnyImage]]:
        """The image in the model's shape, and a function that converts a result to the type of the input."""
        self.spec.component_indices(keep)
        if isinstance(image, Image.Image):
            reading = read_form(Source("The picture", (picture_pixels(image),)), self.spec, keep, form)
            return reading, lambda filled: _as_picture(filled[0], reading.form, self.spec)
        if not isinstance(image, (np.ndarray, Tensor)):
            raise DataError(f"The image is a {type(image).__name__}.", "Give a numpy array, a tensor or a PIL picture.")
        array = image.detach().cpu() if isinstance(image, Tensor) else torch.from_numpy(np.ascontiguousarray(image))
        reading = read_form(array_source(array, "The array"), self.spec, keep, form)

        def restore(filled: Tensor) -> AnyImage:
            restored = _as_array(filled, array, reading.form, self.spec)
            return restored.to(image.device) if isinstance(image, Tensor) else restored.numpy()

        return reading, restore


def condition_rows(spec: DataSpec, conditions: Conditions | None, count: int) -> Tensor:
    """Named conditions as float32 [count, D], NaN where unknown.

    Raises `ConfigError` for an unknown name, an infinite value, or a sequence that is not as long as the batch.
    """
    named = dict(conditions or {})
    rows = spec.condition_row(dict.fromkeys(named, 0.0)).repeat(count, 1)
    for name, value in named.items():
        column = torch.as_tensor(value, dtype=torch.float32).cpu()
        if column.ndim > 1 or (column.ndim == 1 and len(column) != count):
            raise ConfigError(f"The condition {name} has {column.numel()} values for {count} images.", "Give one, or one for each.")
        if bool(column.isinf().any()):
            raise ConfigError(f"The condition {name} is infinite.", "Give a number, or NaN for unknown.")
        rows[:, spec.condition_names.index(name)] = column
    return rows


def _as_array(filled: Tensor, given: Tensor, form: str, spec: DataSpec) -> Tensor:
    """Filled images [B, C, H, W] in the shape and number type of the array that was given ([C, H, W] for a single component)."""
    if form == "label-map":
        if given.shape[-1] in (3, 4) and given.ndim == 3:
            return composite(spec.to_unit(filled), spec)[0].permute(1, 2, 0).contiguous()
        numbers = torch.arange(1, len(spec.components) + 1)[:, None, None]
        return ((filled[0] >= 128) * numbers).amax(dim=0).reshape(given.shape).to(given.dtype)
    if form == "strip":
        shaped = _strip(filled[0]).reshape(given.shape)
    elif form == "channels-last":
        shaped = filled.permute(0, 2, 3, 1) if given.ndim == 4 else filled[0].permute(1, 2, 0)
    elif form == "channels-first" and len(spec.components) == 1 and given.ndim == 3:
        shaped = filled[:, 0]
    else:
        shaped = filled if given.ndim == 4 else filled[0]
    if given.dtype == torch.bool:
        return shaped >= 128
    if not given.is_floating_point() and spec.value_kind == "binary" and int(given.max()) == 1:
        shaped = shaped // 255
    return shaped.to(given.dtype).contiguous()


def _as_picture(filled: Tensor, form: str, spec: DataSpec) -> Image.Image:
    """A filled image uint8 [C, H, W] as a picture: what was given if it can show all components, else the palette, else a strip."""
    if spec.is_colour or form == "colour":
        return to_pil(filled)
    if len(spec.components) == 1:
        return to_pil(filled[0])
    return to_pil(composite(spec.to_unit(filled[None]), spec)[0]) if spec.exclusive and form != "strip" else to_pil(_strip(filled))


def _strip(image: Tensor) -> Tensor:
    """The components of an image [C, H, W] side by side, [H, C * W]."""
    return image.movedim(0, 1).flatten(1)
