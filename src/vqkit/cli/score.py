"""`vqkit score`: how unusual images are, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli import panels
from vqkit.cli.parameters import (
    BatchSizeOption,
    DeviceOption,
    FormOption,
    JsonOption,
    OutOption,
    PatternOption,
    TokenizerOption,
    figure_count,
    print_notes,
)
from vqkit.cli.skipping import Skipped

SourceArgument = Annotated[
    Path, typer.Argument(metavar="IMAGE_OR_DIR", help="An image file, an array, or a directory of them.", show_default=False)
]
PriorRunOption = Annotated[
    str | None,
    typer.Option("--run", "-r", help="A run of train-prior. Default: the newest prior in runs/.", rich_help_panel=panels.MODEL),
]
FiguresOption = Annotated[
    str,
    typer.Option(
        "--figures", metavar="N|all|none", help="Of how many of the oddest images a figure is made.", rich_help_panel=panels.OUTPUT
    ),
]
TileOverlapOption = Annotated[
    int,
    typer.Option(
        "--tile-overlap",
        metavar="PIXELS",
        help="How many pixels the tiles of an image larger than the model's tile share, so that a fault on the border of one lies "
        "inside of another. From 0 to half of the shorter side of a tile.",
        rich_help_panel=panels.RUNTIME,
    ),
]
MapsOption = Annotated[
    bool,
    typer.Option(
        "--maps", help="Also write the maps of bits and of errors of every image, as float32 TIFF.", rich_help_panel=panels.OUTPUT
    ),
]


def score(
    source: SourceArgument,
    form: FormOption = None,
    pattern: PatternOption = None,
    run: PriorRunOption = None,
    tokenizer: TokenizerOption = None,
    out: OutOption = Path("scores"),
    figures: FiguresOption = "16",
    maps: MapsOption = False,
    tile_overlap: TileOverlapOption = 0,
    batch_size: BatchSizeOption = 64,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Score how unusual images are: by what their codes cost under a prior, and by what their codes lose.

    Every score stands beside the share of validation images of the training data that score at least as high; these are measured
    once, at the first use of a prior, and kept beside it. Written are a table (scores.csv, scores.json), the oddest first, and
    figures with maps of where an image is unusual. docs/oddity.md explains the scores.

    IMAGE_OR_DIR may have any form that `vqkit inpaint` reads. Of images larger than the model's tile, every tile is scored like an
    image; smaller ones are skipped. Pixels without data do not count.
    """
    number = figure_count(figures)
    from vqkit.cli.counting import count_of, counting
    from vqkit.cli.oddity_tables import print_scores
    from vqkit.evaluation.usual_images import usual_images
    from vqkit.image_io.inputs import find_inputs
    from vqkit.image_io.reading import ReadOptions
    from vqkit.inference.sampler import load_sampler
    from vqkit.inference.scoring import RECORD, ScoreRequest, record, score_items

    sampler = load_sampler(run, tokenizer, device, tile_overlap)
    if not as_json:
        typer.echo(f"using {sampler.path} and its tokenizer {sampler.pipeline.path}")
    items, notes = find_inputs(source, sampler.spec, pattern, exclude=out)
    print_notes(notes)
    reference = usual_images(sampler, counting, batch_size)
    skipped = Skipped()
    request = ScoreRequest(number, maps, batch_size)
    with counting("scored", len(items)) as advance:
        scored = score_items(sampler, reference, items, out, ReadOptions((), None, form), request, skipped, advance)
    if as_json:
        typer.echo(json.dumps(record(sampler, reference, scored), indent=2))
        return
    print_scores(scored, reference.images, out / RECORD)
    typer.echo(f"scored {count_of(len(scored))}{skipped}, written to {out}/")
