"""What `vqkit score` prints of images, and `vqkit evaluate --against` of other data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqkit.cli.counting import count_of

if TYPE_CHECKING:
    from rich.table import Table

    from vqkit.evaluation.against import OtherData
    from vqkit.inference.scoring import Scored

MOST_ROWS = 30
"""Images that are listed; all are in the file."""
_PIPED_WIDTH = 240
_TITLES = {"bits": "bits/place", "peak": "peak bits", "error": "error"}


def print_scores(scored: Sequence[Scored], validation_images: int, record: Path) -> None:
    """The oddest images, each score with the share of validation images that are as odd; `record`: where all are."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(score_table(scored[:MOST_ROWS]))
    if len(scored) > MOST_ROWS:
        console.print(f"and {len(scored) - MOST_ROWS} more in {record}", highlight=False)
    text = f"in brackets: the share of {validation_images} validation images that score at least as high"
    console.print(text, highlight=False, soft_wrap=True)


def score_table(scored: Sequence[Scored]) -> Table:
    """A row for each image, as they come."""
    from vqkit.inference.oddity_reference import SCORES

    names = [SCORES[-1], *SCORES[:-1]]
    table = _table("image", "bits/image", *(_TITLES.get(name, name) for name in names))
    table.columns[0].overflow = "fold"
    for each in scored:
        cells = [f"{each.scores[name]:.3g} ({each.shares[name]:.1%})" for name in names]
        table.add_row(each.name, f"{each.bits:.1f}", *cells)
    return table


def against_table(other: OtherData) -> Table:
    """A row for each score."""
    table = _table("score", "AUROC", "standard error", "mean, held-out", "mean, others", "found at 5% false alarms")
    for each in other.scores:
        error = "-" if each.standard_error is None else f"{each.standard_error:.4f}"
        means = f"{each.held_out_mean:.4g}", f"{each.other_mean:.4g}"
        table.add_row(each.score, f"{each.auroc:.4f}", error, *means, f"{each.found:.1%}")
    return table


def against_title(other: OtherData) -> str:
    """Which images were compared."""
    from vqkit.data.opening import typed_as

    what = f"{count_of(other.other_images)} of {typed_as(other.data)} ({other.split} split) against {other.images} held-out images"
    return f"{what}; scores are standardised by {other.reference_images} validation images"


def _table(first: str, *others: str) -> Table:
    """An empty table whose columns but the first hold numbers."""
    from rich.table import Table

    table = Table(first, box=None, header_style="bold", pad_edge=False)
    for name in others:
        table.add_column(name, justify="right")
    return table
