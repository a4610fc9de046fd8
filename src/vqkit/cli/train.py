"""`vqkit train-vqvae`, also `vqkit train`: train any model of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vqkit.cli.panels import MASKING, MODEL, OUTPUT
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
    TrainingDataOption,
    TrainingDeviceOption,
    data_settings,
    training_settings,
    typed,
)


def train_vqvae(
    config: ConfigOption = None,
    model: Annotated[
        str | None, typer.Option(help="Name of a model; `vqkit models` lists them. Default: vqvae.", rich_help_panel=MODEL)
    ] = None,
    data: TrainingDataOption = None,
    init_encoder: Annotated[
        str | None,
        typer.Option(
            help="Initialise the encoder from this run of `pretrain` or `train-vqvae`. Default: random weights.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    freeze_encoder: Annotated[
        bool | None,
        typer.Option("--freeze-encoder", help="Keep the encoder's initial weights and train the rest.", rich_help_panel=MODEL),
    ] = None,
    settings: SetOption = None,
    mask_max: Annotated[
        float | None,
        typer.Option(
            help="Probability that a training sample is masked, after the warm-up. Default: 0.7.", rich_help_panel=MASKING
        ),
    ] = None,
    mask_warmup: Annotated[
        float | None,
        typer.Option(help="Epochs over which that probability grows linearly from 0. Default: 20.", rich_help_panel=MASKING),
    ] = None,
    mask_keep: Annotated[
        str | None,
        typer.Option(
            help="Components that a masked sample keeps: 'any' non-empty subset, or exactly 'one'. Default: any.",
            rich_help_panel=MASKING,
        ),
    ] = None,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    batch_size: BatchOption = None,
    lr: RateOption = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Run directory. Default: runs/<model>-<data>-<number>.", rich_help_panel=OUTPUT),
    ] = None,
    resume: ResumeOption = "auto",
    track: TrackOption = None,
    device: TrainingDeviceOption = None,
    precision: PrecisionOption = None,
    compile_: CompileOption = None,
) -> None:
    """Train a VQ-VAE, or with --model any other model, to reconstruct whole images from parts of them.

    Without options it trains the masked VQ-VAE on the built-in tyre sections, in a few minutes on a laptop. `train` is the same
    command under a name that fits every model.
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
        "model": {"name": model},
        "data": data_settings(data),
        "masking": {"max_probability": mask_max, "warmup_epochs": mask_warmup, "keep": mask_keep},
        "encoder": {"start_from": init_encoder, "freeze": freeze_encoder},
        "training": training,
    }
    from vqkit.training.floor_check import report_floors
    from vqkit.training.run import train

    report_floors(train(config, typed(flags), settings or [], out, resume).run)
