"""`vqkit train-prior`: learn the distribution of a trained tokenizer's codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vqkit.cli.panels import MODEL, OUTPUT
from vqkit.cli.parameters import SetOption
from vqkit.cli.training_options import (
    BatchOption,
    CompileOption,
    ConfigOption,
    EpochsOption,
    PrecisionOption,
    RateOption,
    ResumeOption,
    SeedOption,
    StepsOption,
    TrackOption,
    TrainingDeviceOption,
    data_settings,
    training_settings,
    typed,
)

TrainedTokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        "-t",
        help="Run of the VQ model whose codes the prior learns. Default: the newest in runs/.",
        rich_help_panel=MODEL,
    ),
]
PriorNameOption = Annotated[
    str | None, typer.Option(help="Name of a prior; `vqkit models` lists them. Default: pixelcnn.", rich_help_panel=MODEL)
]
ConditionOnOption = Annotated[
    str | None,
    typer.Option(
        metavar="KINDS",
        help="What to condition the prior on, separated by commas: metadata, class, observed (a visible part of the image, so "
        "that the prior learns to complete it), or none. Default: none.",
        rich_help_panel=MODEL,
    ),
]
LevelOption = Annotated[
    str | None,
    typer.Option(
        help="Levels of codes to train, of a hierarchical prior, separated by commas, such as top. Default: all.",
        rich_help_panel=MODEL,
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        help="Initialise the prior from this run of a prior on the same tokenizer, such as one of --level top.",
        rich_help_panel=MODEL,
    ),
]
OtherDataOption = Annotated[
    str | None,
    typer.Option("--data", "-d", help="Other data than the tokenizer was trained on, by name or path.", rich_help_panel=MODEL),
]
SampleEveryOption = Annotated[
    int | None, typer.Option(help="Epochs between two sets of sampled pictures. Default: 5.", rich_help_panel=OUTPUT)
]
PriorOutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Run directory. Default: runs/<prior>-<data>-<number>.", rich_help_panel=OUTPUT),
]


def train_prior(
    config: ConfigOption = None,
    tokenizer: TrainedTokenizerOption = None,
    prior: PriorNameOption = None,
    condition_on: ConditionOnOption = None,
    level: LevelOption = None,
    start_from: StartOption = None,
    data: OtherDataOption = None,
    settings: SetOption = None,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    batch_size: BatchOption = None,
    lr: RateOption = None,
    seed: SeedOption = None,
    sample_every: SampleEveryOption = None,
    out: PriorOutOption = None,
    resume: ResumeOption = "auto",
    track: TrackOption = None,
    device: TrainingDeviceOption = None,
    precision: PrecisionOption = None,
    compile_: CompileOption = None,
) -> None:
    """Train a prior over the codes of a trained VQ model, for `sample` and for several completions by `inpaint`.

    The tokenizer is frozen. Its codes are computed once and cached in its run directory.
    """
    training = training_settings(
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        device=device,
        precision=precision,
        compile_=compile_,
        track=track,
    )
    kinds = None if condition_on is None else [name for name in _names(condition_on) if name != "none"]
    flags: dict[str, Any] = {
        "prior": {"name": prior},
        "tokenizer": {"run": tokenizer},
        "data": data_settings(data),
        "conditioning": {"condition_on": kinds},
        "levels": {"learn": None if level is None else _names(level), "start_from": start_from},
        "training": {**training, "picture_every": sample_every},
    }
    from vqkit.config import PriorRunConfig
    from vqkit.training.run import train

    train(config, typed(flags), settings or [], out, resume, PriorRunConfig)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
