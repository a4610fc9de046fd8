"""`vqkit evaluate`: how good models and priors are on held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqkit.cli.conditions import parse_names
from vqkit.cli.inpaint import BatchSizeOption
from vqkit.cli.model_tables import model_comparison, print_model
from vqkit.cli.parameters import DataOption, DeviceOption, JsonOption
from vqkit.cli.prior_tables import print_prior, prior_comparison
from vqkit.cli.sampling import GuidanceOption, SeedOption, TemperatureOption, TopKOption, TopPOption, parse_sampling
from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.evaluation.autoencoder import Evaluation
    from vqkit.evaluation.prior import PriorEvaluation

_PIPED_WIDTH = 240
"""Characters a line of output that goes to a file or another program, where cutting cells short would lose figures."""

RunsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--run", "-r", help="A model or a prior to measure; repeat it to compare several. Default: the newest model in runs/."
    ),
]
KeepsOption = Annotated[
    list[str] | None,
    typer.Option("--keep", "-k", metavar="NAMES", help="Components that are seen, such as group_nc,bt. May be repeated."),
]
HolesOption = Annotated[
    str | None,
    typer.Option(
        "--mask-kind", help="Holes to fill in: boxes, free-form, half or none. Default: boxes for colour and grey pictures."
    ),
]
SplitOption = Annotated[str, typer.Option("--split", help="Part of the data set: train, val or test.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="Only so many images, always the same ones, from all over the split.")
]
SamplesOption = Annotated[
    int | None, typer.Option("--num-samples", "-n", min=0, help="Of a prior: images to draw; 0: none. Default: 256.")
]
CompletionsOption = Annotated[
    int | None,
    typer.Option("--completions", min=0, help="Of a prior: completions of each partly seen image to draw; 0: none. Default: 16."),
]
TokenizerOption = Annotated[
    str | None, typer.Option("--tokenizer", help="Of a prior: where its tokenizer is now. Default: where it was in training.")
]
FidOption = Annotated[
    bool, typer.Option("--fid", help="Of a model: also FID of its reconstructions; needs vqkit[fid]. Slow without a GPU.")
]
LpipsOption = Annotated[bool, typer.Option("--lpips", help="Of a model: also LPIPS of its reconstructions.")]
BoundOption = Annotated[
    int | None,
    typer.Option(
        "--bound-samples",
        metavar="K",
        min=1,
        help="Of a VAE: also bounds on the probability of an image, the ELBO and the importance-weighted one, from K draws each.",
    ),
]


def evaluate(
    run: RunsOption = None,
    data: DataOption = None,
    split: SplitOption = "test",
    keep: KeepsOption = None,
    holes: HolesOption = None,
    conditions: Annotated[bool, typer.Option("--conditions", help="Tell the model the images' conditions.")] = False,
    limit: LimitOption = None,
    batch_size: BatchSizeOption = 64,
    fid: FidOption = False,
    lpips: LpipsOption = False,
    bound_samples: BoundOption = None,
    num_samples: SamplesOption = None,
    completions: CompletionsOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    guidance_scale: GuidanceOption = None,
    seed: SeedOption = None,
    tokenizer: TokenizerOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the figures to this JSON file.")] = None,
) -> None:
    """Measure models and priors on held-out images.

    Of a model: errors on what was missing, from whole input on everything. Without --keep, every component is kept alone and left
    out alone. Of a prior: what the codes of held-out images cost, how its samples compare with the data and, if it was trained with
    --condition observed, what its completions are worth. docs/evaluation.md explains the figures.
    """
    keeps = [parse_names(names) for names in keep] if keep else None
    shared = {"data": data, "split": split, "keeps": keeps, "holes": holes, "limit": limit, "batch_size": batch_size}
    special = {"num_samples": num_samples, "completions": completions, "tokenizer": tokenizer}
    drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance_scale": guidance_scale, "seed": seed}
    further = {"fid": fid, "lpips": lpips, "bound_samples": bound_samples}
    models, priors = _measure(run or [None], {**shared, "use_conditions": conditions}, further, special, drawing, device)
    import json

    from vqkit.core.atomic import write_text

    figures = {"evaluations": [each.to_json() for each in models], "priors": [each.to_json() for each in priors]}
    content = json.dumps(figures, indent=2)
    if out is not None:
        write_text(out, content + "\n")
    if as_json:
        typer.echo(content)
        return
    _print(models, priors)
    if out is not None:
        typer.echo(f"figures written to {out}")


def _measure(
    runs: list[str] | list[None],
    shared: dict[str, Any],
    further: dict[str, Any],
    special: dict[str, Any],
    drawing: dict[str, Any],
    device: str,
) -> tuple[list[Evaluation], list[PriorEvaluation]]:
    """The models and the priors among the runs, measured.

    `further` figures are of models; `special` and `drawing` for priors, where None stands for the default.
    Raises `ConfigError` when such a setting is given and no run is of that kind.
    """
    from functools import partial

    from vqkit.cli.counting import counting
    from vqkit.core.precision import choose_device
    from vqkit.storage.checkpoints import locate, read_header

    chosen, paths = choose_device(device), [locate(each) for each in runs]
    priors = [path for path in paths if read_header(path).get("kind") == "prior"]
    typed = [name for name, value in {**special, **drawing}.items() if value is not None]
    if typed and not priors:
        raise ConfigError(
            f"--{typed[0].replace('_', '-')} is a setting for priors, and {paths[0]} is a model.",
            "Leave it out, or name a run of train-prior with --run.",
        )
    asked = [name.replace("_", "-") for name, wanted in further.items() if wanted]
    if asked and len(priors) == len(paths):
        raise ConfigError(
            f"--{asked[0]} is a figure of models, and {paths[0]} is a prior.",
            "Leave it out, or name a run of train-vqvae with --run.",
        )
    models_measured, priors_measured = [], []
    for path in paths:
        if path in priors:
            from vqkit.evaluation.prior import evaluate_prior

            settings = {name: value for name, value in special.items() if value is not None}
            sampling = parse_sampling(drawing)
            priors_measured.append(evaluate_prior(path, **shared, **settings, sampling=sampling, device=device, progress=counting))
        else:
            from vqkit.evaluation.autoencoder import evaluate as evaluate_model

            models_measured.append(evaluate_model(path, **shared, **further, device=chosen, progress=partial(counting, "measured")))
    return models_measured, priors_measured


def _print(models: list[Evaluation], priors: list[PriorEvaluation]) -> None:
    """Every run, models first, and comparisons where there are several of a kind."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    for model in models:
        print_model(console, model)
    if len(models) > 1:
        console.print(model_comparison(models))
    for prior in priors:
        print_prior(console, prior)
    if len(priors) > 1:
        console.print(prior_comparison(priors))
