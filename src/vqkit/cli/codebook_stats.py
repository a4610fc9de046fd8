"""`vqkit codebook-stats`: which codes are used, how often and where, and what they decode to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from vqkit.cli import panels
from vqkit.cli.counting import count_of
from vqkit.cli.parameters import BatchSizeOption, DataOption, DeviceOption, JsonOption, LimitOption, RunOption, SplitOption
from vqkit.cli.sharding import processes

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from vqkit.evaluation.codebook_usage import Encoded, LevelStatistics
    from vqkit.evaluation.level_ablation import LevelAblation
    from vqkit.interfaces import Split, Tokenizer
    from vqkit.storage.checkpoints import Loaded


def codebook_stats(
    run: RunOption = None,
    data: DataOption = None,
    split: SplitOption = "test",
    limit: LimitOption = None,
    batch_size: BatchSizeOption = 64,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Directory to write figures to. Default: codebook/ in the run.", rich_help_panel=panels.OUTPUT
        ),
    ] = None,
    reset_unused: Annotated[
        bool,
        typer.Option(
            "--reset-unused",
            help="Also save a copy of the model in which unused codes are reset to frequently used ones.",
            rich_help_panel=panels.OUTPUT,
        ),
    ] = False,
) -> None:
    """Measure codebook usage on held-out images, and draw the codes.

    Writes figures of each level: usage, entropy at each position, and decoded patches of the most and least used codes. For models
    with several levels, also a level ablation: images decoded from each level only, and their PSNR.
    """
    import json

    from vqkit.core.atomic import write_text

    with processes(device):
        from vqkit.core.precision import choose_device
        from vqkit.evaluation.held_out import open_split
        from vqkit.storage.builtin import is_builtin
        from vqkit.storage.checkpoints import load_model
        from vqkit.storage.runs import run_directory

        chosen = choose_device(device)
        loaded = load_model(run, chosen)
        images = open_split(loaded, data, split, limit)
        directory = out or (Path() if is_builtin(loaded.path) else run_directory(loaded.path)) / "codebook"
        stats = _measure(loaded, images, directory, batch_size, chosen, reset_unused)
        if stats is None:
            return
        content = _content(loaded, data, split, len(images), stats)
        write_text(directory / "statistics.json", json.dumps(content) + "\n")
        if as_json:
            typer.echo(json.dumps(content, indent=2))
        else:
            _print(content, stats, directory)


class _Stats(NamedTuple):
    """What was measured: usage of each level, the level ablation, the figures written, and the reset, None where not requested."""

    levels: list[LevelStatistics]
    ablations: list[LevelAblation]
    figures: list[Path]
    reset: tuple[int, Path | None] | None


def _measure(
    loaded: Loaded, images: Split, directory: Path, batch_size: int, device: torch.device, reset_unused: bool
) -> _Stats | None:
    """Measure codebook usage on the images, which all processes encode; rank 0 has the results and writes figures of them."""
    from vqkit.cli.counting import counting
    from vqkit.core import distributed
    from vqkit.evaluation import codebook_usage

    model = codebook_usage.tokenizer_of(loaded)
    encoded = codebook_usage.encode_images(model, images, batch_size, device, counting)
    if not distributed.is_main():
        return None
    levels = zip(model.level_names, encoded.levels, model.cardinalities, strict=True)
    statistics = [codebook_usage.level_statistics(*level) for level in levels]
    figures = codebook_usage.write_pictures(model, encoded, statistics, directory, device)
    ablations, single_levels = _ablate_levels(model, images, encoded, directory, batch_size, device)
    reset = codebook_usage.reset_unused(loaded, statistics) if reset_unused else None
    return _Stats(statistics, ablations, figures + single_levels, reset)


def _content(loaded: Loaded, data: str | None, split: str, images: int, stats: _Stats) -> dict[str, Any]:
    """The results as plain values."""
    from vqkit.evaluation.held_out import data_settings

    reset = None
    if stats.reset is not None:
        codes, checkpoint = stats.reset
        reset = {"codes": codes, "checkpoint": str(checkpoint) if checkpoint else None}
    return {
        "run": str(loaded.path),
        "digest": loaded.digest,
        "data": data_settings(loaded, data),
        "split": split,
        "images": images,
        "levels": [level.to_json() for level in stats.levels],
        "level_ablation": [each.to_json() for each in stats.ablations],
        "pictures": [str(path) for path in stats.figures],
        "reset": reset,
    }


def _print(content: dict[str, Any], stats: _Stats, directory: Path) -> None:
    from rich.console import Console

    from vqkit.data.opening import typed_as

    typer.echo(f"{content['run']}: {count_of(content['images'])} of {typed_as(content['data'])}, {content['split']} split")
    Console().print(_table(stats.levels))
    if stats.ablations:
        Console().print(_ablation_table(stats.ablations))
    typer.echo(f"figures and statistics.json written to {directory}/")
    if stats.reset is not None:
        typer.echo(_reset_message(*stats.reset))


def _ablate_levels(
    model: Tokenizer, images: Split, encoded: Encoded, directory: Path, batch_size: int, device: torch.device
) -> tuple[list[LevelAblation], list[Path]]:
    """The level ablation and its figure; nothing for a model with one level."""
    from vqkit.cli.counting import counting
    from vqkit.evaluation import level_ablation
    from vqkit.image_io.pictures import save_picture

    levels, hierarchical = encoded.levels, level_ablation.multi_level(model)
    if hierarchical is None:
        return [], []
    baselines = level_ablation.ablation_baselines(hierarchical, levels, batch_size, device)
    ablations = level_ablation.measure_ablations(hierarchical, images, levels, baselines, batch_size, device, counting)
    path = directory / "single_levels.png"
    save_picture(level_ablation.draw_single_levels(hierarchical, images, levels, baselines, device), path)
    return ablations, [path]


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


def _ablation_table(ablations: list[LevelAblation]) -> Table:
    from rich.table import Table

    table = Table(f"decoded from ({count_of(ablations[0].images)})", box=None, header_style="bold", pad_edge=False)
    for name in ("PSNR dB", "pooled dB"):
        table.add_column(name, justify="right")
    for each in ablations:
        table.add_row(each.name, f"{each.psnr:.2f}", f"{each.pooled_psnr:.2f}")
    return table


def _reset_message(reset: int, checkpoint: Path | None) -> str:
    if checkpoint is None:
        return "all codes are in use: nothing to reset"
    codes = "1 code" if reset == 1 else f"{reset} codes"
    return f"{codes} reset, saved as {checkpoint}\ncompare with: vqkit codebook-stats --run {checkpoint.parent}"
