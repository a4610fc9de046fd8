"""A trained model in Python: inpaint, reconstruct, encode and decode arrays, pictures and tensors.

    model = vqkit.load("runs/latest")
    filled = model.inpaint(image, keep=["group_nc"])

An image may be
- a numpy array (either byte order) or a tensor of integers, floating point numbers or booleans, shaped [C, H, W], [H, W, C] or a
  batch of either; or [H, W] for one component (the only one kept) or a label map of component numbers, or [H, C * W] for all
  components side by side;
- a PIL picture in any of the forms of `vqkit.image_io.forms`.
An ambiguous array raises `DataError`; `form=` resolves it. Results have the shape, type, byte order and device of the input.

What numbers mean (`vqkit.image_io.scales`): they are values as in the files that the model was trained on, whatever their type.
With two exceptions: for a model of uint8 images (0 to 255), floats run from 0 to 1; and booleans, as well as integers of binary
components that are only 0 and 1, are shapes. NaN is a missing pixel, which is filled in. Kept values are returned bit for bit;
others never lie beyond what the training data held, nor beyond what their type can hold.

For a model of integers, floats are returned as expected values (shapes are probabilities, nothing is rounded). Everything else is
final: shapes are on or off, and components of exclusive data do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.core.precision import autocast, choose_device
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.image_io.given import AnyImage, Given, read_given
from vqkit.image_io.observing import as_observed, observe
from vqkit.image_io.scales import describe_numbers, gives_final_images
from vqkit.inference.hub import fetch, is_hub_name, publishing
from vqkit.inference.postprocess import fill_stored, to_stored
from vqkit.inference.tile_grid import TileGrid, default_overlap
from vqkit.inference.tiling import fill_images
from vqkit.interfaces import Autoencoder, Codes, Context, DataSpec, Tokenizer, where_present
from vqkit.storage.checkpoints import Loaded, load_model
from vqkit.storage.code_ranges import check_codes

Conditions = Mapping[str, float | Sequence[float]]
Precision = Literal["auto", "fp32", "bf16"]
BATCH_SIZE = 64


def load(
    run: str | Path | None = None, device: str = "auto", precision: Precision = "auto", tile_overlap: int | None = None
) -> Pipeline:
    """A trained model, ready to use.

    `run`: a run directory, a checkpoint directory, a `model.safetensors`, a name on the Hugging Face Hub (owner/name, or
    owner/name@revision), `builtin:tyre`, or None for the newest run in `runs/`;
    `device`: auto, cpu or cuda; `precision`: auto, fp32 or bf16, for inpainting and reconstructing (auto: bf16 where the
    hardware supports it, more than twice as fast in batches). Encoding and decoding always use float32, so that codes are the same
    on every machine. `tile_overlap`: pixels that the tiles of a larger image share, 0 to half of a tile; by default half of
    its shorter side. Raises `CheckpointError` when there is no such run or it cannot be used, `ConfigError` for an overlap that the
    tiles do not allow.
    """
    chosen = choose_device(device)
    if is_hub_name(run):
        run = fetch(str(run))
    return Pipeline(load_model(run, chosen), chosen, precision, tile_overlap)


class Pipeline:
    """A trained model with the conversions around it.

    `spec` names components, sizes and conditions; `model` is the network, `path` its file, `digest` its fingerprint, and `loaded`
    all that was read.
    `tile_overlap` and what is raised: see `load`.
    """

    def __init__(
        self, loaded: Loaded, device: torch.device, precision: Precision = "auto", tile_overlap: int | None = None
    ) -> None:
        self.model: Autoencoder = loaded.model
        self.spec: DataSpec = loaded.model.spec
        self.path = loaded.path
        self.digest = loaded.digest
        self.loaded = loaded
        self.device = device
        self.precision = precision
        tile = self.spec.height, self.spec.width
        self.tile_overlap = default_overlap(*tile) if tile_overlap is None else tile_overlap
        self.tile_grid(*tile)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model as a tokenizer. Raises `CheckpointError` for a model without codes."""
        if not isinstance(self.model, Tokenizer):
            raise CheckpointError(f"The model in {self.path} has no codes.", "Use a run of a VQ model, such as vqvae.")
        return self.model

    def save_pretrained(self, folder: str | Path, licence: str | None = None) -> Path:
        """Write the model to a folder as it is published: model.safetensors, config.json and a README; returns the folder.

        `licence`: a name that the Hugging Face Hub knows, such as cc-by-4.0; by default none is stated. Raises `DataError` without
        the extra `hub`.
        """
        publishing(self.loaded, licence).save_pretrained(folder)
        return Path(folder)

    def push_to_hub(self, name: str, licence: str | None = None, **settings: Any) -> str:
        """Upload the model to the Hugging Face Hub as owner/name, made if it is not there; returns the address of the commit.

        `settings`: those of `huggingface_hub.ModelHubMixin.push_to_hub`, such as `private=True` or `token`. Raises `DataError`
        without the extra `hub`, and what huggingface_hub raises.
        """
        return str(publishing(self.loaded, licence).push_to_hub(name, model_card_kwargs={"repo_id": name}, **settings))

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
        given, known = self._given(image, keep, observed, form)
        if bool(known.all()):
            raise DataError(
                "Everything is kept, so there is nothing to fill in.", "Name fewer components in keep, or give observed."
            )
        numbers = given.numbers
        expected = self.fill_unit(given.spec.to_unit(numbers), known, conditions, wanted=~known)
        return given.restore(fill_stored(expected, numbers, known, given.spec), known)

    def reconstruct(self, image: AnyImage, conditions: Conditions | None = None, form: str | None = None) -> AnyImage:
        """The reconstruction of a whole image from its codes or latents alone. Raises `DataError` where it does not fit."""
        given = read_given(image, self.spec, (), form)
        expected = self.reconstruct_unit(given.spec.to_unit(given.numbers), given.present, conditions)
        return given.restore(to_stored(expected, given.spec))

    def encode(
        self,
        image: AnyImage,
        keep: str | Sequence[str] | None = None,
        observed: NDArray[Any] | Tensor | None = None,
        form: str | None = None,
    ) -> Codes:
        """Codes of an image or a batch: for each level, coarse first, int64 [B, h, w]. `keep` and `observed` as for `inpaint`."""
        given, known = self._given(image, keep, observed, form)
        check_tile(known.shape[-2:], self.spec)
        unit = given.spec.to_unit(given.numbers)
        parts = [
            self.encode_unit(*chunk) for chunk in zip(torch.split(unit, BATCH_SIZE), torch.split(known, BATCH_SIZE), strict=True)
        ]
        return tuple(torch.cat(level) for level in zip(*parts, strict=True))

    def decode(self, codes: Codes, conditions: Conditions | None = None) -> Tensor:
        """Images of codes as `encode` returns them: expected values, float32 [B, C, H, W], or float64 where float32 is not exact.

        They are from 0 to 1 for a model of uint8 images, and values as in files for others, as floats given to `inpaint` are.
        Raises `CheckpointError` for codes whose shapes or values are not this model's.
        """
        is_wide = self.spec.stored_dtype in (torch.uint32, torch.int32, torch.float64)
        dtype = np.dtype("float64" if is_wide else "float32")
        unknown = [None] * len(self.spec.components)
        meaning = describe_numbers(dtype, unknown, self.spec, "", gives_final_images(dtype, self.spec))
        return to_stored(self.decode_unit(codes, conditions), meaning)

    def decode_unit(self, codes: Codes, conditions: Conditions | None = None, context: Context | None = None) -> Tensor:
        """As `decode`, in unit values: float32 [B, C, H, W]; `context`: what is observed of each image, in unit values."""
        check_codes(codes, self.tokenizer)
        rows = condition_rows(self.spec, conditions, len(codes[0]))
        parts = []
        for start in range(0, len(rows), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            seen = None if context is None else Context(context.images[part], context.observed[part])
            parts.append(self.decode_batch(tuple(level[part] for level in codes), rows[part], seen))
        return torch.cat(parts)

    def fill(self, stored: Tensor, observed: Tensor, conditions: Conditions | None = None, batch_size: int = BATCH_SIZE) -> Tensor:
        """Expected whole images in unit values, float32 [B, C, H, W] on the CPU, of stored images; see `fill_unit`."""
        return self.fill_unit(self.spec.to_unit(stored), observed, conditions, batch_size)

    def reconstruct_unit(
        self, images: Tensor, observed: Tensor, conditions: Conditions | None = None, batch_size: int = BATCH_SIZE
    ) -> Tensor:
        """As `fill_unit`, from codes or latents alone."""
        return self._by_tiles(images, observed, conditions, batch_size, torch.ones_like(observed), self.model.reconstruct)

    def tile_grid(self, height: int, width: int) -> TileGrid:
        """The tiles in which an image of this size is filled in."""
        return TileGrid(height, width, self.spec.height, self.spec.width, self.tile_overlap)

    def fill_unit(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Conditions | None = None,
        batch_size: int = BATCH_SIZE,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Expected images, float32 [B, C, H, W] on the CPU, in one pass of the model over every tile: see `vqkit.inference.tiling`.

        `images` float [B, C, H, W], in unit values as the result; `observed` bool [B, C, H, W]; at most `batch_size` tiles at once.
        `wanted` bool [B, C, H, W]: where the result is needed, everywhere by default; tiles in which nothing is are left out.
        """
        wanted = torch.ones_like(observed) if wanted is None else wanted
        return self._by_tiles(images, observed, conditions, batch_size, wanted, self.model.complete)

    def fill_tiles(self, images: Tensor, observed: Tensor, conditions: Tensor) -> Tensor:
        """Expected tiles [N, C, h, w] on the CPU, of tiles in unit values and their conditions [N, D]."""
        return self._answer(images, observed, conditions, self.model.complete)

    def _by_tiles(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Conditions | None,
        batch_size: int,
        wanted: Tensor,
        network: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        grid = self.tile_grid(images.shape[2], images.shape[3])
        rows = condition_rows(self.spec, conditions, len(images))

        def answer(tiles: Tensor, known: Tensor, numbers: Tensor) -> Tensor:
            return self._answer(tiles, known, rows[numbers], network)

        return fill_images(images, observed, wanted, answer, grid, batch_size)

    def _answer(
        self, images: Tensor, observed: Tensor, conditions: Tensor, network: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        with torch.inference_mode(), autocast(self.precision, self.device):
            expected = network(*self._on_device(images, observed), conditions.to(self.device)).cpu()
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

    def decode_batch(self, codes: Codes, conditions: Tensor, context: Context | None = None) -> Tensor:
        """Expected images, float32 [B, C, H, W] in unit values on the CPU, of codes [B, h, w] and conditions [B, D] (NaN: unknown).

        `context`: what is observed of each image, in unit values.
        """
        with torch.inference_mode():
            seen = None if context is None else Context(*self._on_device(*context))
            images = self.tokenizer.decode(
                tuple(level.to(self.device, torch.int64) for level in codes), conditions.to(self.device), seen
            )
        return images.cpu().clone()

    def _on_device(self, images: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Images and mask on the device, the images 0 where they are not observed: there may be anything, also NaN."""
        known = observed.to(self.device)
        return where_present(images.to(self.device, torch.float32), known), known

    def _given(
        self,
        image: AnyImage,
        keep: str | Sequence[str] | None,
        observed: NDArray[Any] | Tensor | None,
        form: str | None,
    ) -> tuple[Given[AnyImage], Tensor]:
        """The image as it was given, and which of its pixels are observed, bool [B, C, H, W]."""
        names = (keep,) if isinstance(keep, str) else tuple(keep or ())
        given = read_given(image, self.spec, names, form)
        mask = as_observed(observed, given.present.shape) if observed is not None else None
        return given, observe(given.present, names, mask, self.spec)


def check_tile(size: Sequence[int], spec: DataSpec) -> None:
    """Raise `DataError` unless an image of this height and width is as large as the model's tile, of which codes are made."""
    if tuple(size) != (spec.height, spec.width):
        raise DataError(
            f"The image is {size[1]} wide and {size[0]} high; codes are those of {spec.width} x {spec.height} pixels.",
            "Cut it to that size.",
        )


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
