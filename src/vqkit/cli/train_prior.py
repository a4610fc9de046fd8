"""`vqkit train-prior`: learn the distribution of a trained tokenizer's codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
    TrainingDeviceOption,
    data_settings,
    training_settings,
    typed,
)


def train_prior(
    config: ConfigOption = None,
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", "-t", help="Run of the model whose codes are learned. Default: the newest in runs/."),
    ] = None,
    prior: Annotated[str | None, typer.Option(help="Name of a prior; `vqkit models` lists them. Default: pixelcnn.")] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            help="What the prior is told, separated by commas: none, metadata, class, observed (a part of the image, which it "
            "learns to complete). Default: none."
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(help="Levels of codes that learn, of a hierarchical prior, separated by commas: top. Default: all."),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(help="Run of a prior on the same tokenizer whose weights to start with: one of --level top, say."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Other data than the tokenizer was trained on, by name or path.")
    ] = None,
    sample_every: Annotated[int | None, typer.Option(help="Epochs between two sets of sampled pictures. Default: 5.")] = None,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    batch_size: BatchOption = None,
    lr: RateOption = None,
    seed: SeedOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory. Default: runs/<prior>-<data>-<number>.")] = None,
    resume: ResumeOption = "auto",
    device: TrainingDeviceOption = None,
    precision: PrecisionOption = None,
    compile_: CompileOption = None,
    settings: SetOption = None,
) -> None:
    """Train a prior over the codes of a trained VQ model, for `sample` and for several answers of `inpaint`.

    The tokenizer stays as it is. Its codes are computed once and kept in its run directory.
    """
    training = training_settings(
        epochs=epochs, steps=steps, batch_size=batch_size, lr=lr, seed=seed, device=device, precision=precision, compile_=compile_
    )
    told = None if condition is None else [name for name in _names(condition) if name != "none"]
    flags: dict[str, Any] = {
        "prior": {"name": prior},
        "tokenizer": {"run": tokenizer},
        "data": data_settings(data),
        "conditioning": {"condition_on": told},
        "levels": {"learn": None if level is None else _names(level), "start_from": start_from},
        "training": {**training, "picture_every": sample_every},
    }
    from vqkit.config import PriorRunConfig
    from vqkit.training.run import train

    train(config, typed(flags), settings or [], out, resume, PriorRunConfig)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
