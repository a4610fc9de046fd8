"""Options of the commands that sample codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqkit.cli.panels import SAMPLING
from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.interfaces.priors import Sampling

TemperatureOption = Annotated[
    str | None,
    typer.Option(
        "--temperature",
        metavar="T",
        help="Sampling temperature: below 1, more probable codes; above 1, more varied ones. A hierarchical prior also takes one "
        "per level, coarse first: 0.9,1. Default: 1.",
        rich_help_panel=SAMPLING,
    ),
]
TopKOption = Annotated[
    int | None,
    typer.Option("--top-k", help="Sample from the K most probable codes only. Default: all.", rich_help_panel=SAMPLING),
]
TopPOption = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        help="Nucleus sampling: only the most probable codes with this total probability, such as 0.95. Default: all.",
        rich_help_panel=SAMPLING,
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance-scale",
        help="Scale of classifier-free guidance; above 1, samples follow their conditions more closely. Default: 1, no guidance.",
        rich_help_panel=SAMPLING,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of all random draws: same seed, same samples. Default: 0.", rich_help_panel=SAMPLING),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="cached, fixed-point or naive: the same samples, at different speed. Default: cached.",
        rich_help_panel=SAMPLING,
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--draw-steps",
        help="For a masked prior: in how many steps the codes are drawn; more are slower and more exact. Default: 12.",
        rich_help_panel=SAMPLING,
    ),
]
OrderOption = Annotated[
    str | None,
    typer.Option(
        "--order",
        help="For a masked prior: the order of codes: halton (evenly spread), random, confidence (surest first) or raster. "
        "Default: halton.",
        rich_help_panel=SAMPLING,
    ),
]
RevisionsOption = Annotated[
    int | None,
    typer.Option(
        "--revisions",
        help="For a masked prior: how many times a random part of the codes, as many as a step draws, is drawn anew. Default: 0.",
        rich_help_panel=SAMPLING,
    ),
]


def parse_sampling(given: dict[str, Any]) -> Sampling:
    """Sampling settings: those that are not None, defaults for the others. Raises `ConfigError` for an invalid value."""
    from vqkit.interfaces.priors import Sampling

    settings = {name: value for name, value in given.items() if value is not None}
    if "temperature" in settings:
        settings["temperature"] = _temperature(settings["temperature"])
    return Sampling(**settings)


def _temperature(text: str) -> float | tuple[float, ...]:
    """One number, or one per level."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"The temperature '{text}' is not a number.", "Give one, such as 0.8, or one per level: 0.9,1.") from None
    return numbers[0] if len(numbers) == 1 else numbers
