"""`vqkit pretrain`: train the encoder of a model by self-supervised learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vqkit.cli.panels import MODEL, OUTPUT, TRAINING
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
    TrackOption,
    TrainingDataOption,
    TrainingDeviceOption,
    data_settings,
    training_settings,
    typed,
)


def pretrain(
    config: ConfigOption = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Pretraining method: barlow-twins, simclr or byol; `vqkit models` lists them. Default: barlow-twins.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of the model whose encoder is pretrained. Default: vqvae.", rich_help_panel=MODEL)
    ] = None,
    data: TrainingDataOption = None,
    settings: SetOption = None,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images per step, over all processes. Default: 128, or the whole set.", rich_help_panel=TRAINING),
    ] = None,
    lr: RateOption = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Run directory. Default: runs/<method>-<data>-<number>.", rich_help_panel=OUTPUT),
    ] = None,
    resume: ResumeOption = "auto",
    track: TrackOption = None,
    device: TrainingDeviceOption = None,
    precision: PrecisionOption = None,
    compile_: CompileOption = None,
) -> None:
    """Pretrain an encoder self-supervised, so that two views of an image get similar features.

    Each validation measures how well the features predict classes and conditions of held-out images. Start any model that has such
    an encoder from the result with `train-vqvae --init-encoder`.
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
    flags: dict[str, Any] = {
        "method": {"name": method},
        "model": {"name": model},
        "data": data_settings(data),
        "training": training,
    }
    from vqkit.config import PretrainingRunConfig
    from vqkit.training.run import train

    train(config, typed(flags), settings or [], out, resume, PretrainingRunConfig)
