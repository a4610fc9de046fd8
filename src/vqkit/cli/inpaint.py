"""`vqkit inpaint`: fill in what is missing from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.conditions import ConditionOption, parse_conditions, parse_names
from vqkit.cli.parameters import DeviceOption, RunOption

SourceArgument = Annotated[
    Path, typer.Argument(metavar="IMAGE_OR_DIR", help="A picture, an array, or a directory of them.", show_default=False)
]
KeepOption = Annotated[
    str | None,
    typer.Option("--keep", "-k", metavar="NAMES", help="Components that are known, such as group_nc,bt; all others are filled in."),
]
MaskOption = Annotated[
    Path | None,
    typer.Option("--mask", "-m", help="A picture of the same size: its WHITE pixels are filled in, its black pixels are kept."),
]
FormOption = Annotated[
    str | None,
    typer.Option(
        "--form",
        help="What a file holds, if that is unclear: component, strip, label-map, pages, colour, channels-first or channels-last.",
    ),
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Images that go through the model at once.")]


def inpaint(
    source: SourceArgument,
    keep: KeepOption = None,
    mask: MaskOption = None,
    run: RunOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write to.")] = Path("inpainted"),
    conditions: ConditionOption = None,
    form: FormOption = None,
    batch_size: BatchSizeOption = 64,
    device: DeviceOption = "auto",
) -> None:
    """Fill in what is missing: whole components, or the white part of a mask.

    IMAGE_OR_DIR is a directory in the component layout (component/name_component.png; a component without a file is missing), a
    directory of pictures, or one file: a single component in greyscale, a label map in the palette's colours, all components side
    by side, a TIFF with a page each, a colour picture (fully transparent pixels are missing), .npy or .npz.

    What is kept comes back bit for bit.
    """
    values, names = parse_conditions(conditions), parse_names(keep)
    from vqkit.cli.counting import counting
    from vqkit.data.reading import Request, find_items, read_hole
    from vqkit.generate import load
    from vqkit.inpaint import FIGURE, inpaint_items

    pipeline = load(run, device)
    typer.echo(f"using {pipeline.path}")
    pipeline.spec.component_indices(names)
    items = find_items(source, pipeline.spec, exclude=out)
    hole = read_hole(mask, pipeline.spec) if mask is not None else None
    skipped = 0

    def skip(path: str, reason: str) -> None:
        nonlocal skipped
        skipped += 1
        typer.secho(f"skipped {path}: {reason}", fg="yellow", err=True)

    written = []
    with counting("filled in", len(items)) as advance:
        for result in inpaint_items(pipeline, items, out, Request(names, hole, form), skip, values, batch_size):
            written.append(result.figure)
            advance(1)
    note = f"; {skipped} skipped" if skipped else ""
    typer.echo(f"filled in {_count(len(written))}{note}, written to {out}/")
    typer.echo(f"look at {written[0] if len(written) == 1 else f'{out / FIGURE}/'}")


def _count(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"
