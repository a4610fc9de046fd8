"""`vqkit compress`: images to a file of codes that are entropy-coded with a prior."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli import panels
from vqkit.cli.parameters import FormOption, JsonOption, PatternOption, RunOption, TokenizerOption, print_notes
from vqkit.cli.skipping import Skipped
from vqkit.storage.compressed_files import MOST_IMAGES

if TYPE_CHECKING:
    from vqkit.inference.codec.rates import Rate

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
    device: CodecDeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Compress images: their codes, entropy-coded with the prior of --run, and with --lossless what these leave out.

    IMAGES may have any form that `vqkit inpaint` reads. `vqkit decompress` reads the file, with the same prior and tokenizer, on a
    machine of the same kind; any other is refused.
    """
    from vqkit.cli.counting import counting
    from vqkit.image_io.inputs import find_inputs
    from vqkit.image_io.reading import ReadOptions
    from vqkit.inference.codec.compressing import compress_items
    from vqkit.inference.sampler import load_sampler

    sampler = load_sampler(run, tokenizer, device)
    typer.echo(f"using {sampler.path} and its tokenizer {sampler.pipeline.path}", err=as_json)
    items, notes = find_inputs(source, sampler.pipeline.spec, pattern)
    print_notes(notes)
    skipped = Skipped()
    with counting("compressed", len(items)) as advance:
        request = ReadOptions(form=form)
        rate = compress_items(sampler, items, out, request, skipped, advance, draw_steps, lossless, batch_size)
    if skipped.count:
        typer.echo(f"{skipped.count} skipped", err=True)
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
    lines = [f"{name:20} {bits:16,.0f} bits {bits / rate.pixels:10.4f} bits a pixel" for name, bits in rows]
    count = f"{rate.images} image{'' if rate.images == 1 else 's'}"
    return "\n".join([f"compressed {count} to {out} ({rate.bytes:,} bytes)", *lines])
