"""What `vqkit choose` prints: the order of measurements, the candidates of each step, and what is still unknown after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqkit.cli.number_format import decimals

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vqkit.evaluation.keep_set_errors import KeepSetError, RemainingError
    from vqkit.evaluation.next_component import Choice
    from vqkit.interfaces import DataSpec


def print_choice(console: Console, choice: Choice, spec: DataSpec) -> None:
    """A line on what was measured, and the tables."""
    known = f"{', '.join(choice.known)} known" if choice.known else "nothing known"
    console.print(f"{choice.run}: {choice.images} {choice.source}, {known}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"error: mean of {choice.metric} over {', '.join(choice.missing)}; 0 once measured\n", highlight=False, soft_wrap=True
    )
    tables = [_order(choice), *([_candidates(choice)] if len(choice.missing) > 1 else []), _components(choice, spec)]
    tables += [] if choice.best is None else [_exhaustive(choice)]
    for number, table in enumerate(tables):
        if number:
            console.print()
        console.print(table)
    for note in choice.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def _order(choice: Choice) -> Table:
    """A row for each step of the greedy order."""
    table = _table("step", "error before", "error after", "reduction", "next best")
    table.columns[0].header = "measure"
    for step in choice.steps:
        others = {name: error for name, error in step.candidates.items() if name != step.component}
        second = min(others, key=lambda name: others[name], default=None)
        drop = "-" if step.before is None else f"{_share(step.before, step.after)}"
        beside = "-" if second is None else f"{second} {others[second]:.4f}"
        table.add_row(step.component, decimals(step.before, 4), f"{step.after:.4f}", drop, beside)
    return table


def _share(before: float, after: float) -> str:
    """How much smaller the error became, in percent."""
    return f"{1 - after / before:.1%}" if before > 0 else "-"


def _candidates(choice: Choice) -> Table:
    """A row for each component: the error after measuring it in each step."""
    table = _table("error after measuring", *(f"step {number}" for number in range(1, len(choice.steps) + 1)))
    for name in choice.missing:
        cells = [_candidate(step.candidates.get(name), name == step.component) for step in choice.steps]
        table.add_row(name, *cells)
    return table


def _candidate(error: float | None, chosen: bool) -> str:
    return "" if error is None else f"{'* ' if chosen else ''}{error:.4f}"


def _components(choice: Choice, spec: DataSpec) -> Table:
    """A row for each component: how well it is filled in at the start and after each step."""
    after = ([] if choice.start is None else [choice.start]) + list(choice.chosen)
    headings = ([] if choice.start is None else ["at the start"]) + [f"+ {step.component}" for step in choice.steps]
    kinds = {each.kind for each in spec.component_specs if each.name in choice.missing}
    table = _table({"binary": "IoU", "intensity": "RMSE"}.get("".join(kinds), "IoU or RMSE"), *headings)
    for each in spec.component_specs:
        if each.name in choice.missing:
            unit = f" ({each.unit})" if each.unit and each.kind == "intensity" else ""
            table.add_row(f"{each.name}{unit}", *(_figure(each.name, errors) for errors in after))
    return table


def _figure(name: str, errors: KeepSetError) -> str:
    """The IoU or the RMSE in stored values of a component."""
    if name in errors.keep:
        return "measured"
    found: RemainingError | None = errors.components.get(name)
    if found is None:
        return "-"
    return f"{found.iou:.4f}" if found.iou is not None else f"{found.rmse:.4g}"


def _exhaustive(choice: Choice) -> Table:
    """A row for each number of measurements: the best keep-set of all, and that of the greedy order."""
    assert choice.best is not None
    table = _table("measured", "best of all keep-sets", "error", "greedy order", "error")
    for number, (best, greedy) in enumerate(zip(choice.best, choice.chosen, strict=True), start=1):
        sets = [", ".join(name for name in each.keep if name not in choice.known) for each in (best, greedy)]
        table.add_row(
            str(number), sets[0], f"{best.error:.4f}", "the same" if sets[0] == sets[1] else sets[1], f"{greedy.error:.4f}"
        )
    return table


def _table(first: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(first, box=None, header_style="bold", pad_edge=False, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    return table
