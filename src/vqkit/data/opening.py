"""Opening the data set that `--data` names: a registered name, or a path whose layout is recognised."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqkit.config import NamedOptions
from vqkit.core.memory import no_garbage_collection
from vqkit.core.shard_records import is_index
from vqkit.errors import DataError, did_you_mean
from vqkit.image_io.formats import DATASET_SUFFIXES, has_suffix
from vqkit.image_io.layouts import are_components_apart
from vqkit.interfaces import DataSpec, ImageDataset
from vqkit.registry import DATASETS

_SHAPING = ("pattern", "layout", "components", "nodata", "height", "width", "size", "fit", "pad_to_multiple")
"""Settings that say what the images of files are."""

FITTED = ("height", "width", "value_kind", "range", "extremes")
"""Settings that `ImageDataset.fitted_settings` may give."""


def open_dataset(data: str | NamedOptions) -> ImageDataset:
    """The data set that `data` names: a registered one or a path, with its options.

    Raises `DataError` for an unknown name or path, or one without images, and `ConfigError` for an invalid option.
    """
    resolved = resolve_data(data)
    dataset: ImageDataset = DATASETS.build(resolved.name, resolved.options)
    return dataset


def resolve_data(data: str | NamedOptions) -> NamedOptions:
    """`data` as a registered name with all settings, including defaults, as a run records it.

    A name that is not registered is a path; `recognise` says which layout it has. Several, with commas between, are joined.
    Raises the errors of `open_dataset` that need no picture to be read.
    """
    given = NamedOptions(name=data) if isinstance(data, str) else data
    named = {**name_data(given.name), **given.options}
    if named["name"] in ("components", "images") and named.get("pattern") is not None:
        named["name"] = "components" if "{component}" in str(named["pattern"]) else "images"
    found = NamedOptions(**named)
    settings = DATASETS.options(found.name, found.options)
    return NamedOptions(name=found.name, **settings.model_dump(mode="json"))


def name_data(data: str) -> dict[str, Any]:
    """The argument of `--data` as settings: the `name` of a registered data set and, for paths, the path or paths.

    The result can be merged into settings of the same kind of data, which then also apply to the named data.
    Raises `DataError` for an unknown name or path, or one without images.
    """
    if data in DATASETS.names():
        return {"name": data}
    path = Path(data).expanduser()
    if not path.exists() and "," in data:
        return {"name": "joined", "paths": [part.strip() for part in data.split(",")]}
    if not path.exists():
        hint = f"Give a path that exists, or a name. {did_you_mean(data, DATASETS.names())}"
        raise DataError(f"'{data}' is neither a data set nor a path that exists.", hint)
    return {"name": recognise(path), "path": str(path)}


def with_fitted(data: NamedOptions, earlier: NamedOptions) -> NamedOptions:
    """Resolved data with what an earlier run found out about the same kind of data (see `FITTED`), where nothing else is set."""
    if data.name != earlier.name:
        return data
    options, before = data.options, earlier.options
    if "settings" in options:  # of the parts of a joined set
        known = {key: value for key, value in before.get("settings", {}).items() if key in FITTED}
        return NamedOptions(name=data.name, **{**options, "settings": {**known, **options["settings"]}})
    fields = DATASETS.get(data.name).Options.model_fields
    kept = {key: before[key] for key in FITTED if key in fields and key in before and options.get(key) == fields[key].default}
    return NamedOptions(name=data.name, **{**options, **kept})


def without_measured(data: NamedOptions) -> NamedOptions:
    """Settings for other data of the same kind: without ranges, extremes and kinds of components, which have names of their own.

    A model sees values in its own ranges, whatever is found in the data that it is used on.
    """

    def kept(settings: Mapping[str, Any]) -> dict[str, Any]:
        by_name = isinstance(settings.get("value_kind"), Mapping)
        left_out = {"range", "extremes", *(["value_kind"] if by_name else [])}
        return {key: value for key, value in settings.items() if key not in left_out}

    options = kept(data.options)
    if isinstance(options.get("settings"), Mapping):  # of the parts of a joined set
        options["settings"] = kept(options["settings"])
    return NamedOptions(name=data.name, **options)


def typed_as(data: Mapping[str, Any]) -> str:
    """The argument of `--data` for a data set's name and settings: the inverse of `name_data`."""
    return ",".join(data["paths"]) if "paths" in data else str(data.get("path", data["name"]))


def typed_settings(data: Mapping[str, Any]) -> list[str]:
    """The settings without which the same files would be other images, as `data.KEY=VALUE`, quoted for a shell."""
    options = DATASETS.options(data["name"], {key: value for key, value in data.items() if key != "name"})
    fields = type(options).model_fields
    given = {key: data[key] for key in _SHAPING if key in fields and data.get(key) is not None}
    changed = {key: value for key, value in given.items() if value != fields[key].default}
    changed |= {f"settings.{key}": value for key, value in (data.get("settings") or {}).items() if key in _SHAPING}
    return [shlex.quote(f"data.{key}={_as_typed(value)}") for key, value in changed.items()]


def _as_typed(value: Any) -> str:
    """A value in YAML on one line; texts as they are, because a pattern has braces."""
    return value if isinstance(value, str) else json.dumps(value)


def size_hint(data: NamedOptions, spec: DataSpec, multiple: int) -> str:
    """How the images of a data set get a height and width that are multiples of a number; "" where no setting of it does that."""
    height, width = (size - size % multiple or multiple for size in (spec.height, spec.width))
    settings = DATASETS.get(data.name).Options.model_fields
    sizes = {"height": f"data.height={height} data.width={width}", "pad_to_multiple": f"data.pad_to_multiple={multiple}"}
    sizes |= {"size": f"data.size={height}", "settings": f"data.settings.height={height} data.settings.width={width}"}
    return " or ".join(text for name, text in sizes.items() if name in settings)


def recognise(path: Path) -> str:
    """The layout of an existing path: `components`, `images` or `arrays`. Raises `DataError` for a file that is none of them."""
    if path.is_file():
        if has_suffix(path, DATASET_SUFFIXES) or is_index(path):
            return "arrays"
        hint = "A data set is a directory of images, or a file that ends in .npy, .npz, .safetensors or .index.json."
        raise DataError(f"{path} is not a data set.", hint)
    try:
        with no_garbage_collection():
            return "components" if are_components_apart(path) else "images"
    except DataError:  # raised again when the data set is opened, unless its settings, such as a pattern, make it right
        return "components"
