"""From rows to tables: mean and standard deviation over seeds, the best model of each column, and by how much it leads."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from vqkit.report.results import Result, floor_name, values_by_seed


class SeedStatistics(NamedTuple):
    """Mean of a metric over `seeds` seeds, and its sample standard deviation `std` (divided by seeds - 1), None for one seed."""

    mean: float
    std: float | None
    seeds: int


class Column(NamedTuple):
    """A metric of a table: its field in the rows, its title, the decimals shown, and which direction is better, if any.

    `concludes`: whether the table has a sentence on which model is best in it.
    """

    field: str
    title: str
    decimals: int
    better: Literal["higher", "lower"] | None = None
    concludes: bool = True


class ComparisonTable(NamedTuple):
    """`cells` of every model, and of every floor (a simple predictor), in the order of `columns` (None: not defined for it).

    `best`: the best model of each column, None where there is none; `below`: of each model that fills in worse than a floor, the
    name of the best floor; `conclusions`: whether the best model beats the floors, and a sentence for each column that has a best
    model.
    """

    title: str
    columns: tuple[Column, ...]
    cells: dict[str, list[SeedStatistics | None]]
    floors: dict[str, list[SeedStatistics | None]]
    best: list[str | None]
    below: dict[str, str]
    conclusions: list[str]


MISSING_PARTS = (
    # Averaged decibels reward a model that is very good in the easiest images: nothing is concluded from them.
    Column("hole_psnr_db", "PSNR, dB", 2, "higher", concludes=False),
    Column("hole_pooled_psnr_db", "pooled PSNR, dB", 2, "higher"),
    Column("hole_ssim", "SSIM", 4, "higher"),
    Column("hole_mse", "MSE", 5, "lower"),
    Column("hole_iou", "IoU", 4, "higher"),
)
WHOLE_IMAGES = (
    Column("whole_psnr_db", "PSNR, dB", 2, "higher", concludes=False),
    Column("whole_pooled_psnr_db", "pooled PSNR, dB", 2, "higher"),
    Column("whole_ssim", "SSIM", 4, "higher"),
    Column("whole_mse", "MSE", 5, "lower"),
    Column("whole_iou", "IoU", 4, "higher"),
)
MODEL_METRICS = (
    Column("elbo_bits_per_dimension", "ELBO, bits/dim", 4),
    Column("bound_bits_per_dimension", "importance-weighted bound, bits/dim", 4),
    Column("code_usage_share", "codebook usage", 3),
    Column("code_bits_per_image", "code size, bits per image", 0),
)
COST = (
    Column("parameters", "parameters", 0),
    Column("training_steps", "training steps", 0),
    Column("training_seconds", "training, seconds", 0),
    Column("pretraining_seconds", "encoder pretraining, seconds", 0),
    Column("inference_images_per_second", "inference, images/s", 0),
)


def seed_statistics(values: Sequence[float]) -> SeedStatistics | None:
    """Mean and standard deviation of one value per seed; None without any value."""
    if not values:
        return None
    return SeedStatistics(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def table(
    title: str, results: Sequence[Result], columns: Sequence[Column], mask_kind: str | None = None, compared: str | None = None
) -> ComparisonTable:
    """A table of all models that were measured and, where parts are missing, of the floors; columns without values are left out.

    `compared`: the field in which models are compared with floors.
    """
    measured = [result for result in results if result.failure is None]
    models = list(dict.fromkeys(result.model for result in measured if result.kind == "model"))
    floors = list(dict.fromkeys(each.model for each in measured if each.kind == "floor" and each.mask_kind == mask_kind))
    found = {
        column: {name: seed_statistics(values_by_seed(results, name, column.field, mask_kind)) for name in (*models, *floors)}
        for column in columns
    }
    of_models = {column: {model: found[column][model] for model in models} for column in columns}
    shown = tuple(column for column in columns if any(of_models[column].values()))
    deciding = next((column for column in shown if column.field == compared), None)
    below, verdict = {}, []
    if deciding is not None:
        of_floors = {floor: found[deciding][floor] for floor in floors}
        below = below_floors(deciding, of_models[deciding], of_floors)
        verdict = [sentence for sentence in [floor_verdict(deciding, of_models[deciding], of_floors)] if sentence is not None]
    sentences = [sentence for column in shown if (sentence := conclusion(column, of_models[column])) is not None]
    return ComparisonTable(
        title,
        shown,
        {model: [found[column][model] for column in shown] for model in models},
        {floor: [found[column][floor] for column in shown] for floor in floors},
        [best_model(column, of_models[column]) for column in shown],
        below,
        verdict + sentences,
    )


def below_floors(
    column: Column, models: Mapping[str, SeedStatistics | None], floors: Mapping[str, SeedStatistics | None]
) -> dict[str, str]:
    """Of each model whose mean is worse than that of the best floor, the name of that floor."""
    best = ranked(column, floors)[:1]
    return {
        model: floor_name(floor)
        for floor, theirs in best
        for model, own in ranked(column, models)
        if _is_better(column, theirs, own)
    }


def floor_verdict(
    column: Column, models: Mapping[str, SeedStatistics | None], floors: Mapping[str, SeedStatistics | None]
) -> str | None:
    """Which model fills in best, and whether that is better than every floor; None where one of them was not measured."""
    first, floor = ranked(column, models)[:1], ranked(column, floors)[:1]
    if not first or not floor:
        return None
    (model, cell), (label, theirs) = first[0], floor[0]
    name = floor_name(label)
    metric, _, unit = column.title.partition(", ")
    gap = abs(cell.mean - theirs.mean)
    best, least, ahead = (f"{value:.{column.decimals}f} {unit}".rstrip() for value in (cell.mean, theirs.mean, gap))
    if _is_better(column, theirs, cell):
        return f"No model fills in as well as the simple predictor {name}: {metric} {least}; {model} comes next with {best}."
    return f"{model} fills in best: {metric} {best}, {ahead} ahead of {name}, the best simple predictor."


def _is_better(column: Column, one: SeedStatistics, other: SeedStatistics) -> bool:
    return one.mean > other.mean if column.better == "higher" else one.mean < other.mean


def ranked(column: Column, cells: Mapping[str, SeedStatistics | None]) -> list[tuple[str, SeedStatistics]]:
    """The models that have a value, best first."""
    known = [(model, cell) for model, cell in cells.items() if cell is not None]
    return sorted(known, key=lambda each: each[1].mean, reverse=column.better == "higher")


def best_model(column: Column, cells: Mapping[str, SeedStatistics | None]) -> str | None:
    """The best model of a column; None for a column without a better direction, or with a single model."""
    order = ranked(column, cells)
    return order[0][0] if column.better is not None and len(order) > 1 else None


def conclusion(column: Column, cells: Mapping[str, SeedStatistics | None]) -> str | None:
    """The best model, its lead, and whether that exceeds the standard deviation over seeds; None where nothing is concluded."""
    if not column.concludes or best_model(column, cells) is None:
        return None
    (first, best), (second, next_best), *_ = ranked(column, cells)
    gap = abs(best.mean - next_best.mean)
    digits = column.decimals
    ahead = f"{gap:.{digits}f}" if gap >= 10**-digits else f"less than {10**-digits:.{digits}f}"
    start = f"{column.title}: {first} is best with {best.mean:.{digits}f}, {ahead} ahead of {second}"
    if best.std is None or next_best.std is None:
        return f"{start}; with one seed, significance cannot be assessed."
    std = (best.std**2 + next_best.std**2) ** 0.5
    more = "more" if gap > std else "not more"
    return f"{start}, which is {more} than the standard deviation of this difference over seeds ({std:.{digits}f})."
