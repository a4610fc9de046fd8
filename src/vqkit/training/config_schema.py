"""The configuration as a JSON Schema, made of the settings themselves: for editors, and for programs that write configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from vqkit.config import SCHEMAS, NamedOptions
from vqkit.registry import DATASETS, METHODS, MODELS, PRIORS, QUANTIZERS, Registry

_PARTS: dict[str, tuple[Registry[Any], str]] = {
    "model": (MODELS, "vqvae"),
    "prior": (PRIORS, "pixelcnn"),
    "method": (METHODS, "barlow-twins"),
    "quantizer": (QUANTIZERS, "ema"),
    "data": (DATASETS, "tyre"),
}
"""Of each group that a registry fills: the registry, and the part whose settings those without a name are."""
_LEFT_OUT = ("title", "required", "properties")


def config_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) of everything that a file for `--config` may hold, registered parts of other packages included.

    Nothing is required, because flags may give the rest. The kind of run follows from `kind` or from the groups that are there.
    """
    named = {
        f"{group}.{name}": entry.part.Options
        for group, (registry, _) in _PARTS.items()
        for name, entry in registry.entries().items()
    }
    runs = {f"run.{kind}": schema for kind, schema in SCHEMAS.items()}
    references, written = models_json_schema(
        [(model, "validation") for model in dict.fromkeys([*named.values(), *runs.values()])], ref_template="#/$defs/{model}"
    )
    shared: dict[str, Any] = written["$defs"]
    definitions: dict[str, Any] = {}
    for key, model in {**named, **runs}.items():
        definition = shared[_target(references[model, "validation"])]
        name = {"name": {"const": key.partition(".")[2]}} if key in named else {}
        definitions[key] = {**definition, "properties": {**name, **definition.get("properties", {})}}
    groups = {key: value for key, value in shared.items() if key not in {_target(reference) for reference in references.values()}}
    groups.pop(NamedOptions.__name__)
    choices = {group: _choice(group, registry, default) for group, (registry, default) in _PARTS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of vqkit",
        **_kind_of_run(),
        "$defs": {**choices, **{key: _cleaned(value) for key, value in {**groups, **definitions}.items()}},
    }


def _target(reference: Mapping[str, Any]) -> str:
    return str(reference["$ref"]).removeprefix("#/$defs/")


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _kind_of_run() -> dict[str, Any]:
    """One of the three kinds: by its name, or by a group that only it has."""

    def of_kind(kind: str, *groups: str) -> dict[str, Any]:
        by_group = [{"required": [group]} for group in groups]
        return {"anyOf": [{"properties": {"kind": {"const": kind}}, "required": ["kind"]}, *by_group]}

    return {
        "type": "object",
        "if": of_kind("prior", "prior", "tokenizer", "conditioning", "levels"),
        "then": _reference("run.prior"),
        "else": {
            "if": of_kind("encoder", "method", "views"),
            "then": _reference("run.encoder"),
            "else": _reference("run.model"),
        },
    }


def _choice(group: str, registry: Registry[Any], default: str) -> dict[str, Any]:
    """A part: its name alone, or its name and settings, which are those of the part that is named."""
    names = [*registry.names(), *(["tokenizer"] if group == "data" else [])]
    summaries = registry.summaries()
    listed = [{"const": name, "description": summaries.get(name, "The data of the tokenizer.")} for name in names]
    settings = [
        {"if": {"properties": {"name": {"const": name}}, "required": ["name"]}, "then": _reference(f"{group}.{name}")}
        for name in registry.names()
    ]
    without_name = {"if": {"not": {"required": ["name"]}}, "then": _reference(f"{group}.{default}")}
    return {
        "if": {"type": "string"},
        "then": {"oneOf": listed},
        "else": {"type": "object", "properties": {"name": {"oneOf": listed}}, "allOf": [*settings, without_name]},
    }


def _cleaned(value: Any) -> Any:
    """A schema that pydantic wrote: without titles and required settings, with the choices of parts.

    Text may be written as a number, as when a component is called 01.
    """
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if not isinstance(value, dict):
        return value
    as_it_is = ("default", "enum", "const")
    cleaned = {key: item if key in as_it_is else _cleaned(item) for key, item in value.items() if key not in _LEFT_OUT}
    if "properties" in value:
        cleaned["properties"] = {name: _setting(name, each) for name, each in value["properties"].items()}
    if value.get("type") == "string" and "enum" not in value and "const" not in value:
        cleaned["type"] = ["string", "number"]
    return cleaned


def _setting(name: str, schema: dict[str, Any]) -> Any:
    """A setting; one that holds a part refers to the choice of its kind."""
    if schema.get("$ref") == _reference(NamedOptions.__name__)["$ref"]:
        description = {"description": schema["description"]} if "description" in schema else {}
        return {**_reference(name if name in _PARTS else "quantizer"), **description}
    return _cleaned(schema)
