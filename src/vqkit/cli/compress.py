"""`vqkit compress`: images to a file of codes that are entropy-coded with a prior."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vqkit.cli import panels
from vqkit.cli.parameters import FormOption, JsonOption, PatternOption, RunOption, TokenizerOption, print_notes
from vqkit.cli.sharding import ShardOption, join_shards, own_shard, part_of, say_finished, say_shard
from vqkit.cli.skipping import Skipped
from vqkit.core.shard_records import Job, ShardedOutput
from vqkit.storage.compressed_files import MOST_IMAGES

if TYPE_CHECKING:
    from vqkit.core.shards import ChosenShard
    from vqkit.image_io.inputs import Item
    from vqkit.inference.codec.rates import Rate
    from vqkit.inference.sampler import Sampler

ImagesArgument = Annotated[
    Path, typer.Argument(metavar="IMAGES", help="An image file, an array, or a directory of them.", show_default=False)
]
FileOption = Annotated[Path, typer.Option("--out", "-o", help="File to write.", rich_help_panel=panels.OUTPUT)]
LosslessOption = Annotated[
    bool,
    typer.Option(
        "--lossless",
        help="Keep every value: store what the decoded codes are off by. For shapes and whole numbers of 8 or 16 bits.",
        rich_help_panel=panels.OUTPUT,
    ),
]
DrawStepsOption = Annotated[
    int | None,
    typer.Option(
        "--draw-steps",
        min=1,
        help="Steps in which a masked prior gives the codes. Fewer are faster and cost more bits. Default: one code a step.",
        rich_help_panel=panels.MODEL,
    ),
]
BatchOption = Annotated[
    int,
    typer.Option(
        "--batch-size",
        "-b",
        min=1,
        max=MOST_IMAGES,
        help="Images that are coded together, in both directions: it decides the memory that decompressing takes.",
        rich_help_panel=panels.RUNTIME,
    ),
]
CodecDeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="cpu or cuda. A file is decompressed on the kind of device that wrote it.", rich_help_panel=panels.RUNTIME
    ),
]


def compress(
    source: ImagesArgument,
    run: RunOption = None,
    tokenizer: TokenizerOption = None,
    out: FileOption = Path("images.vqk"),
    lossless: LosslessOption = False,
    draw_steps: DrawStepsOption = None,
    form: FormOption = None,
    pattern: PatternOption = None,
    batch_size: BatchOption = 64,
    shard: ShardOption = None,
    device: CodecDeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Compress images: their codes, entropy-coded with the prior of --run, and with --lossless what these leave out.

    IMAGES may have any form that `vqkit inpaint` reads. `vqkit decompress` reads the file, with the same prior and tokenizer, on a
    machine of the same kind; any other is refused. With --shard I/N, the I-th of N parts is compressed to a file of its own;
    `vqkit decompress` reads the index that joins them. Of several processes that torchrun started, each compresses a shard.
    """
    chosen = own_shard(shard)
    from vqkit.image_io.inputs import find_inputs
    from vqkit.inference.sampler import load_sampler

    sampler = load_sampler(run, tokenizer, device)
    typer.echo(f"using {sampler.path} and its tokenizer {sampler.pipeline.path}", err=as_json)
    items, notes = find_inputs(source, sampler.pipeline.spec, pattern)
    print_notes(notes)
    work = _Work(sampler, items, form, draw_steps, lossless, batch_size)
    if chosen is None:
        _report(work.compress(range(len(items)), out), out, lossless, as_json)
    else:
        _compress_shard(work, chosen, out, as_json)


class _Work(NamedTuple):
    """What is compressed, with which model, and how."""

    sampler: Sampler
    items: list[Item]
    form: str | None
    draw_steps: int | None
    lossless: bool
    batch_size: int

    def compress(self, part: range, out: Path) -> Rate:
        """Compress some of the items to a file."""
        from vqkit.cli.counting import counting
        from vqkit.image_io.reading import ReadOptions
        from vqkit.inference.codec.compressing import compress_items

        skipped, own = Skipped(), self.items[part.start : part.stop]
        request = ReadOptions(form=self.form, may_be_none=len(own) < len(self.items))
        with counting("compressed", len(own)) as advance:
            settings = self.draw_steps, self.lossless, self.batch_size
            rate = compress_items(self.sampler, own, out, request, skipped, advance, *settings)
        if skipped.count:
            typer.echo(f"{skipped.count} skipped", err=True)
        return rate

    def job(self, part: range) -> Job:
        """What decides the shard of these items."""
        from vqkit.image_io.inputs import described_items

        models = self.sampler.digest, self.sampler.pipeline.digest, self.sampler.device.type
        settings = self.form, self.draw_steps, self.lossless, self.batch_size
        return Job.of(*described_items(self.items, part), *models, *settings)


def _compress_shard(work: _Work, chosen: ChosenShard, out: Path, as_json: bool) -> None:
    """Compress a shard, unless it is finished, and join all shards if it is the last."""
    from vqkit.storage.compressed_files import INDEX_KIND

    output, part = ShardedOutput(out, INDEX_KIND, chosen.shard), part_of(chosen, len(work.items))
    say_shard(chosen, part, len(work.items), err=as_json)
    job = work.job(part)
    if output.is_finished(job):
        say_finished(output, err=as_json)
    else:
        rate = work.compress(part, output.file)
        output.finish(job, {"images": rate.images})
        _report(rate, output.file, work.lossless, as_json)
    join_shards(output, err=as_json)


def _report(rate: Rate, out: Path, lossless: bool, as_json: bool) -> None:
    typer.echo(json.dumps(rate.to_json(str(out))) if as_json else _table(rate, out, lossless))


def _table(rate: Rate, out: Path, lossless: bool) -> str:
    """What the images cost, a line for each kind of bits."""
    residual = [("residual", rate.residual)] if lossless else []
    rows = [
        ("codes", rate.codes),
        *residual,
        ("directory, digests", rate.frame),
        ("stated", rate.total),
        ("file", 8.0 * rate.bytes),
    ]
    lines = [f"{name:20} {bits:16,.0f} bits {bits / max(1, rate.pixels):10.4f} bits a pixel" for name, bits in rows]
    count = f"{rate.images} image{'' if rate.images == 1 else 's'}"
    return "\n".join([f"compressed {count} to {out} ({rate.bytes:,} bytes)", *lines])
