"""`vqkit train-vqvae`: train any autoencoder of the registry."""

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


def train_vqvae(
    config: ConfigOption = None,
    model: Annotated[str | None, typer.Option(help="Name of a model; `vqkit models` lists them. Default: vqvae.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Name of a data set, or a path to pictures or arrays. Default: tyre.")
    ] = None,
    mask_max: Annotated[
        float | None, typer.Option(help="Share of the samples that are masked after the warm-up. Default: 0.7.")
    ] = None,
    mask_warmup: Annotated[float | None, typer.Option(help="Epochs over which that share grows from 0. Default: 20.")] = None,
    mask_keep: Annotated[
        str | None, typer.Option(help="What a masked sample keeps: 'any' non-empty subset of the components, or exactly 'one'.")
    ] = None,
    init_encoder: Annotated[
        str | None,
        typer.Option(help="Run of `pretrain`, or of an autoencoder, with whose encoder's weights to start. Default: random ones."),
    ] = None,
    freeze_encoder: Annotated[
        bool | None, typer.Option("--freeze-encoder", help="Leave these weights as they are; all others learn.")
    ] = None,
    epochs: EpochsOption = None,
    steps: StepsOption = None,
    batch_size: BatchOption = None,
    lr: RateOption = None,
    seed: SeedOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory. Default: runs/<model>-<data>-<number>.")] = None,
    resume: ResumeOption = "auto",
    device: TrainingDeviceOption = None,
    precision: PrecisionOption = None,
    compile_: CompileOption = None,
    settings: SetOption = None,
) -> None:
    """Train a VQ-VAE (or any other autoencoder) to reconstruct whole images from a part of them.

    Without options: the masked VQ-VAE on the built-in tyre sections, a few minutes on a laptop.
    """
    training = training_settings(
        epochs=epochs, steps=steps, batch_size=batch_size, lr=lr, seed=seed, device=device, precision=precision, compile_=compile_
    )
    flags: dict[str, Any] = {
        "model": {"name": model},
        "data": data_settings(data),
        "masking": {"max_probability": mask_max, "warmup_epochs": mask_warmup, "keep": mask_keep},
        "encoder": {"start_from": init_encoder, "freeze": freeze_encoder},
        "training": training,
    }
    from vqkit.training.run import train

    train(config, typed(flags), settings or [], out, resume)
