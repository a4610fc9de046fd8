"""`vqkit inpaint`: fill in what is missing from images."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqkit.cli import panels
from vqkit.cli.conditions import ConditionOption, parse_conditions, parse_names
from vqkit.cli.inpaint_parts import Completing, Filling, do_parts
from vqkit.cli.parameters import (
    DeviceOption,
    FormOption,
    KeepOption,
    OutOption,
    PatternOption,
    PriorOption,
    RunOption,
    figure_count,
    print_notes,
    run_or_builtin,
)
from vqkit.cli.sampling import (
    GuidanceOption,
    MethodOption,
    OrderOption,
    RevisionsOption,
    SeedOption,
    StepsOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
    parse_sampling,
)
from vqkit.cli.sharding import ShardOption, chosen_shard, processes
from vqkit.core.cpus import wait_without_spinning
from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.inference.sampler import Sampler
    from vqkit.interfaces.priors import Sampling

_COMPLETIONS = 8

SourceArgument = Annotated[
    Path, typer.Argument(metavar="IMAGE_OR_DIR", help="An image file, an array, or a directory of them.", show_default=False)
]
MaskOption = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        "-m",
        help="A picture of the same size: its WHITE pixels are filled in, its black pixels are kept. Of a picture with two values, "
        "the larger one is white.",
        rich_help_panel=panels.KNOWN,
    ),
]
FiguresOption = Annotated[
    str,
    typer.Option(
        "--figures",
        metavar="N|all|none",
        help="Of how many images a before/after figure is made.",
        rich_help_panel=panels.OUTPUT,
    ),
]
CompletionsOption = Annotated[
    int | None,
    typer.Option(
        "--num-samples", "-n", help="Completions of each image; needs --prior. Default: 8.", rich_help_panel=panels.SAMPLING
    ),
]
RankOption = Annotated[
    str | None,
    typer.Option(
        "--rank",
        metavar="BY",
        help="consensus: the completion nearest to the others and to the answer of one pass first; likelihood: the most likely "
        "one. Default: consensus.",
        rich_help_panel=panels.SAMPLING,
    ),
]
TileOverlapOption = Annotated[
    int | None,
    typer.Option(
        "--tile-overlap",
        metavar="PIXELS",
        help="How many pixels the tiles of an image larger than the model's tile share: more hides their borders better, and takes "
        "longer. From 0 to half of the shorter side of a tile, which is the default.",
        rich_help_panel=panels.RUNTIME,
        show_default=False,
    ),
]
CompletionBatchOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        min=1,
        help="Images, or tiles of larger images, per batch. Default: 64; with --prior, as many as fit into memory.",
        rich_help_panel=panels.RUNTIME,
    ),
]


def inpaint(
    source: SourceArgument,
    form: FormOption = None,
    pattern: PatternOption = None,
    keep: KeepOption = None,
    mask: MaskOption = None,
    conditions: ConditionOption = None,
    run: RunOption = None,
    prior: PriorOption = None,
    num_samples: CompletionsOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    guidance_scale: GuidanceOption = None,
    method: MethodOption = None,
    draw_steps: StepsOption = None,
    order: OrderOption = None,
    revisions: RevisionsOption = None,
    seed: SeedOption = None,
    rank: RankOption = None,
    out: OutOption = Path("inpainted"),
    figures: FiguresOption = "16",
    tile_overlap: TileOverlapOption = None,
    batch_size: CompletionBatchOption = None,
    shard: ShardOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Fill in what is missing from images: whole components, or the white part of a mask.

    IMAGE_OR_DIR is a directory with a file for each component (such as component/name_component.png; a component without a file is
    missing), a directory of images, or one file: a TIFF, GeoTIFF, OME-TIFF or OME-Zarr with a channel for each component, a single
    component in greyscale, a label map in the palette's colours, all components side by side, a colour picture, .npy or .npz.
    Pixels without data (NaN, nodata, fully transparent) are missing.

    Before anything was trained, the model of tyre sections that comes with vqkit is used (builtin:tyre).

    Without --prior, each image is filled in once, with the model's expected values. With --prior, several completions are drawn and
    ranked (--rank), with a map of their uncertainty; --run then says where the prior's tokenizer is, if it was moved.
    What is kept is returned unchanged, bit for bit, and results have the format, type and tags of the files that they are made of.
    With --shard I/N, the I-th of N parts of the images is filled in; the parts share the output directory.
    """
    values, names = parse_conditions(conditions), parse_names(keep)
    settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance_scale": guidance_scale}
    settings |= {"method": method, "draw_steps": draw_steps, "order": order, "revisions": revisions, "seed": seed}
    count = _number_of_completions(prior, num_samples, {**settings, "rank": rank})
    number_of_figures = figure_count(figures)
    sampling = parse_sampling(settings)
    chosen = chosen_shard(shard)
    wait_without_spinning()  # files are read and written in threads beside the model
    with processes(device):
        from vqkit.image_io.inputs import find_inputs
        from vqkit.image_io.masks import read_mask
        from vqkit.image_io.reading import ReadOptions
        from vqkit.inference.completions import CompletionRequest
        from vqkit.inference.pipeline import load
        from vqkit.inference.ranking import DEFAULT_RANK, parse_rank
        from vqkit.inference.sampler import load_sampler

        ranked = DEFAULT_RANK if rank is None else parse_rank(rank)
        sampler = None if prior is None else load_sampler(prior, run, device, tile_overlap, tokenizer_option="--run")
        pipeline = load(run_or_builtin(run, "model"), device, tile_overlap=tile_overlap) if sampler is None else sampler.pipeline
        if sampler is None:
            typer.echo(f"using {pipeline.path}")
        else:
            sampling = _said_sampling(sampler, sampling, temperature is None)
        # What is loaded stays as long as the command runs: looking for garbage in it would take a tenth of the time.
        gc.freeze()
        names = pipeline.spec.named_components(names)
        items, notes = find_inputs(source, pipeline.spec, pattern, exclude=out)
        print_notes(notes)
        reading = ReadOptions(names, read_mask(mask, pipeline.spec) if mask is not None else None, form)
        if sampler is None:
            filling = Filling(pipeline, items, out, reading, values, batch_size, number_of_figures)
            do_parts(filling, chosen, out, "filled in {images}")
        else:
            request = CompletionRequest(count, values, sampling, batch_size, ranked)
            do_parts(Completing(sampler, items, out, reading, request), chosen, out, f"completed {{images}} in {count} ways")


def _said_sampling(sampler: Sampler, sampling: Sampling, may_be_fitted: bool) -> Sampling:
    """How completions are drawn, after saying with what. Raises what `Sampler.check_completes` does."""
    sampler.check_completes()
    typer.echo(f"using {sampler.path} and its tokenizer {sampler.pipeline.path}")
    if sampler.calibration is None or not may_be_fitted:
        return sampling
    fitted = sampler.completion_sampling(sampling)
    typer.echo(f"at the temperature {fitted.temperature:g}, which was fitted on validation images")
    return fitted


def _number_of_completions(prior: str | None, num_samples: int | None, settings: dict[str, Any]) -> int:
    """Completions of each image. Raises `ConfigError` for none, and for options that need a prior."""
    given = [name for name, value in {"num_samples": num_samples, **settings}.items() if value is not None]
    if prior is None and given:
        option = f"--{given[0].replace('_', '-')}"
        raise ConfigError(
            f"{option} needs --prior: without a prior, an image is filled in once.",
            "Name a run of: vqkit train-prior --condition-on observed",
        )
    if num_samples is not None and num_samples < 1:
        raise ConfigError(f"{num_samples} completions were requested.", "Give --num-samples at least 1.")
    return _COMPLETIONS if num_samples is None else num_samples
