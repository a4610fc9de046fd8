"""A compressed file back to files of images, laid out as by `vqkit decode`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vqkit.data.exporting import file_names
from vqkit.image_io.background import BackgroundWriter
from vqkit.image_io.originals import Filled, Output, plain_outputs
from vqkit.image_io.overwriting import check_not_input
from vqkit.image_io.pictures import composite
from vqkit.inference.codec.batches import BatchCodec, DecodedBatch
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import DataSpec
from vqkit.storage.compressed_files import CompressedFile, check_models


def decompress_file(sampler: Sampler, file: CompressedFile, out: Path) -> Iterator[str]:
    """Write the images of a file below `out`, yielding the names of their files as they are in place.

    The sampler is on the device of the file's directory. Raises `CheckpointError` for another model than that which compressed it,
    `DataError` for a file that is damaged or was written by a machine with another arithmetic, and for one that an image would
    replace, `OSError` when it cannot write.
    """
    yield from decompress_files(sampler, [file], out)


def decompress_files(sampler: Sampler, files: Sequence[CompressedFile], out: Path) -> Iterator[str]:
    """As `decompress_file`, of several files whose images are one set: no two are written to the same files."""
    names = file_names([name for file in files for name in file.directory.names])
    first = 0
    for file in files:
        count = len(file.directory.names)
        yield from _decompress(sampler, file, names[first : first + count], out)
        first += count


def _decompress(sampler: Sampler, file: CompressedFile, names: list[str], out: Path) -> Iterator[str]:
    directory, spec = file.directory, sampler.pipeline.spec
    check_models(directory, sampler.digest, sampler.pipeline.digest, file.path, sampler.path)
    codec = BatchCodec(sampler, directory.draw_steps, directory.lossless)
    first = 0
    with BackgroundWriter[list[str]](out) as writer:
        for part in file.parts():
            here = names[first : first + len(part.names)]
            first += len(here)
            outputs = _outputs(codec.decode(part.content, len(here), str(file.path)), here, spec, out)
            for output in outputs:
                check_not_input(output.path, [file.path])
            writer.submit(outputs, here)
            for written in writer.finished():
                yield from written
        for written in writer.finished(wait=True):
            yield from written


def _outputs(batch: DecodedBatch, names: list[str], spec: DataSpec, out: Path) -> list[Output]:
    outputs: list[Output] = []
    images = zip(names, batch.unit, batch.stored, composite(batch.unit, spec), strict=True)
    for name, unit, stored, together in images:
        outputs += plain_outputs(name, Filled(unit, stored, together, spec), out)
    return outputs
