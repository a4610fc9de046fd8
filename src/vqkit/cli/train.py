"""`vqkit train-vqvae`: train any autoencoder of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vqkit.cli.parameters import SetOption


def train_vqvae(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of settings; see configs/.")] = None,
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
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set. Default: 25.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, instead of --epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step, over all processes together. Default: 64.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Start of every random draw. Default: 0.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory. Default: runs/<model>-<data>-<number>.")] = None,
    resume: Annotated[
        str, typer.Option(help="auto: go on if --out holds this very run; never: refuse to; or the path of a run to go on with.")
    ] = "auto",
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16; auto is bf16 where the hardware has it.")] = None,
    compile_: Annotated[bool | None, typer.Option("--compile/--no-compile", help="Compile with torch.compile.")] = None,
    settings: SetOption = None,
) -> None:
    """Train a VQ-VAE (or any other autoencoder) to reconstruct whole images from a part of them.

    Without options: the masked VQ-VAE on the built-in tyre sections, a few minutes on a laptop.
    """
    training = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": lr,
        "seed": seed,
        "device": device,
        "precision": precision,
        "compile": compile_,
    }
    flags: dict[str, Any] = {
        "model": {"name": model},
        "data": {"name": data},
        "masking": {"max": mask_max, "warmup_epochs": mask_warmup, "keep": mask_keep},
        "training": training,
    }
    from vqkit.training import train

    train(config, _typed(flags), settings or [], out, resume)


def _typed(flags: dict[str, Any]) -> dict[str, Any]:
    """Only the flags that were given on the command line, without empty groups."""
    groups = {group: {name: value for name, value in values.items() if value is not None} for group, values in flags.items()}
    return {group: values for group, values in groups.items() if values}
