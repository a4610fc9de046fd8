"""What was understood of a data set, in a few lines: printed before anything is trained, and by `vqkit data preview`."""

from __future__ import annotations

from vqkit.interfaces import ComponentSpec, ImageDataset

_MOST = 32
"""Components that are described one by one, at most."""


def describe_dataset(dataset: ImageDataset) -> list[str]:
    """How the files lie and what is done with them; components and size; type and range of each component.

    Components that are all of one type and range are described together.
    """
    spec = dataset.spec
    lines = [*dataset.notes, f"{spec.describe_layout()}."]
    described = [_values(each) for each in spec.component_specs]
    if len(set(described)) == 1:
        lines[-1] = f"{lines[-1][:-1]}: {described[0]}."
        return lines
    width = max(len(name) for name in spec.components)
    lines += [f"  {name:<{width}}  {text}" for name, text in zip(spec.components[:_MOST], described[:_MOST], strict=True)]
    return [*lines, "  ..."] if len(described) > _MOST else lines


def _values(spec: ComponentSpec) -> str:
    """Type, kind, range and extremes of a component."""
    unit = f" {spec.unit}" if spec.unit else ""
    if spec.kind == "binary":
        return f"{spec.dtype}, binary, {spec.low:g} and {spec.high:g}"
    parts = [spec.dtype, f"range {_number(spec.low)} to {_number(spec.high)}{unit}"]
    if (spec.minimum, spec.maximum) != (spec.low, spec.high):
        parts.append(f"values {_number(spec.minimum)} to {_number(spec.maximum)}")
    if spec.transform != "linear":
        parts.append(spec.transform)
    if spec.nodata is not None:
        parts.append(f"no data {_number(spec.nodata)}")
    return ", ".join(parts)


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
