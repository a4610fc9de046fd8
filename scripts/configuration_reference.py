"""Write docs/configuration.md and configs/vqkit.schema.json from the settings themselves, so that they cannot say anything else."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from generated_page import table, write_or_check
from vqkit.config import NamedOptions, PretrainingRunConfig, PriorRunConfig, RunConfig
from vqkit.registry import DATASETS, METHODS, MODELS, PRIORS, QUANTIZERS, Registry
from vqkit.training.config_schema import config_schema

HEAD = """# Configuration

Written from the settings themselves by `scripts/configuration_reference.py`.

A run is decided by one configuration. It is put together from three layers, each over the one before: a YAML file
(`--config FILE`; see `configs/`), the flags of the command, and any number of `--set KEY=VALUE`. Keys are dotted, values are
YAML:

```
vqkit train-vqvae --config configs/vqvae_default.yaml --epochs 5 --set model.quantizer.num_codes=1024 --set model.hidden=96
```

Values are read as YAML 1.2: `010` and `1_000` are decimal, `1:30` is no number, only `true` and `false` are booleans (settings that
are booleans also take `yes` and `no`), and a name such as `01` stays as it is typed. A key that is set twice, in a file or with
`--set`, is an error unless both values are equal on the command line.

Unknown keys are refused. Naming another model, quantizer or data set drops the settings of the one before; `model: vqvae` is
short for `model: {name: vqvae}`; `steps` over a file's `epochs` replaces it, and the other way round. The whole configuration,
defaults filled in, is written to `run.yaml` in the run directory, which is itself a valid `--config`.

### In an editor

`configs/vqkit.schema.json` is a JSON Schema of everything on this page. Editors with a YAML language server (Visual Studio Code
with its YAML extension, Neovim, Emacs, JetBrains) complete settings with it, explain them, and mark wrong ones, also without a
network. They find it through a comment in the first line, a path from the configuration to the schema, which the files in
`configs/` have:

```yaml
# yaml-language-server: $schema=vqkit.schema.json
```

For configurations elsewhere, write it beside them. It then also has the parts of other packages that are installed:

```
vqkit config schema --out vqkit.schema.json
```

Flags may give what a file leaves out, so nothing is required. The schema is stricter than vqkit in how values are written:
numbers and booleans as such, not `yes` or `010`.
"""

LIMITS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def type_words(annotation: Any) -> str:
    """A type in the words of the reader: its choices, its members, its name."""
    arguments = get_args(annotation)
    if annotation is NoneType:
        return "null"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if hasattr(annotation, "__metadata__"):  # Annotated
        return type_words(arguments[0])
    if get_origin(annotation) in (list, tuple):
        return "list of " + type_words(arguments[0]) if arguments else "list"
    if get_origin(annotation) is dict:
        return "mapping"
    if arguments:
        return " or ".join(type_words(argument) for argument in arguments)
    if annotation is NamedOptions:
        return "name and settings"
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(
        annotation.__name__, annotation.__name__
    )


def limits(field: FieldInfo) -> str:
    """The range of a number, such as ` ≥ 0, < 1`."""
    found = [(sign, getattr(limit, name)) for limit in field.metadata for name, sign in LIMITS if hasattr(limit, name)]
    return "".join(f" {sign} {bound}," for sign, bound in found).rstrip(",")


def default_words(field: FieldInfo) -> str:
    """A field's default as YAML would write it."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, NamedOptions):
        value = value.name
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def rows(schema: type[BaseModel], prefix: str) -> Iterator[tuple[str, ...]]:
    """One row for each setting of a group, groups inside it included."""
    for name, field in schema.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not NamedOptions:
            yield from rows(annotation, f"{prefix}{name}.")
        else:
            yield f"`{prefix}{name}`", type_words(annotation) + limits(field), default_words(field), field.description or ""


def settings_table(schema: type[BaseModel], prefix: str = "") -> str:
    """A group's settings, or a sentence when it has none."""
    found = list(rows(schema, prefix))
    return table(("setting", "value", "default", "meaning"), found) if found else "No settings of its own.\n"


def run_chapters(schema: type[BaseModel]) -> Iterator[str]:
    """The groups of a run's configuration."""
    for group, field in schema.model_fields.items():
        annotation = field.annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            yield f"### {group}\n\n`{group}` (default: {default_words(field)}). {field.description}\n"
        elif annotation is NamedOptions:
            default = default_words(field)
            yield f"### {group}\n\n`{group}.name` (default: {default}), and the settings that belong to it: see below.\n"
        else:
            yield f"### {group}\n\n{annotation.__doc__}\n\n{settings_table(annotation, f'{group}.')}"


def registry_chapters() -> Iterator[str]:
    """Every registered part of vqkit's own and its settings."""
    registries: tuple[tuple[Registry[Any], str], ...] = (
        (MODELS, "model."),
        (QUANTIZERS, "model.quantizer."),
        (PRIORS, "prior."),
        (METHODS, "method."),
        (DATASETS, "data."),
    )
    for registry, prefix in registries:
        for name, entry in registry.entries().items():
            if entry.part.__module__.startswith("vqkit."):
                summary = entry.summary[0].upper() + entry.summary[1:]
                yield f"### {registry.kind} `{name}`\n\n{summary}.\n\n{settings_table(entry.part.Options, prefix)}"


def chapters() -> Iterator[str]:
    """The whole page."""
    yield HEAD
    yield "## Training an autoencoder: `vqkit train-vqvae`\n"
    yield from run_chapters(RunConfig)
    yield "## Training a prior: `vqkit train-prior`\n"
    yield inspect.cleandoc(PriorRunConfig.__doc__ or "") + "\n"
    yield from run_chapters(PriorRunConfig)
    yield "## Training an encoder by itself: `vqkit pretrain`\n"
    yield inspect.cleandoc(PretrainingRunConfig.__doc__ or "") + "\n"
    yield from run_chapters(PretrainingRunConfig)
    yield "## Parts\n"
    yield from registry_chapters()


if __name__ == "__main__":
    write_or_check("docs/configuration.md", "\n".join(list(chapters())), __doc__)
    write_or_check("configs/vqkit.schema.json", json.dumps(config_schema(), indent=1) + "\n", __doc__)
