"""`vqkit decompress`: a compressed file back to images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.parameters import OutOption, RunOption, TokenizerOption


def decompress(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A file written by `vqkit compress`, or the index of its shards.", show_default=False),
    ],
    run: RunOption = None,
    tokenizer: TokenizerOption = None,
    out: OutOption = Path("decompressed"),
) -> None:
    """Write the images of a compressed file, in the type of the training data (PNG, or TIFF for what PNG cannot hold).

    The prior and the tokenizer must be those that compressed it. A file that is damaged, and one that was written by a machine
    whose arithmetic differs, are refused.
    """
    from vqkit.cli.counting import counting
    from vqkit.inference.codec.decompressing import decompress_files
    from vqkit.inference.sampler import load_sampler
    from vqkit.storage.compressed_files import open_compressed_shards

    files = open_compressed_shards(file)
    sampler = load_sampler(run, tokenizer, files[0].directory.device)
    typer.echo(f"using {sampler.path} and its tokenizer {sampler.pipeline.path}")
    total = sum(len(content.directory.names) for content in files)
    with counting("decompressed", total) as advance:
        for _ in decompress_files(sampler, files, out):
            advance(1)
    typer.echo(f"decompressed {total} image{'' if total == 1 else 's'}, written to {out}/")
