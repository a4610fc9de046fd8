"""`vqkit codebook-stats`: which codes are used, how often and where, and what they look like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli.evaluate import LimitOption, SplitOption
from vqkit.cli.inpaint import BatchSizeOption
from vqkit.cli.parameters import DataOption, DeviceOption, JsonOption, RunOption

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from vqkit.evaluation.codebook_usage import Encoded, LevelStatistics
    from vqkit.evaluation.level_ablation import LevelsShare
    from vqkit.interfaces import Split, Tokenizer


def codebook_stats(
    run: RunOption = None,
    data: DataOption = None,
    split: SplitOption = "test",
    limit: LimitOption = None,
    batch_size: BatchSizeOption = 64,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Directory to write pictures to. Default: codebook/ in the run.")
    ] = None,
    reset_unused: Annotated[
        bool, typer.Option("--reset-unused", help="Also save a copy of the model whose unused codes are moved onto much used ones.")
    ] = False,
) -> None:
    """Measure the use of the codes over held-out images, and draw them.

    Pictures of each level: usage, entropy at each position, and the most and least used codes as they are decoded. Where there are
    several levels, also what each carries alone, and how far that goes in decibels.
    """
    import json
    from functools import partial

    from vqkit.cli.counting import counting
    from vqkit.core.atomic import write_text
    from vqkit.core.precision import choose_device
    from vqkit.data.opening import typed_as
    from vqkit.evaluation import codebook_usage
    from vqkit.evaluation.held_out import described_data, open_split
    from vqkit.storage.checkpoints import load_model
    from vqkit.storage.runs import run_directory

    chosen = choose_device(device)
    loaded = load_model(run, chosen)
    model = codebook_usage.tokenizer_of(loaded)
    images = open_split(loaded, data, split, limit)
    encoded = codebook_usage.encode_images(model, images, batch_size, chosen, partial(counting, "encoded"))
    levels = zip(model.level_names, encoded.levels, model.cardinalities, strict=True)
    statistics = [codebook_usage.level_statistics(*level) for level in levels]
    directory = out or run_directory(loaded.path) / "codebook"
    pictures = codebook_usage.write_pictures(model, encoded, statistics, directory, chosen)
    shares, alone = _levels_alone(model, images, encoded, directory, batch_size, chosen)
    pictures += alone
    moved, checkpoint = codebook_usage.reset_unused(loaded, statistics) if reset_unused else (0, None)
    described = described_data(loaded, data)
    content = {
        "run": str(loaded.path),
        "digest": loaded.digest,
        "data": described,
        "split": split,
        "images": len(images),
        "levels": [level.to_json() for level in statistics],
        "shares": [share.to_json() for share in shares],
        "pictures": [str(path) for path in pictures],
        "reset": {"codes": moved, "checkpoint": str(checkpoint) if checkpoint else None} if reset_unused else None,
    }
    write_text(directory / "statistics.json", json.dumps(content) + "\n")
    if as_json:
        typer.echo(json.dumps(content, indent=2))
        return
    from rich.console import Console

    typer.echo(f"{loaded.path}: {len(images)} images of {typed_as(described)}, {split} split")
    Console().print(_table(statistics))
    if shares:
        Console().print(_shares_table(shares))
    typer.echo(f"pictures and statistics.json written to {directory}/")
    if reset_unused:
        typer.echo(_reset_message(moved, checkpoint))


def _levels_alone(
    model: Tokenizer, images: Split, encoded: Encoded, directory: Path, batch_size: int, device: torch.device
) -> tuple[list[LevelsShare], list[Path]]:
    """What each level carries alone, in decibels and in a picture; nothing for a model of one level."""
    from functools import partial

    from vqkit.cli.counting import counting
    from vqkit.evaluation import level_ablation
    from vqkit.image_io.pictures import save_picture

    whole, levels = level_ablation.in_parts(model), encoded.levels
    if whole is None:
        return [], []
    silences = level_ablation.silent_parts(whole, levels, batch_size, device)
    shares = level_ablation.level_shares(whole, images, levels, silences, batch_size, device, partial(counting, "decoded"))
    path = directory / "levels_alone.png"
    save_picture(level_ablation.draw_levels_alone(whole, images, levels, silences, device), path)
    return shares, [path]


def _table(statistics: list[LevelStatistics]) -> Table:
    from rich.table import Table

    table = Table("level", box=None, header_style="bold", pad_edge=False)
    for name in ("grid", "codes", "used", "unused", "perplexity", "entropy", "most used"):
        table.add_column(name, justify="right")
    for level in statistics:
        most = max(range(level.num_codes), key=lambda code: level.counts[code])
        table.add_row(
            level.name,
            f"{level.grid[0]} x {level.grid[1]}",
            str(level.num_codes),
            f"{level.usage:.1%}",
            str(len(level.unused)),
            f"{level.perplexity:.1f}",
            f"{level.entropy_bits:.2f} bits",
            f"{most} ({level.counts[most] / sum(level.counts):.1%})",
        )
    return table


def _shares_table(shares: list[LevelsShare]) -> Table:
    from rich.table import Table

    table = Table(f"decoded from, {shares[0].images} images", box=None, header_style="bold", pad_edge=False)
    table.add_column("PSNR dB", justify="right")
    for share in shares:
        table.add_row(share.name, f"{share.psnr:.2f}")
    return table


def _reset_message(moved: int, checkpoint: Path | None) -> str:
    if checkpoint is None:
        return "every code is in use: nothing to reset"
    codes = "1 code" if moved == 1 else f"{moved} codes"
    return f"{codes} moved, saved as {checkpoint}\nsee what that changed: vqkit codebook-stats --run {checkpoint.parent}"
