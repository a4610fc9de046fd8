"""Figure of a choice: what is left to guess against the number of components that are measured."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vqkit.evaluation.next_component import Choice

_NAMED = 4
"""Known components that are named."""
_GREEDY, _BEST, _OTHERS = "#0072b2", "#d55e00", "#999999"


def choice_figure(choice: Choice) -> Figure:
    """The error after each step of the greedy order, labelled with what is measured, among the errors of all keep-sets that were
    measured; after an exhaustive search, also that of the best of each size. Drawn without pyplot, which keeps global state.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    already = len(choice.known)
    sizes = [len(each.keep) - already for each in choice.keep_sets]
    axes.scatter(sizes, [each.error for each in choice.keep_sets], 10, _OTHERS, alpha=0.6, label="keep-sets measured", zorder=1)
    if choice.best is not None:
        best = [each.error for each in choice.best]
        axes.plot(
            range(1, len(best) + 1),
            best,
            "s--",
            color=_BEST,
            ms=9,
            mfc="none",
            label="best of all keep-sets",
            zorder=2,
            clip_on=False,
        )
    start = [] if choice.start is None else [(0, choice.start.error)]
    points = start + [(number, step.after) for number, step in enumerate(choice.steps, start=1)]
    axes.plot(*zip(*points, strict=True), "o-", color=_GREEDY, ms=4, label="greedy order", zorder=3, clip_on=False)
    for number, step in enumerate(choice.steps, start=1):
        axes.annotate(step.component, (number, step.after), (5, 5), textcoords="offset points", fontsize=9, color=_GREEDY)
    known = ", ".join(choice.known) if len(choice.known) <= _NAMED else f"{len(choice.known)} known ones"
    beside = f" beside {known}" if choice.known else ""
    axes.set(xlabel=f"components measured{beside}", ylabel=f"error left ({choice.metric})", ylim=(0, None))
    axes.set_title(f"{choice.images} {choice.source}", fontsize=10, wrap=True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
