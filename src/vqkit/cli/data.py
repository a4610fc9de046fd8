"""`vqkit data`: list, preview, export and pack data sets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli.panels import INPUT, OUTPUT
from vqkit.cli.parameters import JsonOption, OutOption, SetOption
from vqkit.cli.sharding import ShardOption, join_shards, own_shard, say_finished
from vqkit.core.shard_records import Job, ShardedOutput

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    from vqkit.core.shards import ChosenShard
    from vqkit.data.inspecting import SplitStatistics
    from vqkit.interfaces import DataSpec, ImageDataset, Split

data_app = typer.Typer(help="List, preview, export and pack data sets.", no_args_is_help=True, rich_markup_mode="rich")


class SplitName(str, Enum):
    """The splits of a data set."""

    train = "train"
    val = "val"
    test = "test"


_IN_GRID, _ONE_BY_ONE = 32, 4
"""Images in a preview by default."""
_GRID_SIDE = 256
"""Height in pixels to which the images of a grid are enlarged, at most, by default."""

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
    number: Annotated[
        int | None,
        typer.Option(
            "--num",
            "-n",
            min=1,
            help="Number of images in the picture, from the first on. Default: 32, or 4 where components are shown one by one.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", min=1, help="Images of each split that are looked at for the table, evenly spaced.", rich_help_panel=INPUT
        ),
    ] = 500,
    out: Annotated[Path, typer.Option("--out", "-o", help="Image file to write.", rich_help_panel=OUTPUT)] = Path("preview.png"),
    columns: Annotated[
        int, typer.Option("--columns", min=1, help="Images per row of a grid of whole images.", rich_help_panel=OUTPUT)
    ] = 8,
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale",
            min=1,
            help="Integer factor by which images are enlarged. Default: at most 3, or until components can be seen well.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the images of a split hold, warn of what looks wrong, and draw the first ones, as a model receives them.

    The table gives, for each component, its type, its range (stored values that a model sees as 0 and 1), extremes and percentiles
    of its values, and the share of pixels that are present. Pixels without data are hatched in the picture.
    """
    from vqkit.cli.data_tables import print_inspection
    from vqkit.data.doubts import doubts
    from vqkit.data.inspecting import inspect_others, inspect_split
    from vqkit.image_io.overwriting import check_not_input, data_files
    from vqkit.image_io.pictures import save_picture

    _check_picture_suffix(out)
    check_not_input(out, data_files(data))
    dataset = _open(data, settings)
    part = dataset.split(split.value)
    found = inspect_split(part, split.value, limit)
    wrong = doubts(found, inspect_others(dataset, split.value, limit))
    picture, shown = _preview_picture(part, number, columns, scale)
    save_picture(picture, out)
    if as_json:
        _print_preview_json(dataset, found, wrong, out)
        return
    typer.echo("\n".join([*dataset.notes, _describe(part.spec)]))
    print_inspection(found, wrong)
    typer.echo(f"{shown} of {len(part)} {split.value} images shown in {out}")


def _preview_picture(part: Split, number: int | None, columns: int, scale: int | None) -> tuple[PILImage, int]:
    """The first images of a split, and how many: a grid where composites show everything, else the components of each."""
    import torch

    from vqkit.data.exporting import first_indices
    from vqkit.image_io.panels import overview
    from vqkit.image_io.pictures import composite, composite_shows_all, grid
    from vqkit.interfaces import ShownImages

    spec = part.spec
    in_grid = composite_shows_all(spec)
    indices = first_indices(part, number or (_IN_GRID if in_grid else _ONE_BY_ONE))
    images, *_, present = part.batch(indices).to(torch.device("cpu"), spec)
    gaps = present is not None and len(spec.components) > 1 and bool((present != present[:, :1]).any())
    if in_grid and not gaps:
        scale = scale or min(3, max(1, _GRID_SIDE // spec.height))
        return grid(composite(images, spec, present), columns, scale), len(indices)
    chosen = indices[: number or _ONE_BY_ONE]
    rows = [(name, slice(row, row + 1)) for row, name in enumerate(part.names(chosen))]
    shown = [(name, ShownImages(images[row], None if present is None else present[row])) for name, row in rows]
    return overview(shown, spec, scale), len(chosen)


def _print_preview_json(dataset: ImageDataset, found: SplitStatistics, wrong: list[str], out: Path) -> None:
    """Print one object: the data set, the split, its components, and what looks wrong."""
    import json

    from vqkit.image_io.pictures import display_components

    spec = dataset.spec
    content = {
        "name": spec.name,
        "notes": list(dataset.notes),
        "height": spec.height,
        "width": spec.width,
        "conditions": list(spec.condition_names),
        "classes": list(spec.classes),
        "display": list(display_components(spec)),
        "split": found.split,
        "images": found.images,
        "looked_at": found.looked_at,
        "components": [each.to_json() for each in found.components],
        "warnings": wrong,
        "picture": str(out),
    }
    print(json.dumps(content, indent=2))


@data_app.command()
def export(
    data: DataArgument = "tyre",
    split: SplitOption = SplitName.test,
    number: NumberOption = 4,
    out: OutOption = Path("exported"),
    settings: SetOption = None,
) -> None:
    """Write the first images of a split as files, with every value as it is.

    Images of several components are written as one folder per component, with composites and a table of conditions; this is
    the `components` layout. Colour and greyscale images are written as one file each. Files are PNG, or TIFF for floating point
    numbers, other types of whole numbers, and pixels without data.
    """
    from vqkit.data.exporting import export as write_files
    from vqkit.image_io.overwriting import check_not_data, data_files

    check_not_data(out, data_files(data))
    part = _open(data, settings).split(split.value)
    files = write_files(part, split.value, number, out)
    typer.echo(f"{min(number, len(part))} of {len(part)} {split.value} images of {part.spec.name} written to {out}/")
    typer.echo(f"next: vqkit inpaint {shlex.quote(str(files[0]))} {_what_is_known(files[0], part.spec)}")


def _what_is_known(file: Path, spec: DataSpec) -> str:
    """Options of `vqkit inpaint` for a file that was exported: its component, red of a colour picture, or a mask."""
    if len(spec.components) == 1:
        return "--mask mask.png    (white pixels of the mask are filled in)"
    return f"--keep {spec.components[0] if spec.is_colour else file.parent.name}"


@data_app.command()
def prepare(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, ending in .safetensors.", rich_help_panel=OUTPUT)],
    settings: SetOption = None,
    shard: ShardOption = None,
) -> None:
    """Pack all splits of a data set and its specification into one memory-mapped file, which opens without decoding.

    With --shard I/N, the I-th of N parts of each split is packed into a file of its own; the index that joins them is opened like
    one file. Of several processes that torchrun started, each packs a shard.
    """
    from vqkit.data.packing import pack
    from vqkit.image_io.overwriting import check_not_input, data_files

    chosen = own_shard(shard)
    check_not_input(out, data_files(data))
    dataset = _open(data, settings)
    if chosen is not None:
        _prepare_shard(dataset, data, out, chosen)
        return
    counts = pack(dataset, out)
    typer.echo(_describe(dataset.spec))
    _say_packed(counts, out)
    typer.echo(f"next: vqkit train-vqvae --data {shlex.quote(str(out))}")


def _prepare_shard(dataset: ImageDataset, data: str, out: Path, chosen: ChosenShard) -> None:
    """Pack a shard of each split, unless it is finished, and join all shards if it is the last."""
    from vqkit.data.packed_shards import INDEX_KIND
    from vqkit.data.packing import pack, packed_names

    output = ShardedOutput(out, INDEX_KIND, chosen.shard)
    names, spec = packed_names(dataset, chosen.shard), dataset.spec
    typer.echo(f"shard {chosen.shard} ({chosen.origin}): {', '.join(f'{len(own)} {name}' for name, own in names.items())} images")
    job = Job.of([data, spec.to_json(), {name: len(dataset.split(name)) for name in ("train", "val", "test")}], names)
    if output.is_finished(job):
        say_finished(output)
    else:
        counts = pack(dataset, output.file, chosen.shard)
        output.finish(job, counts)
        _say_packed(counts, output.file)
    index = join_shards(output)
    if index is not None:
        typer.echo(f"{_describe(spec)}\nnext: vqkit train-vqvae --data {shlex.quote(str(index.path))}")


def _say_packed(counts: Mapping[str, int], out: Path) -> None:
    images = ", ".join(f"{count} {name}" for name, count in counts.items())
    typer.echo(f"{images} images packed in {out} ({out.stat().st_size / 2**20:.1f} MiB)")


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
