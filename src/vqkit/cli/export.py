"""`vqkit export`: a trained model as graphs that run without vqkit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli import panels
from vqkit.cli.parameters import DataOption, LimitOption, OutOption, RunOption, SplitOption
from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.inference.export.exporting import Examples
    from vqkit.storage.checkpoints import Loaded

FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        help="onnx: for onnxruntime and others. torch-export: for torch.export.load and AOTInductor.",
        rich_help_panel=panels.OUTPUT,
    ),
]


def export(
    run: RunOption = None,
    data: DataOption = None,
    split: SplitOption = "test",
    limit: LimitOption = None,
    form: FormatOption = "onnx",
    out: OutOption = Path("exported"),
) -> None:
    """Write a model as graphs that run without vqkit: images to codes, codes to images, and filling in.

    The graphs take batches of any size, of images as large as the model's tile, in unit values; export.json beside them describes
    inputs, outputs and ranges. What they give is compared with what the model gives, for a few drawn images or for those of --data.
    """
    if data is None and (limit is not None or split != "test"):
        raise ConfigError("--split and --limit apply to --data.", "Name the images to check with by --data, or leave them out.")
    from vqkit.inference.export.exporting import export_model, parse_format
    from vqkit.storage.checkpoints import load_model

    chosen = parse_format(form)
    loaded = load_model(run)
    typer.echo(f"using {loaded.path}")
    examples = None if data is None else _examples(loaded, data, split, limit)
    written = export_model(loaded, out, chosen, examples)
    typer.echo(f"wrote {', '.join(path.name for path in written.files)} to {out}/")
    typer.echo(f"checked with {written.parity.images} images: {written.parity.describe()}")


def _examples(loaded: Loaded, data: str, split: str, limit: int | None) -> Examples:
    import torch

    from vqkit.data.loading import all_batches
    from vqkit.data.subsets import align_conditions
    from vqkit.evaluation.held_out import open_split
    from vqkit.inference.export.exporting import Examples
    from vqkit.interfaces import where_present

    spec, part = loaded.model.spec, open_split(loaded, data, split, limit)
    images, conditions = [], []
    for batch in all_batches(part, 64):
        images.append(where_present(spec.to_unit(batch.images), batch.present, torch.nan))
        conditions.append(align_conditions(batch, part.spec, spec).conditions)
    return Examples(torch.cat(images), torch.cat(conditions))
