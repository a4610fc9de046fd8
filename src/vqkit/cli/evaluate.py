"""`vqkit evaluate`: metrics of models and priors on held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli import panels
from vqkit.cli.conditions import parse_names
from vqkit.cli.parameters import BatchSizeOption, DataOption, DeviceOption, JsonOption, LimitOption, SplitOption
from vqkit.cli.sampling import (
    GuidanceOption,
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
from vqkit.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from vqkit.cli.model_tables import FloorChoice
    from vqkit.evaluation.autoencoder import Evaluation
    from vqkit.evaluation.prior import PriorEvaluation
    from vqkit.evaluation.requests import EvaluationRequest, PriorEvaluationRequest

_PIPED_WIDTH = 240
"""Characters per line of output that goes to a file or another program, where truncated cells would lose numbers."""

RunsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--run",
        "-r",
        help="A model or a prior to evaluate; repeat it to compare several. Default: the newest model in runs/.",
        rich_help_panel=panels.MODEL,
    ),
]
KeepsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        "-k",
        metavar="NAMES",
        help="Components that are observed, such as group_nc,bt. May be repeated.",
        rich_help_panel=panels.MASKING,
    ),
]
MaskKindOption = Annotated[
    str | None,
    typer.Option(
        "--mask-kind",
        help="Pixels to fill in: boxes, free-form, half or none. Default: boxes for colour and grey images.",
        rich_help_panel=panels.MASKING,
    ),
]
WithConditionsOption = Annotated[
    bool,
    typer.Option(
        "--with-conditions",
        help="Condition the model on the images' conditions, which are unknown to it otherwise.",
        rich_help_panel=panels.MODEL,
    ),
]
SamplesOption = Annotated[
    int | None,
    typer.Option(
        "--num-samples",
        "-n",
        min=0,
        help="For priors: images to draw; 0 draws none. Default: 256.",
        rich_help_panel=panels.MEASUREMENT,
    ),
]
CompletionsOption = Annotated[
    int | None,
    typer.Option(
        "--completions",
        min=0,
        help="For priors: completions to draw of each partly observed image; 0 draws none. Default: 16.",
        rich_help_panel=panels.MEASUREMENT,
    ),
]
FloorsOption = Annotated[
    str | None,
    typer.Option(
        "--floors",
        help="Simple predictors beside models, such as linear regression: best (of each scenario), all, or none, which saves their "
        "time. Beside completions by priors: best or none. Default: best.",
        rich_help_panel=panels.MEASUREMENT,
    ),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="For priors: the tokenizer, if it is no longer where it was in training.",
        rich_help_panel=panels.MODEL,
    ),
]
FidOption = Annotated[
    bool,
    typer.Option(
        "--fid",
        help="For models: also FID of the reconstructions; needs the extra 'fid' of vqkit. Slow without a GPU.",
        rich_help_panel=panels.MEASUREMENT,
    ),
]
LpipsOption = Annotated[
    bool,
    typer.Option("--lpips", help="For models: also LPIPS of the reconstructions.", rich_help_panel=panels.MEASUREMENT),
]
CalibrateOption = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="For priors: first fit the temperature of completions, and the error of the decoder that their spread leaves out, on "
        "validation images; both are kept beside the prior and used from then on. It takes three to seven times as long as "
        "measuring completions.",
        rich_help_panel=panels.MEASUREMENT,
    ),
]
BoundOption = Annotated[
    int | None,
    typer.Option(
        "--bound-samples",
        metavar="K",
        min=1,
        help="For VAEs: also bounds on the log-likelihood (ELBO and importance-weighted), from K posterior samples per image.",
        rich_help_panel=panels.MEASUREMENT,
    ),
]
AgainstOption = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="DATA",
        help="For priors: also how well each score of `vqkit score` tells the held-out images from those of other data, as "
        "AUROC. May be repeated.",
        rich_help_panel=panels.MEASUREMENT,
    ),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Also write the results to this JSON file.", rich_help_panel=panels.OUTPUT),
]


def evaluate(
    run: RunsOption = None,
    data: DataOption = None,
    split: SplitOption = "test",
    keep: KeepsOption = None,
    mask_kind: MaskKindOption = None,
    with_conditions: WithConditionsOption = False,
    limit: LimitOption = None,
    batch_size: BatchSizeOption = 64,
    fid: FidOption = False,
    lpips: LpipsOption = False,
    bound_samples: BoundOption = None,
    floors: FloorsOption = None,
    num_samples: SamplesOption = None,
    completions: CompletionsOption = None,
    calibrate: CalibrateOption = False,
    against: AgainstOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    guidance_scale: GuidanceOption = None,
    draw_steps: StepsOption = None,
    order: OrderOption = None,
    revisions: RevisionsOption = None,
    seed: SeedOption = None,
    tokenizer: TokenizerOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    out: ResultsOption = None,
) -> None:
    """Evaluate models and priors on held-out images.

    For a model: reconstruction errors on what was missing, and from full input on everything. Without --keep, each component is
    kept alone and left out alone. For a prior: the rate of held-out images' codes, how close its samples are to the data and, if it
    was trained with --condition-on observed, the quality of its completions. docs/evaluation.md defines the metrics.
    """
    from vqkit.core.atomic import check_replaceable
    from vqkit.evaluation.requests import EvaluationRequest, HeldOutRequest, PriorEvaluationRequest
    from vqkit.image_io.overwriting import check_not_input, data_files
    from vqkit.storage.checkpoints import read_header
    from vqkit.storage.runs import locate

    paths = [locate(each) for each in run] if run else [locate(None)]
    if out is not None:
        check_replaceable(out)  # before the work, not after it
        check_not_input(out, [*paths, *(path for each in (data, *(against or ())) for path in data_files(each))])
    priors = [path for path in paths if read_header(path).get("kind") == "prior"]
    drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance_scale": guidance_scale, "seed": seed}
    drawing |= {"draw_steps": draw_steps, "order": order, "revisions": revisions}
    only_priors = {"num_samples": num_samples, "completions": completions, "tokenizer": tokenizer, **drawing}
    only_priors["calibrate"] = calibrate or None
    only_priors["against"] = ",".join(against) if against else None
    only_models = {"fid": fid or None, "lpips": lpips or None, "bound_samples": bound_samples}
    _check_options(paths, priors, only_models, only_priors)
    shown = _floor_choice(floors)
    shared = HeldOutRequest(
        data=data,
        split=split,
        limit=limit,
        batch_size=batch_size,
        keep_sets=[parse_names(names) for names in keep] if keep else None,
        mask_kind=mask_kind,
        with_conditions=with_conditions,
        floors=shown != "none",
    )
    of_models = EvaluationRequest(**vars(shared), fid=fid, lpips=lpips, bound_samples=bound_samples)
    of_priors = PriorEvaluationRequest(
        **vars(shared),
        num_samples=PriorEvaluationRequest.num_samples if num_samples is None else num_samples,
        completions=PriorEvaluationRequest.completions if completions is None else completions,
        sampling=parse_sampling(drawing),
        fitted_temperature=temperature is None,
        calibrate=calibrate,
        against=tuple(against or ()),
    )
    models = [path for path in paths if path not in priors]
    with processes(device):
        results = _evaluate_models(models, of_models, device), _evaluate_priors(priors, of_priors, tokenizer, device)
        _report(*results, shown, as_json, out)


def _floor_choice(name: str | None) -> FloorChoice:
    """Raises `ConfigError` for a choice that there is not."""
    choices: tuple[FloorChoice, ...] = ("best", "all", "none")
    for choice in choices:
        if choice == (name or "best"):
            return choice
    raise ConfigError(f"--floors is '{name}'.", did_you_mean(str(name), choices))


def _check_options(
    paths: Sequence[Path], priors: Sequence[Path], of_models: Mapping[str, object], of_priors: Mapping[str, object]
) -> None:
    """Raise `ConfigError` for an option that was given (is not None) and concerns none of the runs."""
    given = [name.replace("_", "-") for name, value in of_priors.items() if value is not None]
    if given and not priors:
        raise ConfigError(
            f"--{given[0]} is an option for priors, and {paths[0]} is a model.",
            "Leave it out, or name a run of train-prior with --run.",
        )
    given = [name.replace("_", "-") for name, value in of_models.items() if value is not None]
    if given and len(priors) == len(paths):
        raise ConfigError(
            f"--{given[0]} is an option for models, and {paths[0]} is a prior.",
            "Leave it out, or name a run of train-vqvae with --run.",
        )


def _evaluate_models(paths: Sequence[Path], request: EvaluationRequest, device: str) -> list[Evaluation]:
    if not paths:
        return []
    from vqkit.cli.counting import counting
    from vqkit.core.precision import choose_device
    from vqkit.evaluation import evaluate as evaluate_model

    return [evaluate_model(path, request, choose_device(device), counting) for path in paths]


def _evaluate_priors(
    paths: Sequence[Path], request: PriorEvaluationRequest, tokenizer: str | None, device: str
) -> list[PriorEvaluation]:
    if not paths:
        return []
    from vqkit.cli.counting import counting
    from vqkit.evaluation import evaluate_prior

    return [evaluate_prior(path, request, tokenizer, device, counting) for path in paths]


def _report(models: list[Evaluation], priors: list[PriorEvaluation], floors: FloorChoice, as_json: bool, out: Path | None) -> None:
    """Write the results to `out`, if any, and print them; they are equal in all processes, and rank 0 does it."""
    import json

    from vqkit.core import distributed
    from vqkit.core.atomic import write_text

    if not distributed.is_main():
        return
    results = {"evaluations": [each.to_json() for each in models], "priors": [each.to_json() for each in priors]}
    content = json.dumps(results, indent=2)
    if out is not None:
        write_text(out, content + "\n")
    if as_json:
        typer.echo(content)
        return
    _print(models, priors, floors)
    if out is not None:
        typer.echo(f"results written to {out}")


def _print(models: list[Evaluation], priors: list[PriorEvaluation], floors: FloorChoice) -> None:
    """Every run, models first, and a comparison where there are several of a kind."""
    from rich.console import Console

    from vqkit.cli.model_tables import model_comparison, print_model
    from vqkit.cli.prior_tables import print_prior, prior_comparison

    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    for model in models:
        print_model(console, model, floors)
    if len(models) > 1:
        console.print(model_comparison(models))
    for prior in priors:
        print_prior(console, prior)
    if len(priors) > 1:
        console.print(prior_comparison(priors))
