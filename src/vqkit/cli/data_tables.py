"""The table of `vqkit data preview`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from vqkit.data.doubts import share_text, value_text
from vqkit.data.inspecting import ComponentStatistics, SplitStatistics

_PIPED_WIDTH = 160
"""Width of the table where it is not printed on a terminal: no line is broken."""
_TITLES = ("component", "type", "range", "min", "1 %", "50 %", "99 %", "max", "present")


def print_inspection(found: SplitStatistics, wrong: list[str]) -> None:
    """Print a row for each component, how many images were looked at, and what looks wrong."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, title in enumerate(_TITLES):
        table.add_column(title, justify="left" if number < 3 else "right", no_wrap=number > 1, overflow="fold")
    for each in found.components:
        table.add_row(*_cells(each))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)
    looked_at = f"all {found.images}" if found.looked_at == found.images else f"{found.looked_at} of {found.images}"
    console.print(f"values of {looked_at} {found.split} images", soft_wrap=True)
    for sentence in wrong:
        console.print(f"warning: {sentence}", style="yellow", soft_wrap=True)


def _cells(component: ComponentStatistics) -> list[str]:
    """The cells of a component's row; of a binary one, in how many of its pixels it is set."""
    spec = component.spec
    kind = [spec.dtype, *(["binary"] if spec.kind == "binary" else []), *([spec.transform] if spec.transform != "linear" else [])]
    present = share_text(component.present)
    if spec.kind == "binary":
        is_set = component.maximum == spec.high
        share = share_text(component.at_maximum) if is_set else "0 %"
        return [spec.name, ", ".join(kind), f"set in {share}", "", "", "", "", "", present]
    span = f"{value_text(spec.low)} .. {value_text(spec.high)} {spec.unit}".rstrip()
    values = (component.minimum, component.p1, component.p50, component.p99, component.maximum)
    return [spec.name, ", ".join(kind), span, *map(value_text, values), present]
