"""`vqkit models`: what can be trained, and on what."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vqkit.cli.parameters import JsonOption


def models(
    name: Annotated[str | None, typer.Argument(help="Name of a part, to list its settings. Default: list all parts.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List every model, quantizer, prior, pretraining method and data set with a line each, or the settings of one of them."""
    listing: dict[str, Any] = _summaries() if name is None else _settings(name)
    if as_json:
        import json

        print(json.dumps(listing, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    if name is None:
        table = Table("kind", "name", "what it is", box=None, header_style="bold")
        for kind, parts in listing.items():
            for part, summary in parts.items():
                table.add_row(kind.removesuffix("s"), part, summary)
    else:
        Console().print(f"{listing['kind']} {name}: {listing['summary']}", highlight=False)
        table = Table("setting", "default", "meaning", box=None, header_style="bold")
        for key, setting in listing["settings"].items():
            table.add_row(key, str(setting["default"]), setting["meaning"])
    Console().print(table)


def _summaries() -> dict[str, dict[str, str]]:
    """The line that describes each part, by name, by kind of part."""
    from vqkit.registry import DATASETS, METHODS, MODELS, PRIORS, QUANTIZERS

    return {f"{registry.kind}s": registry.summaries() for registry in (MODELS, QUANTIZERS, PRIORS, METHODS, DATASETS)}


def _settings(name: str) -> dict[str, Any]:
    """The settings of a part, with default and meaning. Raises `RegistryError` when no registry has the name."""
    from vqkit.errors import RegistryError, did_you_mean
    from vqkit.registry import DATASETS, METHODS, MODELS, PRIORS, QUANTIZERS

    registries = (MODELS, QUANTIZERS, PRIORS, METHODS, DATASETS)
    registry = next((each for each in registries if name in each.names()), None)
    if registry is None:
        known = [each for registry in registries for each in registry.names()]
        raise RegistryError(f"Nothing is registered as '{name}'.", did_you_mean(name, known))
    fields = registry.get(name).Options.model_fields
    described = {
        key: {"default": _plain(field.get_default(call_default_factory=True)), "meaning": field.description or ""}
        for key, field in fields.items()
    }
    return {"kind": registry.kind, "name": name, "summary": registry.summaries()[name], "settings": described}


def _plain(value: Any) -> Any:
    """A default as JSON would have it; of a required setting, the word."""
    from pydantic import BaseModel
    from pydantic_core import PydanticUndefined, to_jsonable_python

    if value is PydanticUndefined:
        return "required"
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else to_jsonable_python(value, fallback=str)
