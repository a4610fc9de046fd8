"""`vqkit encode`: images, or a data set, to a file of codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli import panels
from vqkit.cli.conditions import parse_names
from vqkit.cli.parameters import (
    BatchSizeOption,
    DataOption,
    DeviceOption,
    FormOption,
    KeepOption,
    PatternOption,
    RunOption,
    SplitOption,
    print_notes,
)
from vqkit.cli.sharding import ShardOption, chosen_shard, join_shards, part_of, processes, say_finished, say_shard
from vqkit.cli.skipping import Skipped
from vqkit.core.shard_records import Job
from vqkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vqkit.core.shards import ChosenShard
    from vqkit.inference.pipeline import Pipeline
    from vqkit.storage.code_writing import EncodedPart


InputArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[INPUT]", help="An image file, an array, or a directory of them.", show_default=False),
]
OutFileOption = Annotated[Path, typer.Option("--out", "-o", help="File to write.", rich_help_panel=panels.OUTPUT)]


def encode(
    source: InputArgument = None,
    data: DataOption = None,
    split: SplitOption = "test",
    keep: KeepOption = None,
    form: FormOption = None,
    pattern: PatternOption = None,
    run: RunOption = None,
    out: OutFileOption = Path("codes.safetensors"),
    batch_size: BatchSizeOption = 64,
    shard: ShardOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write the codes of images or of a data set to a file.

    INPUT may have any form that `vqkit inpaint` reads. With --data, labels and conditions are stored too. With --shard I/N, the
    I-th of N parts is encoded to a file of its own; the index that joins them is read wherever a file of codes is.
    """
    names = parse_names(keep)
    if (source is None) == (data is None):
        raise ConfigError("Give either INPUT or --data, and not both.", "For example: vqkit encode --data tyre --split test")
    if data is not None and (names or form or pattern):
        raise ConfigError(
            "--keep, --form and --pattern apply to INPUT, not to --data.", "Leave them out: images of a data set are encoded whole."
        )
    if out.suffix != ".safetensors":
        raise ConfigError(f"The codes cannot be written to {out}.", "Give --out a name that ends in .safetensors.")
    chosen = chosen_shard(shard)
    with processes(device):
        from vqkit.image_io.overwriting import check_not_input, data_files
        from vqkit.inference.pipeline import load

        pipeline = load(run, device)
        typer.echo(f"using {pipeline.path}")
        check_not_input(out, [pipeline.path, *data_files(data)])  # images are in no file with the suffix of `out`
        opened = _Files(pipeline, source, pattern, names, form) if source is not None else _DataSet(pipeline, str(data), split)
        if chosen is None:
            _encode(pipeline, opened, range(opened.total), out, batch_size)
        else:
            _encode_shard(pipeline, opened, chosen, out, batch_size)


def _encode_shard(pipeline: Pipeline, opened: _Files | _DataSet, chosen: ChosenShard, out: Path, batch_size: int) -> None:
    """Encode a shard, unless it is finished, and join all shards if it is the last."""
    from vqkit.core import distributed
    from vqkit.core.shard_records import ShardedOutput
    from vqkit.storage.code_files import INDEX_KIND

    output = ShardedOutput(out, INDEX_KIND, chosen.shard)
    part = part_of(chosen, opened.total)
    say_shard(chosen, part, opened.total)
    job = opened.job(part)
    if output.is_finished(job):
        say_finished(output)
    else:
        count = _encode(pipeline, opened, part, output.file, batch_size)
        if distributed.is_main():
            output.finish(job, {"images": count})
    if distributed.is_main():
        join_shards(output)


def _encode(pipeline: Pipeline, opened: _Files | _DataSet, part: range, out: Path, batch_size: int) -> int:
    """Encode some of the images, in all processes, to one file; returns how many."""
    from vqkit.cli.counting import counting
    from vqkit.core import distributed
    from vqkit.storage.code_joining import joined_codes_writer

    tokenizer, own = pipeline.tokenizer, distributed.share_of(part)
    with counting("encoded", len(own)) as advance, joined_codes_writer(out, tokenizer, pipeline.digest, opened.classes) as writer:
        for images in opened.parts(own, is_whole=len(own) == opened.total, advance=advance, batch_size=batch_size):
            writer.add(images)
        count, skipped = distributed.sums(writer.count, opened.skipped.count)
        if not count and len(part) == opened.total:
            raise DataError(f"None of the {opened.total} images can be used.", "See above for the reasons.")
    if skipped:
        typer.echo(f"{skipped} skipped", err=True)
    grids = ", ".join(
        f"{height} x {width} codes of {size}"
        for (height, width), size in zip(tokenizer.code_shapes, tokenizer.cardinalities, strict=True)
    )
    typer.echo(f"encoded {count} images to {out} ({grids} each)")
    return count


class _Files:
    """Images at a path. `total`: of files that hold one image, or several as arrays do."""

    classes: tuple[str, ...] = ()

    def __init__(self, pipeline: Pipeline, source: Path, pattern: str | None, keep: tuple[str, ...], form: str | None) -> None:
        from vqkit.image_io.inputs import find_inputs

        self._pipeline, self._keep, self._form = pipeline, pipeline.spec.named_components(keep), form
        self._items, notes = find_inputs(source, pipeline.spec, pattern)
        print_notes(notes)
        self.total = len(self._items)
        self.skipped = Skipped()

    def job(self, part: range) -> Job:
        """What decides the shard of these items."""
        from vqkit.image_io.inputs import described_items

        return Job.of(*described_items(self._items, part), self._pipeline.digest, list(self._keep), self._form)

    def parts(self, part: range, is_whole: bool, advance: Callable[[int], None], batch_size: int) -> Iterator[EncodedPart]:
        """The codes of some of the items."""
        from vqkit.image_io.reading import ReadOptions
        from vqkit.inference.encoding import encode_items

        request = ReadOptions(self._keep, None, self._form, may_be_none=not is_whole)
        items = self._items[part.start : part.stop]
        yield from encode_items(self._pipeline, items, request, self.skipped, advance, batch_size)


class _DataSet:
    """A split of a data set."""

    def __init__(self, pipeline: Pipeline, data: str, split: str) -> None:
        from vqkit.data.opening import open_dataset
        from vqkit.data.subsets import choose_split

        self._pipeline, self._data = pipeline, data
        self._name = split
        self._split = choose_split(open_dataset(data), split)
        self.total = len(self._split)
        self.classes = self._split.spec.classes
        self.skipped = Skipped()

    def job(self, part: range) -> Job:
        """What decides the shard of these images."""
        import torch

        names = self._split.names(torch.arange(part.start, part.stop))
        return Job.of([self.total, self._split.spec.to_json()], names, self._pipeline.digest, self._name)

    def parts(self, part: range, is_whole: bool, advance: Callable[[int], None], batch_size: int) -> Iterator[EncodedPart]:
        """The codes of some of the images."""
        del is_whole
        from vqkit.inference.encoding import encode_part

        yield from encode_part(self._pipeline, self._split, part, advance, batch_size)
