"""What the commands that train have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of settings; see configs/.")]
EpochsOption = Annotated[int | None, typer.Option(help="Passes over the training set. Default: 25.")]
StepsOption = Annotated[int | None, typer.Option(help="Optimizer steps, instead of --epochs.")]
BatchOption = Annotated[int | None, typer.Option(help="Images a step, over all processes together. Default: 64.")]
RateOption = Annotated[float | None, typer.Option(help="Peak learning rate.")]
SeedOption = Annotated[int | None, typer.Option(help="Start of every random draw. Default: 0.")]
ResumeOption = Annotated[
    str, typer.Option(help="auto: go on if --out holds this very run; never: refuse to; or the path of a run to go on with.")
]
TrainingDeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")]
PrecisionOption = Annotated[str | None, typer.Option(help="auto, fp32 or bf16; auto is bf16 where the hardware has it.")]
CompileOption = Annotated[bool | None, typer.Option("--compile/--no-compile", help="Compile with torch.compile.")]


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
) -> dict[str, Any]:
    """The flags of these options under the names of their settings."""
    return {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": lr,
        "seed": seed,
        "device": device,
        "precision": precision,
        "compile": compile_,
    }


def data_settings(data: str | None) -> dict[str, Any]:
    """What was typed after --data, as settings that leave those of a file as they are where it is the same kind of data."""
    from vqkit.data.opening import name_data

    return {} if data is None else name_data(data)


def typed(flags: dict[str, Any]) -> dict[str, Any]:
    """Only the flags that were given on the command line, without empty groups."""
    groups = {group: {name: value for name, value in values.items() if value is not None} for group, values in flags.items()}
    return {group: values for group, values in groups.items() if values}
