"""What the commands that train have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vqkit.cli.panels import MODEL, OUTPUT, RUNTIME, TRAINING

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file of settings; see configs/.", rich_help_panel=MODEL)
]
TrainingDataOption = Annotated[
    str | None,
    typer.Option("--data", "-d", help="Name of a data set, or a path to pictures or arrays. Default: tyre.", rich_help_panel=MODEL),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        help="Passes over the training set. Default: 25, or as many as have 1,500 steps.",
        rich_help_panel=TRAINING,
    ),
]
StepsOption = Annotated[int | None, typer.Option(help="Number of optimizer steps, instead of --epochs.", rich_help_panel=TRAINING)]
BatchOption = Annotated[
    int | None, typer.Option(help="Images per step, over all processes. Default: 64, or the whole set.", rich_help_panel=TRAINING)
]
RateOption = Annotated[float | None, typer.Option(help="Peak learning rate.", rich_help_panel=TRAINING)]
SeedOption = Annotated[
    int | None, typer.Option(help="Seed of the initial weights and of all random draws. Default: 0.", rich_help_panel=TRAINING)
]
ResumeOption = Annotated[
    str,
    typer.Option(
        help="auto: resume if --out holds a run with this configuration; never: fail if --out exists; or a run to resume.",
        rich_help_panel=OUTPUT,
    ),
]
TrackOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Where numbers and pictures are shown: tensorboard, wandb, mlflow, trackio, several separated by commas, or none. "
        "Default: tensorboard.",
        rich_help_panel=OUTPUT,
    ),
]
TrainingDeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.", rich_help_panel=RUNTIME)]
PrecisionOption = Annotated[
    str | None, typer.Option(help="auto, fp32 or bf16; auto: bf16 where the hardware supports it.", rich_help_panel=RUNTIME)
]
CompileOption = Annotated[
    bool | None, typer.Option("--compile/--no-compile", help="Compile the model with torch.compile.", rich_help_panel=RUNTIME)
]


def training_settings(
    *,
    epochs: int | None,
    steps: int | None,
    batch_size: int | None,
    lr: float | None,
    seed: int | None,
    device: str | None,
    precision: str | None,
    compile_: bool | None,
    track: str | None,
) -> dict[str, Any]:
    """The values of these options under the names of their settings."""
    return {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": lr,
        "seed": seed,
        "device": device,
        "precision": precision,
        "compile": compile_,
        "track": None if track is None else [] if track == "none" else track.replace(" ", "").split(","),
    }


def data_settings(data: str | None) -> dict[str, Any]:
    """The value of --data as settings; settings of the same kind of data in a file stay in effect."""
    from vqkit.data.opening import name_data

    return {} if data is None else name_data(data)


def typed(flags: dict[str, Any]) -> dict[str, Any]:
    """Only the flags that were given on the command line, without empty groups."""
    groups = {group: {name: value for name, value in values.items() if value is not None} for group, values in flags.items()}
    return {group: values for group, values in groups.items() if values}
