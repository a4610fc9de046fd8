"""`vqkit inpaint` in parts: the images of a shard, shared by the processes that there are, and what is said of the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from vqkit.cli.parameters import print_notes
from vqkit.cli.sharding import join_shards, part_of, say_finished, say_shard
from vqkit.cli.skipping import Skipped
from vqkit.core.shard_records import Job, ShardedOutput, file_digest
from vqkit.errors import DataError

if TYPE_CHECKING:
    from vqkit.core.shards import ChosenShard
    from vqkit.image_io.inputs import Item
    from vqkit.image_io.reading import ReadOptions
    from vqkit.inference.completions import CompletionRequest
    from vqkit.inference.part_results import PartResult
    from vqkit.inference.pipeline import Pipeline
    from vqkit.inference.sampler import Sampler

SHARDS = Path("shards", "inpainted.json")
"""Below the output directory: the names of the results of shards, of their records and of their index are made of it."""


class Work(Protocol):
    """What is done with images, some at a time."""

    items: list[Item]

    @property
    def settings(self) -> list[Any]:
        """What decides the results besides the images, as plain values."""

    def do(self, part: range, skip: Skipped) -> tuple[PartResult, list[Path]]:
        """Do some of the items, of which there may be none; returns what became of them, and their figures."""

    def finish(self, result: PartResult) -> None:
        """Write what is only known when all images are done."""


def do_parts(work: Work, chosen: ChosenShard | None, out: Path, summary: str) -> None:
    """Do all images, or those of a shard, and say what was done. `summary`: with {images} for their number."""
    from vqkit.core import distributed

    if chosen is None:
        result, drawn = _do_together(work, range(len(work.items)))
        if distributed.is_main():
            work.finish(result)
        _say(result, drawn, summary, out)
        return
    from vqkit.inference.part_results import read_results, write_result

    output, part = ShardedOutput(out / SHARDS, "inpainted images", chosen.shard), part_of(chosen, len(work.items))
    say_shard(chosen, part, len(work.items))
    job = _job(work, part)
    if output.is_finished(job):
        say_finished(output)
    else:
        result, drawn = _do_together(work, part)
        if distributed.is_main():
            write_result(output.file, result)
            output.finish(job, {"images": len(result.images)})
        _say(result, drawn, summary, out)
    if distributed.is_main():
        index = join_shards(output)
        if index is not None:
            work.finish(read_results(index))


def _do_together(work: Work, part: range) -> tuple[PartResult, list[Path]]:
    """Do some of the items in all processes; the result is that of all of them, the figures are this process's."""
    from vqkit.core import distributed
    from vqkit.inference.part_results import of_all_processes

    skipped = Skipped()
    own, drawn = work.do(distributed.share_of(part), skipped)
    result = of_all_processes(own)
    for path, reason in result.skipped[skipped.count :]:  # those of other processes, which are silent
        Skipped()(path, reason)
    if not result.images and len(part) == len(work.items):
        raise DataError(f"None of the {len(part)} images can be used.", f"The first: {result.skipped[0][1]}")
    return result, drawn


def _job(work: Work, part: range) -> Job:
    from vqkit.image_io.inputs import described_items

    return Job.of(*described_items(work.items, part), *work.settings)


def _say(result: PartResult, drawn: list[Path], summary: str, out: Path) -> None:
    from vqkit.cli.counting import count_of

    skipped = f"; {len(result.skipped)} skipped" if result.skipped else ""
    typer.echo(f"{summary.format(images=count_of(len(result.images)))}{skipped}, written to {out}/")
    if drawn:
        typer.echo(f"look at {drawn[0] if len(drawn) == 1 else f'{drawn[0].parent}/'}")


class Filling:
    """Each image is filled in once."""

    def __init__(
        self,
        pipeline: Pipeline,
        items: list[Item],
        out: Path,
        reading: ReadOptions,
        conditions: dict[str, float],
        batch_size: int | None,
        figures: int | None,
    ) -> None:
        self.items = items
        self._pipeline, self._out, self._reading = pipeline, out, reading
        self._conditions, self._batch_size, self._figures = conditions, batch_size, figures

    @property
    def settings(self) -> list[Any]:
        """See `Work.settings`."""
        return [self._pipeline.digest, self._pipeline.tile_overlap, self._conditions, *_reading_settings(self._reading)]

    def do(self, part: range, skip: Skipped) -> tuple[PartResult, list[Path]]:
        """Those that fit into memory first. See `Work.do`."""
        from vqkit.cli.counting import counting
        from vqkit.image_io.large_images import is_large
        from vqkit.inference.inpaint import inpaint_items
        from vqkit.inference.large_files import inpaint_large_items
        from vqkit.inference.part_results import PartResult
        from vqkit.inference.pipeline import BATCH_SIZE

        own = self.items[part.start : part.stop]
        large = [item for item in own if is_large(item)]
        others = [item for item in own if item not in large] if large else own
        reading = self._reading._replace(may_be_none=len(own) < len(self.items))
        settings = self._conditions, self._batch_size or BATCH_SIZE
        names, drawn, tiled = [], [], 0
        figures = None if self._figures is None else max(0, self._figures - part.start)
        if others:
            with counting("filled in", len(others)) as advance:
                for result in inpaint_items(self._pipeline, others, self._out, reading, skip, *settings, figures):
                    names.append(result.name)
                    tiled += result.tiled
                    drawn += [result.figure] if result.figure is not None else []
                    advance(1)
        if tiled:
            tile = f"{self._pipeline.spec.height} x {self._pipeline.spec.width} pixels (height x width)"
            which = "1 image is" if tiled == 1 else f"{tiled} images are"
            print_notes([f"{which} larger than the model's tile of {tile}, and filled in tile by tile."])
        if large:
            left = None if figures is None else max(0, figures - len(drawn))
            for result in inpaint_large_items(self._pipeline, large, self._out, reading, skip, *settings, counting, left):
                names.append(result.name)
                drawn += [result.figure] if result.figure is not None else []
        return PartResult(names, skip.images, []), drawn

    def finish(self, result: PartResult) -> None:
        """Everything is written already."""


class Completing:
    """Several completions of each image are drawn. Raises `DataError` for arrays of several images that are to be done in parts."""

    def __init__(self, sampler: Sampler, items: list[Item], out: Path, reading: ReadOptions, request: CompletionRequest) -> None:
        self.items = items
        self._sampler, self._out, self._reading, self._request = sampler, out, reading, request

    @property
    def settings(self) -> list[Any]:
        """See `Work.settings`."""
        pipeline, request = self._sampler.pipeline, self._request
        drawing = [request.num_samples, request.conditions, request.rank]
        origin = {key: value for key, value in self._sampler.origin(request.sampling).items() if key not in ("prior", "tokenizer")}
        return [origin, pipeline.tile_overlap, *drawing, *_reading_settings(self._reading)]

    def do(self, part: range, skip: Skipped) -> tuple[PartResult, list[Path]]:
        """See `Work.do`."""
        from vqkit.cli.counting import counting
        from vqkit.inference.completions import complete_items, described
        from vqkit.inference.part_results import PartResult

        own, request = self.items[part.start : part.stop], self._request
        is_part = len(own) < len(self.items)
        if is_part:
            _check_one_image_each(self.items)
        if not own:
            return PartResult([], [], []), []
        reading = self._reading._replace(may_be_none=is_part)
        with counting("drawn", len(own) * request.num_samples) as advance:
            drawn = complete_items(self._sampler, own, self._out, reading, request, skip, advance, part.start)
            completed = list(drawn)
        entries = [described(each, request) for each in completed]
        return PartResult([each.name for each in completed], skip.images, entries), [each.figure for each in completed]

    def finish(self, result: PartResult) -> None:
        """Write `completions.json`."""
        from vqkit.inference.completions import write_completions_json

        write_completions_json(self._sampler, result.completions, self._request, self._out)


def _reading_settings(reading: ReadOptions) -> list[Any]:
    """What decides how images are read, as plain values; of the mask, its content."""
    return [list(reading.keep), None if reading.mask is None else file_digest(reading.mask.path), reading.form]


def _check_one_image_each(items: list[Item]) -> None:
    """Raise `DataError` for arrays: how many images come before a part decides its noise, and only reading them would tell."""
    for item in items:
        if item.path.suffix.lower() in (".npy", ".npz"):
            raise DataError(
                f"{item.path} may hold several images, and completions of arrays are not drawn in parts.",
                "Complete it in one process without --shard, or store its images as files of their own.",
            )
