"""`vqkit choose`: which component to measure next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqkit.cli import panels
from vqkit.cli.conditions import ConditionOption, parse_conditions, parse_names
from vqkit.cli.parameters import (
    BatchSizeOption,
    DataOption,
    DeviceOption,
    FormOption,
    JsonOption,
    PatternOption,
    PriorOption,
    RunOption,
)
from vqkit.cli.sampling import GuidanceOption, SeedOption, TemperatureOption, TopKOption, TopPOption, parse_sampling
from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.evaluation.next_component import Choice, ChoiceRequest
    from vqkit.image_io.one_image import OneImage
    from vqkit.inference.sampler import Sampler
    from vqkit.interfaces import DataSpec
    from vqkit.interfaces.priors import Sampling

FIGURE = "choice.png"
_PIPED_WIDTH = 240
"""Characters per line of output that goes to a file or another program, where truncated cells would lose numbers."""

ImageArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[IMAGE]",
        help="One image that holds the known components: a file, or a directory with a file for each. Needs --prior.",
        show_default=False,
    ),
]
KnownOption = Annotated[
    str | None,
    typer.Option(
        "--known",
        "--keep",
        "-k",
        metavar="NAMES",
        help="Components that are known already, such as group_nc,bt. Default: none, or those that IMAGE holds.",
        rich_help_panel=panels.KNOWN,
    ),
]
BudgetOption = Annotated[
    int | None,
    typer.Option(
        "--budget",
        help="Number of components that can be measured. Default: all that are missing.",
        rich_help_panel=panels.MEASUREMENT,
    ),
]
ExhaustiveOption = Annotated[
    bool | None,
    typer.Option(
        "--exhaustive/--greedy",
        help="Also try every keep-set, to see what the greedy order loses. Default: if at most five components are missing.",
        rich_help_panel=panels.MEASUREMENT,
        show_default=False,
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="Part of the data set: train, val or test. Default: val.", rich_help_panel=panels.MODEL),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Number of images, drawn from the whole split and always the same. Default: 256.",
        rich_help_panel=panels.MODEL,
    ),
]
CompletionsOption = Annotated[
    int | None,
    typer.Option("--num-samples", "-n", min=1, help="Completions of IMAGE. Default: 32.", rich_help_panel=panels.SAMPLING),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Directory to write the figure (choice.png) and the results (choice.json) to. Default: neither is written.",
        rich_help_panel=panels.OUTPUT,
    ),
]


def choose(
    image: ImageArgument = None,
    known: KnownOption = None,
    budget: BudgetOption = None,
    exhaustive: ExhaustiveOption = None,
    run: RunOption = None,
    data: DataOption = None,
    split: SplitOption = None,
    limit: LimitOption = None,
    prior: PriorOption = None,
    num_samples: CompletionsOption = None,
    conditions: ConditionOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    guidance_scale: GuidanceOption = None,
    seed: SeedOption = None,
    form: FormOption = None,
    pattern: PatternOption = None,
    batch_size: BatchSizeOption = 64,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    out: OutOption = None,
) -> None:
    """Find which component to measure next, so that what is still missing can be filled in best.

    Without IMAGE, for images like those of a data set, from its validation images: the error of everything that is still missing
    after each candidate was measured, the order in which to measure components, and, where few are missing, the best set of each
    size.

    With IMAGE, for that image: --prior draws completions of it, and each candidate is measured on every one of them in turn.
    """
    from vqkit.evaluation.next_component import ChoiceRequest

    names = parse_names(known, "--known")
    request = ChoiceRequest(known=names, budget=budget, exhaustive=exhaustive, batch_size=batch_size)
    drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance_scale": guidance_scale, "seed": seed}
    of_image = {"prior": prior, "num_samples": num_samples, "condition": conditions, "form": form, "pattern": pattern, **drawing}
    _check_options(image, prior, of_image, {"data": data, "split": split, "limit": limit})
    if out is not None:
        _check_out(out, image, data)
    if image is None:
        choice, spec = _for_set(run, request, data, split, limit, device)
    else:
        sampler = _sampler(prior, run, device)
        known_image = _read(image, sampler.spec, sampler.spec.named_components(names), pattern, form)
        sampling = parse_sampling(drawing) if temperature is not None else sampler.completion_sampling(parse_sampling(drawing))
        settings = num_samples, parse_conditions(conditions), sampling
        choice, spec = _for_image(sampler, known_image, request, settings, str(image)), sampler.spec
    _report(choice, spec, as_json, out)


def _check_options(image: Path | None, prior: str | None, of_image: dict[str, Any], of_set: dict[str, Any]) -> None:
    """Raise `ConfigError` for an image without a prior, and for an option that was given and is not used."""
    given = [name.replace("_", "-") for name, value in of_image.items() if value is not None]
    if image is None and given:
        raise ConfigError(
            f"--{given[0]} is an option for one image, and none was named.", "Name the image, or leave the option out."
        )
    if image is None:
        return
    given = [name for name, value in of_set.items() if value is not None]
    if given:
        raise ConfigError(f"--{given[0]} is an option for data sets, and {image} was named.", "Leave out the one or the other.")
    if prior is None:
        raise ConfigError(
            "Choosing for one image needs --prior: without a prior there is one answer, and no telling how sure it is.",
            "Name a run of train-prior --condition-on observed, or leave out the image: the order for a data set needs no prior.",
        )


def _check_out(out: Path, image: Path | None, data: str | None) -> None:
    """Raise `DataError` where the figure would replace an image that is read."""
    from vqkit.image_io.overwriting import check_not_input, data_files

    check_not_input(out / FIGURE, [image] if image is not None else data_files(data))


def _for_set(
    run: str | None, request: ChoiceRequest, data: str | None, split: str | None, limit: int | None, device: str
) -> tuple[Choice, DataSpec]:
    from vqkit.cli.counting import counting
    from vqkit.core.precision import choose_device
    from vqkit.evaluation.next_component import IMAGES_MEASURED, choose_components
    from vqkit.storage.checkpoints import load_model

    chosen = choose_device(device)
    loaded = load_model(run, chosen)
    images = IMAGES_MEASURED if limit is None else limit
    return choose_components(loaded, request, data, split or "val", images, chosen, counting), loaded.model.spec


def _sampler(prior: str | None, run: str | None, device: str) -> Sampler:
    """The prior with its tokenizer. Raises `ConfigError` for one that does not complete images."""
    from vqkit.inference.sampler import load_sampler

    sampler = load_sampler(prior, run, device, tokenizer_option="--run")
    sampler.check_completes()
    return sampler


def _read(image: Path, spec: DataSpec, known: tuple[str, ...], pattern: str | None, form: str | None) -> OneImage:
    from vqkit.cli.parameters import print_notes
    from vqkit.image_io.one_image import read_one_image

    found = read_one_image(image, spec, known, pattern, form)
    print_notes(found.notes)
    return found


def _for_image(
    sampler: Sampler,
    found: OneImage,
    request: ChoiceRequest,
    settings: tuple[int | None, dict[str, float], Sampling],
    name: str,
) -> Choice:
    """The choice for one image; `settings`: the number of completions, conditions and how completions are drawn."""
    from dataclasses import replace

    from vqkit.cli.counting import counting
    from vqkit.evaluation.next_component import COMPLETIONS, choose_for_image

    count, conditions, sampling = settings
    request, image = replace(request, known=found.known), found.image
    return choose_for_image(
        sampler, image.image, image.observed, request, count or COMPLETIONS, conditions, sampling, name, counting
    )


def _report(choice: Choice, spec: DataSpec, as_json: bool, out: Path | None) -> None:
    """Write the figure and the results to `out`, if any, and print the results."""
    import json

    from rich.console import Console

    from vqkit.cli.choice_tables import print_choice
    from vqkit.core.atomic import write_atomically, write_text
    from vqkit.evaluation.choice_figure import choice_figure

    content = json.dumps(choice.to_json(), indent=2)
    if out is not None:
        write_text(out / "choice.json", content + "\n")
        with write_atomically(out / FIGURE) as temporary:
            choice_figure(choice).savefig(temporary, dpi=120)
    if as_json:
        typer.echo(content)
        return
    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    print_choice(console, choice, spec)
    if out is not None:
        typer.echo(f"choice.png and choice.json written to {out}/")
