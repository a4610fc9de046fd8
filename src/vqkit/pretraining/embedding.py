"""A scatter plot of held-out features on their first two principal components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from vqkit.core.atomic import write_atomically
from vqkit.interfaces import DataSpec
from vqkit.pretraining.probes import principal_plane

_MAX_PANELS = 6
_MAX_LEGEND_CLASSES = 20


def draw_embedding(features: Tensor, conditions: Tensor, labels: Tensor, spec: DataSpec) -> Figure:
    """Scatter plot of features [M, F] on their first two principal components, coloured by class (labels int64 [M], -1: none), or
    without classes by each of the first six conditions (float [M, D]).
    """
    plane, shares = principal_plane(features)
    names: tuple[str, ...] = () if spec.classes else spec.condition_names[:_MAX_PANELS]
    columns = min(3, max(1, len(names)))
    rows = -(-max(1, len(names)) // columns)
    figure = Figure(figsize=(4.4 * columns + 0.6, 3.8 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"first component: {shares[0]:.0%} of the variance", fontsize=8)
        axes.set_ylabel(f"second component: {shares[1]:.0%}", fontsize=8)
    for axes in panels[len(names) or 1 :]:
        axes.set_visible(False)
    if spec.classes:
        _by_class(panels[0], plane, labels, spec.classes)
    elif not names:
        panels[0].scatter(*plane.T.tolist(), s=8, color="tab:blue")
    for column, (axes, name) in enumerate(zip(panels, names, strict=False)):
        known = conditions[:, column].isfinite()
        axes.scatter(*plane[~known].T.tolist(), s=8, color="lightgrey")
        drawn = axes.scatter(*plane[known].T.tolist(), s=8, c=conditions[known, column].tolist(), cmap="viridis")
        figure.colorbar(drawn, ax=axes)
        axes.set_title(name, fontsize=10)
    return figure


def write_embedding(figure: Figure, path: Path) -> None:
    """Write the figure atomically."""
    with write_atomically(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _by_class(axes: Any, plane: Tensor, labels: Tensor, classes: tuple[str, ...]) -> None:
    """Colour points by class, with a legend if there are few classes."""
    from matplotlib import colormaps

    colours = colormaps["turbo"].resampled(len(classes))
    for number in torch.unique(labels).tolist():
        chosen = plane[labels == number].T.tolist()
        known = number >= 0
        axes.scatter(*chosen, s=8, color=colours(number) if known else "lightgrey", label=classes[number] if known else "unknown")
    if len(classes) <= _MAX_LEGEND_CLASSES:
        axes.legend(fontsize=7, markerscale=2, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
