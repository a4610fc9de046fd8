"""Images to a compressed file, batch by batch: memory does not grow with the number of images, except by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

import vqkit
from vqkit.errors import DataError
from vqkit.image_io.inputs import Item
from vqkit.image_io.overwriting import check_not_input, item_files
from vqkit.image_io.reading import InputImage, ReadOptions, read_images
from vqkit.inference.codec.batches import BatchCodec
from vqkit.inference.codec.rates import Rate
from vqkit.inference.inpaint import batched
from vqkit.inference.pipeline import BATCH_SIZE, check_tile
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import DataSpec
from vqkit.storage.compressed_files import Directory, Part, write_compressed


def compress_items(
    sampler: Sampler,
    items: list[Item],
    out: Path,
    request: ReadOptions,
    skip: Callable[[str, str], None],
    advance: Callable[[int], None],
    draw_steps: int | None = None,
    lossless: bool = False,
    batch_size: int = BATCH_SIZE,
) -> Rate:
    """Compress the images of all items into the file `out`, and return what they cost.

    `draw_steps`: the steps of a masked prior (fewer are faster, and cost more bits), None: one code a step; `lossless`: keep every
    value. `skip` is called with the path of an image that cannot be used and the reason, `advance` with numbers of images. Raises
    `ConfigError` for a prior that cannot be used, `DataError` for data that cannot be compressed, when no image can be used, and
    when `out` is one of the files that are read, `OSError` when it cannot write.
    """
    check_not_input(out, [*item_files(items), sampler.path, sampler.pipeline.path])
    spec = sampler.pipeline.spec
    codec = BatchCodec(sampler, draw_steps, lossless)
    code_bits = residual_bits = 0.0
    images = stream_bytes = 0

    def check(image: InputImage) -> None:
        check_image(image, spec, lossless)

    def parts() -> Iterator[Part]:
        nonlocal code_bits, residual_bits, images, stream_bytes
        for batch in batched(read_images(items, spec, request, skip, check), batch_size):
            encoded = codec.encode(torch.stack([entry.image for entry in batch]))
            code_bits += encoded.code_bits
            residual_bits += encoded.residual_bits
            stream_bytes += encoded.stream_bytes
            images += len(batch)
            yield Part(tuple(entry.name for entry in batch), encoded.content)
            advance(len(batch))

    digests = sampler.digest, sampler.pipeline.digest
    directory = Directory(*digests, vqkit.__version__, sampler.device.type, draw_steps, lossless)
    length = write_compressed(out, directory, parts())
    frame_bits = 8.0 * (length - stream_bytes)
    return Rate(images, images * spec.height * spec.width, code_bits, residual_bits, frame_bits, length)


def check_image(image: InputImage, spec: DataSpec, lossless: bool) -> None:
    """Raise `DataError` for an image of another size than the model's, one with gaps, or one that would not return as it was."""
    check_tile(image.size, spec)
    absent = int((~image.present).sum())
    if absent:
        raise DataError(
            f"{absent} of the image's {image.present.numel()} values are absent (no file, NaN, nodata or transparent); "
            "a compressed file does not say where.",
            "Fill them in first with vqkit inpaint, or leave the image out.",
        )
    if lossless and not image.original.holds(image.image):
        raise DataError(
            "The file holds other numbers than the model is given (shapes as 0 and 1 or as a label map, channels that it has no "
            "use for), so it would not return as it was.",
            "Compress it without --lossless, or write its components as the training data have them.",
        )
