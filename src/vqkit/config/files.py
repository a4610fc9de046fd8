"""Configurations as YAML: read safely, merged from a file, flags and `--set`, and written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vqkit.config.runs import SCHEMAS, RunConfig
from vqkit.config.settings import NamedOptions, Settings, describe_validation_error
from vqkit.config.yaml_text import parse_yaml
from vqkit.errors import ConfigError

_PATTERN = re.compile(r"\s*[^\s'\"\[].*\{[a-z]+\}|\s*\{[a-z]+\}")
"""Text with a placeholder in braces, which YAML takes for a mapping, or for no YAML at all."""


def read_config_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises `ConfigError` when it is missing, unreadable or no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"The configuration file {path} cannot be read: {reason}.", "See configs/ for examples.") from None
    content = parse_yaml(text, str(path))
    if content is None:  # an empty file, or one of comments only
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds a {type(content).__name__} where a mapping of settings is expected.", "See configs/ for examples."
        )
    return content


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Set `a.b.c=VALUE` in nested mappings, in place; the value is read as YAML, except for a pattern such as `{split}/{name}`.

    Raises `ConfigError` when there is no `=`, and for a setting that is set to something else already.
    """
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"'--set {override}' has no KEY=VALUE.", "Write for example --set model.quantizer.num_codes=1024.")
    parts = key.strip().split(".")
    value = text.strip() if _PATTERN.match(text) else parse_yaml(text, f"--set {key}")
    further = {parts[-1]: value}
    for part in reversed(parts[:-1]):
        further = {part: further}
    _add(settings, further, "")


def _add(settings: dict[str, Any], further: Mapping[str, Any], prefix: str) -> None:
    """Merge settings into others, in place. Raises `ConfigError` for one that has another value in both."""
    for key, value in further.items():
        if key not in settings:
            settings[key] = value
            continue
        present = settings[key]
        # A name is short for a group that has but a name.
        if isinstance(value, Mapping) and isinstance(present, str):
            present = settings[key] = {"name": present}
        elif isinstance(present, Mapping) and isinstance(value, str):
            value = {"name": value}
        if isinstance(present, dict) and isinstance(value, Mapping):
            _add(present, value, f"{prefix}{key}.")
        elif repr(present) != repr(value):  # True is not 1 here
            raise ConfigError(f"--set gives {prefix}{key} twice: {present} and {value}.", "Keep one of the two.")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top, nested mappings merged. Another `name` in a group replaces that group whole.

    `model: vae` is short for `model: {name: vae}`: where one side has the name and the other a group, they merge as groups.
    """
    merged = dict(base)
    for key, value in over.items():
        present = merged.get(key)
        if isinstance(present, str) and isinstance(value, Mapping):
            present = {"name": present}
        elif isinstance(present, Mapping) and isinstance(value, str):
            value = {"name": value}
        if isinstance(present, Mapping) and isinstance(value, Mapping):
            renamed = "name" in value and value["name"] != present.get("name", value["name"])
            merged[key] = dict(value) if renamed else merge(present, value)
        else:
            merged[key] = value
    return merged


def merge_lengths(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`merge`, except that `steps` over `epochs`, or the other way round, replaces it: a run has one length."""
    merged = merge(base, over)
    before, after = base.get("training"), over.get("training")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for length, other in (("epochs", "steps"), ("steps", "epochs")):
            if after.get(length) is not None and other not in after:
                merged["training"][other] = None
    return merged


def load_config(
    path: Path | None, overrides: Mapping[str, Any], assignments: Sequence[str], schema: type[Settings] = RunConfig
) -> Any:
    """The configuration of a run: the file's settings, the command line's flags over them, `--set` over both.

    `overrides` is a nested mapping of flags that were really typed. Raises `ConfigError` naming a wrong key or value.
    """
    typed: dict[str, Any] = {}
    for assignment in assignments:
        apply_override(typed, assignment)
    # The default names come first, so that settings without a name belong to them and another name drops them.
    defaults = {group: field.default for group, field in schema.model_fields.items()}
    settings = {group: value.model_dump() for group, value in defaults.items() if isinstance(value, NamedOptions)}
    for layer in (read_config_file(path) if path else {}, overrides, typed):
        settings = merge_lengths(settings, layer)
    _check_kind(settings.get("kind"), schema)
    try:
        return schema.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(*describe_validation_error(error, schema, "the configuration")) from None


def _check_kind(kind: Any, schema: type[Settings]) -> None:
    """Raise `ConfigError` when a configuration of one kind of run is given to the command of another."""
    trained = next((name for name, each in SCHEMAS.items() if each is schema), None)
    if kind is None or trained is None or kind == trained:
        return
    other = SCHEMAS.get(str(kind))
    hint = f"Use it with: vqkit {other.command}." if other else f"Known: {', '.join(SCHEMAS)}."
    command = SCHEMAS[trained].command
    raise ConfigError(f"The configuration has kind: {kind}, but vqkit {command} trains runs of kind: {trained}.", hint)
