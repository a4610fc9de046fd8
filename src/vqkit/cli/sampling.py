"""How codes are drawn, as options of the commands that draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.interfaces.priors import Sampling

TemperatureOption = Annotated[
    str | None,
    typer.Option(
        "--temperature",
        metavar="T",
        help="Below 1: safer; above 1: more varied. Of a hierarchical prior also one for each level, coarse first: 0.9,1. "
        "Default: 1, the prior as it is.",
    ),
]
TopKOption = Annotated[int | None, typer.Option("--top-k", help="Only the K most probable codes. Default: all.")]
TopPOption = Annotated[
    float | None,
    typer.Option("--top-p", help="Only the most probable codes that have this probability together, such as 0.95. Default: all."),
]
GuidanceOption = Annotated[
    float | None, typer.Option("--guidance-scale", help="Above 1: follows what is known more closely. Default: 1, no guidance.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Same seed, same samples. Default: 0.")]
MethodOption = Annotated[
    str | None,
    typer.Option("--method", help="cached, fixed-point or naive: the same samples in less or more time. Default: cached."),
]


def parse_sampling(given: dict[str, Any]) -> Sampling:
    """The settings that are not None, the others by default. Raises `ConfigError` for a value that means nothing."""
    from vqkit.interfaces.priors import Sampling

    settings = {name: value for name, value in given.items() if value is not None}
    if "temperature" in settings:
        settings["temperature"] = _temperature(settings["temperature"])
    return Sampling(**settings)


def _temperature(text: str) -> float | tuple[float, ...]:
    """One number, or one for each level."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"The temperature '{text}' is not a number.", "Give one, such as 0.8, or one for each level: 0.9,1."
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers
