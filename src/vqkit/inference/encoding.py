"""From images to a file of codes, and from a file of codes back to images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from vqkit.data.exporting import file_names
from vqkit.data.loading import batches_of
from vqkit.data.subsets import align_conditions
from vqkit.errors import CheckpointError
from vqkit.image_io.background import BackgroundWriter
from vqkit.image_io.inputs import Item
from vqkit.image_io.originals import Filled, Output, plain_outputs
from vqkit.image_io.pictures import composite
from vqkit.image_io.reading import InputImage, ReadOptions, read_images
from vqkit.inference.inpaint import batched
from vqkit.inference.pipeline import BATCH_SIZE, Conditions, Pipeline, check_tile, condition_rows
from vqkit.inference.postprocess import discretize
from vqkit.interfaces import Split
from vqkit.storage.code_files import CodesFile
from vqkit.storage.code_ranges import check_codes, smallest_integer
from vqkit.storage.code_writing import EncodedPart


def encode_items(
    pipeline: Pipeline,
    items: Sequence[Item],
    request: ReadOptions,
    skip: Callable[[str, str], None],
    advance: Callable[[int], None],
    batch_size: int = BATCH_SIZE,
) -> Iterator[EncodedPart]:
    """Codes of the images of all items, batch by batch; only what is present and kept is encoded.

    `skip` is called with the path of an image that cannot be used and the reason, `advance` with numbers of images. Raises as
    `read_images` does.
    """

    def check(image: InputImage) -> None:
        check_tile(image.size, pipeline.spec)

    for batch in batched(read_images(items, pipeline.spec, request, skip, check), batch_size):
        images = torch.stack([entry.image for entry in batch])
        codes = pipeline.encode_batch(images, torch.stack([entry.observed for entry in batch]))
        labels, conditions = torch.full((len(batch),), -1), pipeline.spec.unknown_conditions(len(batch))
        yield EncodedPart(codes, tuple(entry.name for entry in batch), labels, conditions)
        advance(len(batch))


def encode_part(
    pipeline: Pipeline,
    split: Split,
    images: range,
    advance: Callable[[int], None],
    batch_size: int = BATCH_SIZE,
) -> Iterator[EncodedPart]:
    """Codes of some images of a split, batch by batch, with their names, labels and the model's conditions.

    Raises `CheckpointError` if the components or the size of the images are not those of the model.
    """
    spec, given = pipeline.spec, split.spec
    wanted = (spec.components, spec.height, spec.width)
    if (given.components, given.height, given.width) != wanted:
        raise CheckpointError(
            f"The data set {given.name} has {', '.join(given.components)} at {given.height} x {given.width}; "
            f"the model was trained on {', '.join(spec.components)} at {spec.height} x {spec.width} (height x width).",
            "Name a model that was trained on such images with --run.",
        )
    positions = torch.split(torch.arange(images.start, images.stop), batch_size) if images else ()
    for chosen, batch in zip(positions, batches_of(split, images, batch_size), strict=True):
        codes = pipeline.encode_batch(batch.images, batch.observed)
        conditions = align_conditions(batch, given, spec).conditions
        yield EncodedPart(codes, tuple(split.names(chosen)), batch.labels, conditions)
        advance(len(batch.labels))


def encode_split(pipeline: Pipeline, split: Split, advance: Callable[[int], None], batch_size: int = BATCH_SIZE) -> CodesFile:
    """Codes of all images of a split, in memory, in the smallest types that hold them; see `encode_part`."""
    types = [smallest_integer(size) for size in pipeline.tokenizer.cardinalities]
    parts = [
        part._replace(codes=tuple(level.to(dtype) for level, dtype in zip(part.codes, types, strict=True)))
        for part in encode_part(pipeline, split, range(len(split)), advance, batch_size)
    ]
    codes = tuple(torch.cat(level) for level in zip(*(part.codes for part in parts), strict=True))
    names = tuple(name for part in parts for name in part.names)
    labels, conditions = torch.cat([part.labels for part in parts]), torch.cat([part.conditions for part in parts])
    return CodesFile(codes, names, labels, conditions, pipeline.digest, split.spec.classes)


def decode_codes(
    pipeline: Pipeline, content: CodesFile, out: Path, conditions: Conditions | None = None, batch_size: int = BATCH_SIZE
) -> Iterator[str]:
    """Decode codes and write the images below `out`, laid out as by `image_io.originals.plain_outputs`.

    Yields the names of their files: those of the images, where these are different and short enough.

    Named `conditions` replace those in the file. Raises `CheckpointError` for codes that are not this model's, `ConfigError` for an
    unknown condition, `OSError` when it cannot write.
    """
    check_codes(content.codes, pipeline.tokenizer)
    spec = pipeline.spec
    rows = condition_rows(spec, conditions, len(content.names))
    if content.conditions.shape == rows.shape:
        replaced = torch.tensor([name in (conditions or {}) for name in spec.condition_names], dtype=torch.bool)
        rows = torch.where(replaced, rows, content.conditions)
    names_of_files = file_names(content.names)
    with BackgroundWriter[list[str]](out) as writer:
        for start in range(0, len(content.names), batch_size):
            part = slice(start, start + batch_size)
            expected = pipeline.decode_batch(content.part(part), rows[part])
            outputs: list[Output] = []
            unit = discretize(expected, spec)
            rest = spec.from_unit(unit), composite(unit, spec)
            for name, each, stored, together in zip(names_of_files[part], unit, *rest, strict=True):
                outputs += plain_outputs(name, Filled(each, stored, together, spec), out)
            writer.submit(outputs, names_of_files[part])
            for names in writer.finished():
                yield from names
        for names in writer.finished(wait=True):
            yield from names
