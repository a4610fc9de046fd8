"""`vqkit sample`: new images from a prior or a generative model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli import panels
from vqkit.cli.conditions import ConditionOption, parse_conditions
from vqkit.cli.parameters import DeviceOption, OutOption, RunOption, TokenizerOption, run_or_builtin
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
from vqkit.cli.sharding import processes
from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.inference.image_sampler import ImageSampler
    from vqkit.inference.samples import Block, Sweep
    from vqkit.interfaces.priors import Sampling

_MODES = ("unconditional", "conditional")
_COUNT, _SWEEP_COUNT = 16, 4

SamplesBatchOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        min=1,
        help="Images drawn at once. Default: as many as fit into memory.",
        rich_help_panel=panels.RUNTIME,
    ),
]
ModeOption = Annotated[
    str | None,
    typer.Option(
        "--mode",
        help="conditional or unconditional. Default: conditional if the prior was trained with conditions.",
        rich_help_panel=panels.KNOWN,
    ),
]
ClassOption = Annotated[
    str | None, typer.Option("--class", metavar="NAME", help="Class of all images.", rich_help_panel=panels.KNOWN)
]
SweepOption = Annotated[
    str | None,
    typer.Option(
        "--sweep",
        metavar="NAME=FROM:TO:COUNT",
        help="Draw the same samples for COUNT values of a condition, such as width_px=50:64:8.",
        rich_help_panel=panels.KNOWN,
    ),
]
CountOption = Annotated[
    int | None,
    typer.Option(
        "--num-samples",
        "-n",
        help="Number of images. Default: 16, or 4 for each value of --sweep.",
        rich_help_panel=panels.SAMPLING,
    ),
]
ColumnsOption = Annotated[
    int, typer.Option("--grid-nrow", min=1, help="Images per row of the grid.", rich_help_panel=panels.OUTPUT)
]
CodesOption = Annotated[
    bool, typer.Option("--codes", help="Also write the codes, as `vqkit encode` does.", rich_help_panel=panels.OUTPUT)
]


def sample(
    run: RunOption = None,
    tokenizer: TokenizerOption = None,
    mode: ModeOption = None,
    conditions: ConditionOption = None,
    label: ClassOption = None,
    sweep: SweepOption = None,
    num_samples: CountOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    guidance_scale: GuidanceOption = None,
    method: MethodOption = None,
    draw_steps: StepsOption = None,
    order: OrderOption = None,
    revisions: RevisionsOption = None,
    seed: SeedOption = None,
    out: OutOption = Path("samples"),
    columns: ColumnsOption = 8,
    codes: CodesOption = False,
    batch_size: SamplesBatchOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Draw new images from a prior, or from a generative model such as a VAE.

    A prior that was trained with conditions or classes is conditioned on --condition, --class and --sweep, or, without any of them,
    on the conditions of test images.
    """
    values, swept = parse_conditions(conditions), parse_sweep(sweep)
    _check(mode, values, label, swept)
    if num_samples is None:
        num_samples = _COUNT if swept is None else _SWEEP_COUNT
    if num_samples < 1:
        raise ConfigError(f"{num_samples} images were requested.", "Give --num-samples at least 1.")
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance_scale": guidance_scale}
    settings |= {"draw_steps": draw_steps, "order": order, "revisions": revisions}
    sampling = parse_sampling({**settings, "seed": seed, "method": method})
    with processes(device):
        from vqkit.inference import samples as drawing

        sampler = _load(run, tokenizer, codes, device)
        if swept is not None:
            blocks = drawing.sweep_blocks(num_samples, drawing.Sweep(*swept), values, label)
        else:
            blocks = _blocks(sampler, mode, values, label, num_samples)
        _draw(sampler, blocks, out, sampling, batch_size, None if swept is None else drawing.Sweep(*swept), columns, codes)


def _draw(
    sampler: ImageSampler,
    blocks: list[Block],
    out: Path,
    sampling: Sampling,
    batch_size: int | None,
    sweep: Sweep | None,
    columns: int,
    codes: bool,
) -> None:
    """Draw in all processes; rank 0 writes what is made of all images, and says where they are."""
    from vqkit.cli.counting import count_of, counting
    from vqkit.core import distributed
    from vqkit.image_io.pictures import save_picture
    from vqkit.inference import samples as drawing
    from vqkit.inference.sampler import Sampler

    count = sum(len(block.names) for block in blocks)
    with counting("drawn", sum(len(distributed.share(len(block.names))) for block in blocks)) as advance:
        drawn = drawing.draw_blocks(sampler, blocks, out, sampling, batch_size, advance)
    if not distributed.is_main():
        return
    grid = drawing.plain_grid(sampler, drawn, columns) if sweep is None else drawing.sweep_grid(sampler, drawn, sweep)
    save_picture(grid, out / drawing.GRID)
    drawing.write_samples_json(sampler, drawn, sampling, out)
    if codes and isinstance(sampler, Sampler):
        drawing.write_all_codes(sampler, drawn, out / drawing.CODES)
    typer.echo(f"drew {count_of(count)}, written to {out / drawing.IMAGES}/")
    typer.echo(f"look at {out / drawing.GRID}")


def _load(run: str | None, tokenizer: str | None, codes: bool, device: str) -> ImageSampler:
    """The prior with its tokenizer, or the generative model, of a run."""
    from vqkit.inference.model_sampler import draws_by_itself, load_model_sampler
    from vqkit.inference.sampler import load_sampler

    if not draws_by_itself(run):
        sampler = load_sampler(run_or_builtin(run, "prior"), tokenizer, device)
        typer.echo(f"using {sampler.path} and its tokenizer {sampler.pipeline.path}")
        return sampler
    for option, given in (("--tokenizer", tokenizer is not None), ("--codes", codes)):
        if given:
            raise ConfigError(f"{option} needs codes, and the model in {run} has none.", f"Leave out {option}.")
    model = load_model_sampler(run, device)
    typer.echo(f"using {model.path}")
    return model


def _blocks(sampler: ImageSampler, mode: str | None, values: dict[str, float], label: str | None, count: int) -> list[Block]:
    """What to draw without --sweep: with the given conditions, with those of test images, or unconditionally."""
    from vqkit.inference.samples import conditions_of_test_set, plain_blocks

    if values or label is not None:
        return plain_blocks(count, values, label)
    if mode is None:
        mode = "conditional" if sampler.is_conditional else "unconditional"
    if mode == "unconditional":
        typer.echo("unconditional")
        return plain_blocks(count, {}, None)
    sampler.check_conditional()
    known, labels, data = conditions_of_test_set(sampler, count)
    typer.echo(f"with the conditions of the test set of {data}")
    return plain_blocks(count, known, labels)


def parse_sweep(text: str | None) -> tuple[str, tuple[float, ...]] | None:
    """`width_px=50:64:8` as the name and eight values. Raises `ConfigError` for what is not NAME=FROM:TO:COUNT."""
    if text is None:
        return None
    name, _, rest = text.partition("=")
    try:
        first, last, number = rest.split(":")
        start, stop, count = float(first), float(last), int(number)
    except ValueError:
        raise ConfigError(f"'--sweep {text}' cannot be read.", "Write NAME=FROM:TO:COUNT, such as width_px=50:64:8.") from None
    if count < 2 or not math.isfinite(start) or not math.isfinite(stop):
        raise ConfigError(f"'--sweep {text}' is no sweep.", "FROM and TO must be finite, and COUNT at least 2.")
    values = tuple(start + (stop - start) * step / (count - 1) for step in range(count))
    if len({f"{value:g}" for value in values}) < count:
        raise ConfigError(f"The values of '--sweep {text}' are nearly equal.", "Choose FROM and TO further apart, or fewer values.")
    return name.strip(), values


def _check(mode: str | None, values: dict[str, float], label: str | None, sweep: tuple[str, tuple[float, ...]] | None) -> None:
    """Refuse options that contradict each other."""
    if mode not in (None, *_MODES):
        raise ConfigError(f"There is no mode '{mode}'.", f"Known: {', '.join(_MODES)}.")
    if mode == "unconditional" and (values or label is not None or sweep is not None):
        raise ConfigError("--mode unconditional contradicts the given conditions.", "Leave out the mode or the conditions.")
    if sweep is not None and sweep[0] in values:
        raise ConfigError(f"{sweep[0]} is given by both --condition and --sweep.", "Leave out one of them.")
