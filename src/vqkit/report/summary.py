"""From rows to tables: mean and deviation over seeds, the best of each column, and whether it is ahead by more than chance."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from vqkit.report.results import Result, of_each_seed


class Spread(NamedTuple):
    """Mean of a figure over `seeds` seeds and its sample deviation (divided by seeds - 1), None for one seed."""

    mean: float
    deviation: float | None
    seeds: int


class Column(NamedTuple):
    """A figure of a table: its field in the rows, its title, the decimals shown, and whether more or less of it is better."""

    field: str
    title: str
    decimals: int
    better: Literal["more", "less"] | None = None


class Table(NamedTuple):
    """`cells` of every model in the order of `columns` (None: not defined for it).

    `best`: the model that leads each column, if any can; `verdicts`: a sentence for each column that has a better and a worse.
    """

    title: str
    columns: tuple[Column, ...]
    cells: dict[str, list[Spread | None]]
    best: list[str | None]
    verdicts: list[str]


QUALITY = (
    Column("hole_psnr_db", "PSNR, dB", 2, "more"),
    Column("hole_ssim", "SSIM", 4, "more"),
    Column("hole_mse", "MSE", 5, "less"),
    Column("hole_iou", "IoU", 4, "more"),
)
WHOLE = (
    Column("whole_psnr_db", "PSNR, dB", 2, "more"),
    Column("whole_ssim", "SSIM", 4, "more"),
    Column("whole_mse", "MSE", 5, "less"),
    Column("whole_iou", "IoU", 4, "more"),
)
INSIDE = (
    Column("elbo_bits_per_dimension", "ELBO, bits a dimension", 4),
    Column("bound_bits_per_dimension", "importance-weighted bound, bits a dimension", 4),
    Column("code_usage_share", "share of the codes in use", 3),
    Column("code_bits_per_image", "bits of an image's codes", 0),
)
COST = (
    Column("parameters", "parameters", 0),
    Column("training_steps", "steps", 0),
    Column("training_seconds", "seconds of training", 0),
    Column("pretraining_seconds", "seconds of its encoder's before", 0),
    Column("inference_images_per_second", "images a second, filled in", 0),
)


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and deviation of one value a seed; None where there is none."""
    if not values:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def table(title: str, results: Sequence[Result], columns: Sequence[Column], mask_kind: str | None = None) -> Table:
    """A table of all models that were measured; columns without any figure are left out."""
    models = list(dict.fromkeys(result.model for result in results if result.failure is None))
    found = {
        column: {model: spread(of_each_seed(results, model, column.field, mask_kind)) for model in models} for column in columns
    }
    shown = tuple(column for column in columns if any(found[column].values()))
    return Table(
        title,
        shown,
        {model: [found[column][model] for column in shown] for model in models},
        [leader(column, found[column]) for column in shown],
        [sentence for column in shown if (sentence := verdict(column, found[column])) is not None],
    )


def ranked(column: Column, cells: Mapping[str, Spread | None]) -> list[tuple[str, Spread]]:
    """The models that have the figure, best first."""
    known = [(model, cell) for model, cell in cells.items() if cell is not None]
    return sorted(known, key=lambda each: each[1].mean, reverse=column.better == "more")


def leader(column: Column, cells: Mapping[str, Spread | None]) -> str | None:
    """The best model of a column; None where nothing is better, or there is nobody to be better than."""
    order = ranked(column, cells)
    return order[0][0] if column.better is not None and len(order) > 1 else None


def verdict(column: Column, cells: Mapping[str, Spread | None]) -> str | None:
    """Who is best and by how much, and whether that is more than what the seed alone changes; None where there is no best."""
    if leader(column, cells) is None:
        return None
    (first, best), (second, next_best), *_ = ranked(column, cells)
    gap = abs(best.mean - next_best.mean)
    digits = column.decimals
    ahead = f"{gap:.{digits}f}" if gap >= 10**-digits else f"less than {10**-digits:.{digits}f}"
    start = f"{column.title}: {first} is best with {best.mean:.{digits}f}, {ahead} ahead of {second}"
    if best.deviation is None or next_best.deviation is None:
        return f"{start}; with one seed, nobody knows whether that is more than chance."
    chance = (best.deviation**2 + next_best.deviation**2) ** 0.5
    more = "more" if gap > chance else "not more"
    return f"{start}, which is {more} than what the seed alone changes ({chance:.{digits}f})."
