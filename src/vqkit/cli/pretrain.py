"""`vqkit pretrain`: train the encoder of a model by itself, without an aim of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vqkit.cli.parameters import SetOption
from vqkit.cli.training_options import (
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


def pretrain(
    config: ConfigOption = None,
    method: Annotated[
        str | None,
        typer.Option(help="How it learns: barlow-twins, simclr or byol; `vqkit models` lists them. Default: barlow-twins."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model whose encoder it is. Default: vqvae.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Name of a data set, or a path to pictures or arrays. Default: tyre.")
    ] = None,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, over all processes together. Default: 128.")] = None,
    lr: RateOption = None,
    seed: SeedOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory. Default: runs/<method>-<data>-<number>.")] = None,
    resume: ResumeOption = "auto",
    device: TrainingDeviceOption = None,
    precision: PrecisionOption = None,
    compile_: CompileOption = None,
    settings: SetOption = None,
) -> None:
    """Train an encoder by itself, to give two views of an image the same features, and other images others.

    What it knows is measured at each validation. Any model with such an encoder can start from it: `train-vqvae --init-encoder`.
    """
    training = training_settings(
        epochs=epochs, steps=steps, batch_size=batch_size, lr=lr, seed=seed, device=device, precision=precision, compile_=compile_
    )
    flags: dict[str, Any] = {
        "method": {"name": method},
        "model": {"name": model},
        "data": data_settings(data),
        "training": training,
    }
    from vqkit.config import PretrainingRunConfig
    from vqkit.training.run import train

    train(config, typed(flags), settings or [], out, resume, PretrainingRunConfig)
