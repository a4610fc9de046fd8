"""`vqkit decode`: a file of codes back to images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.conditions import ConditionOption, parse_conditions
from vqkit.cli.parameters import BatchSizeOption, DeviceOption, OutOption, RunOption


def decode(
    codes: Annotated[
        Path,
        typer.Argument(metavar="CODES", help="A file written by `vqkit encode`, or the index of its shards.", show_default=False),
    ],
    run: RunOption = None,
    out: OutOption = Path("decoded"),
    conditions: ConditionOption = None,
    batch_size: BatchSizeOption = 64,
    device: DeviceOption = "auto",
) -> None:
    """Decode a file of codes to images, in the type of the training data (PNG, or TIFF for what PNG cannot hold).

    The model must be the one that encoded them; any other is refused.
    """
    values = parse_conditions(conditions)
    from vqkit.cli.counting import counting
    from vqkit.inference.encoding import decode_codes
    from vqkit.inference.pipeline import load
    from vqkit.storage.code_files import check_tokenizer, read_codes

    content = read_codes(codes)
    pipeline = load(run, device)
    typer.echo(f"using {pipeline.path}")
    check_tokenizer(content, pipeline.digest, codes, pipeline.path)
    with counting("decoded", len(content.names)) as advance:
        for _ in decode_codes(pipeline, content, out, values, batch_size):
            advance(1)
    typer.echo(f"decoded {len(content.names)} images, written to {out}/")
