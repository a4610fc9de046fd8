"""`vqkit encode`: images, or a data set, to a file of codes."""

from __future__ import annotations

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
from vqkit.cli.skipping import Skipped
from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.inference.pipeline import Pipeline
    from vqkit.storage.code_files import CodesFile


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
    device: DeviceOption = "auto",
) -> None:
    """Write the codes of images or of a data set to a file.

    INPUT may have any form that `vqkit inpaint` reads. With --data, labels and conditions are stored too.
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
    from vqkit.inference.pipeline import load
    from vqkit.storage.code_files import write_codes

    pipeline = load(run, device)
    tokenizer = pipeline.tokenizer
    typer.echo(f"using {pipeline.path}")
    if source is not None:
        content = _encode_source(pipeline, source, pattern, names, form, batch_size)
    else:
        content = _encode_data(pipeline, str(data), split, batch_size)
    write_codes(out, content, tokenizer)
    grids = ", ".join(
        f"{height} x {width} codes of {size}"
        for (height, width), size in zip(tokenizer.code_shapes, tokenizer.cardinalities, strict=True)
    )
    typer.echo(f"encoded {len(content.names)} images to {out} ({grids} each)")


def _encode_source(
    pipeline: Pipeline, source: Path, pattern: str | None, keep: tuple[str, ...], form: str | None, batch_size: int
) -> CodesFile:
    from vqkit.cli.counting import counting
    from vqkit.image_io.inputs import find_inputs
    from vqkit.image_io.reading import ReadOptions
    from vqkit.inference.encoding import encode_items

    items, notes = find_inputs(source, pipeline.spec, pattern)
    print_notes(notes)
    skipped = Skipped()
    with counting("encoded", len(items)) as advance:
        content = encode_items(pipeline, items, ReadOptions(keep, None, form), skipped, advance, batch_size)
    if skipped.count:
        typer.echo(f"{skipped.count} skipped", err=True)
    return content


def _encode_data(pipeline: Pipeline, data: str, split: str, batch_size: int) -> CodesFile:
    from vqkit.cli.counting import counting
    from vqkit.data.opening import open_dataset
    from vqkit.data.subsets import choose_split
    from vqkit.inference.encoding import encode_split

    part = choose_split(open_dataset(data), split)
    with counting("encoded", len(part)) as advance:
        return encode_split(pipeline, part, advance, batch_size)
