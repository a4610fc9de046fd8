"""`vqkit data`: list, preview, export and pack data sets."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli.panels import INPUT, OUTPUT
from vqkit.cli.parameters import JsonOption, OutOption, SetOption

if TYPE_CHECKING:
    from vqkit.interfaces import DataSpec, ImageDataset

data_app = typer.Typer(help="List, preview, export and pack data sets.", no_args_is_help=True, rich_markup_mode="rich")


class SplitName(str, Enum):
    """The splits of a data set."""

    train = "train"
    val = "val"
    test = "test"


DataArgument = Annotated[str, typer.Argument(metavar="DATA", help="Name of a data set (see `vqkit data list`) or a path.")]
SplitOption = Annotated[SplitName, typer.Option("--split", help="Split to read.", rich_help_panel=INPUT)]
NumberOption = Annotated[
    int, typer.Option("--num", "-n", min=1, help="Number of images, from the first on.", rich_help_panel=INPUT)
]


@data_app.command("list")
def list_data(as_json: JsonOption = False) -> None:
    """List the registered data sets and their settings."""
    from vqkit.registry import DATASETS

    entries = DATASETS.entries()
    fields = {name: entry.part.Options.model_fields for name, entry in entries.items()}
    if as_json:
        import json

        described = {name: {key: field.description for key, field in settings.items()} for name, settings in fields.items()}
        print(
            json.dumps({name: {"summary": entry.summary, "settings": described[name]} for name, entry in entries.items()}, indent=2)
        )
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "description", "settings (--set data.KEY=VALUE)", box=None, header_style="bold")
    for name, entry in entries.items():
        table.add_row(name, entry.summary, " ".join(fields[name]))
    Console().print(table)


@data_app.command()
def preview(
    data: DataArgument = "tyre",
    split: SplitOption = SplitName.train,
    number: NumberOption = 32,
    out: Annotated[Path, typer.Option("--out", "-o", help="Image file to write.", rich_help_panel=OUTPUT)] = Path("preview.png"),
    columns: Annotated[int, typer.Option("--columns", min=1, help="Images per row.", rich_help_panel=OUTPUT)] = 8,
    scale: Annotated[
        int, typer.Option("--scale", min=1, help="Integer factor by which images are enlarged.", rich_help_panel=OUTPUT)
    ] = 3,
    settings: SetOption = None,
) -> None:
    """Show the first images of a split as one grid, exactly as a model receives them."""
    from vqkit.data.exporting import first_indices
    from vqkit.image_io.pictures import composite, grid, save_picture

    _check_picture_suffix(out)
    part = _open(data, settings).split(split.value)
    indices = first_indices(part, number)
    save_picture(grid(composite(part.spec.to_unit(part.batch(indices).images), part.spec), columns, scale), out)
    typer.echo(_describe(part.spec))
    typer.echo(f"{len(indices)} of {len(part)} {split.value} images shown in {out}")


@data_app.command()
def export(
    data: DataArgument = "tyre",
    split: SplitOption = SplitName.test,
    number: NumberOption = 4,
    out: OutOption = Path("exported"),
    settings: SetOption = None,
) -> None:
    """Write the first images of a split as PNG files.

    Images of several components are written as one folder per component, with composites and a table of
    conditions; this is the `components` layout. Colour and greyscale images are written as one file each.
    """
    from vqkit.data.exporting import export as write_files

    part = _open(data, settings).split(split.value)
    files = write_files(part, split.value, number, out)
    typer.echo(f"{min(number, len(part))} of {len(part)} {split.value} images of {part.spec.name} written to {out}/")
    first = files[0]
    keep = first.parent.name if len(part.spec.components) > 1 and not part.spec.is_colour else part.spec.components[0]
    typer.echo(f"next: vqkit inpaint {first} --keep {keep}")


@data_app.command()
def prepare(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, ending in .safetensors.", rich_help_panel=OUTPUT)],
    settings: SetOption = None,
) -> None:
    """Pack all splits of a data set and its specification into one memory-mapped file, which opens without decoding."""
    from vqkit.data.packing import pack

    dataset = _open(data, settings)
    counts = pack(dataset, out)
    typer.echo(_describe(dataset.spec))
    images = ", ".join(f"{count} {name}" for name, count in counts.items())
    typer.echo(f"{images} images packed in {out} ({out.stat().st_size / 2**20:.1f} MiB)")
    typer.echo(f"next: vqkit train-vqvae --data {out}")


def _open(data: str, settings: list[str] | None) -> ImageDataset:
    """Open the named data set, with `--set data.KEY=VALUE` applied."""
    from vqkit.config import load_config
    from vqkit.data.opening import open_dataset

    return open_dataset(load_config(None, {"data": {"name": data}}, settings or []).data)


def _describe(spec: DataSpec) -> str:
    """Describe a specification in one line."""
    conditions = f"; conditions {', '.join(spec.condition_names)}" if spec.conditions else ""
    classes = f"; {len(spec.classes)} classes" if spec.classes else ""
    names = ", ".join(spec.components)
    return f"{spec.name}: {names} ({spec.value_kind}), {spec.height} x {spec.width} (height x width){conditions}{classes}"


def _check_picture_suffix(path: Path) -> None:
    """Raise `ConfigError` unless pictures are written in the format of the suffix."""
    from vqkit.errors import ConfigError
    from vqkit.image_io.formats import WRITABLE_SUFFIXES, has_suffix

    if not has_suffix(path, WRITABLE_SUFFIXES):
        hint = f"Give --out a name that ends in {', '.join(WRITABLE_SUFFIXES)}."
        raise ConfigError(f"A picture cannot be written to {path}.", hint)
