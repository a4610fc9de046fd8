"""`components`: one folder of greyscale pictures per component, the layout of the EPURE tyre sections.

ROOT/{train,val,test}/{component}/{prefix}_{component}.png      train, val and test are optional
ROOT/performances.csv                                           optional: numbers that describe each image
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from vqkit.config import Settings
from vqkit.data.describing import StoredComponent, ValueKindChoice, describe, with_kind
from vqkit.data.splits import ArraySplit, SplitPlan, ValidationShare, condition_specs
from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.image_io.files import decode, picture_size, read_all
from vqkit.image_io.formats import PICTURE_SUFFIXES, has_suffix
from vqkit.image_io.pictures import COMPOSITE
from vqkit.image_io.tables import TABLE, ConditionTable
from vqkit.interfaces import SPLITS, DataSpec, ImageDataset, SplitName
from vqkit.registry import DATASETS

ORDER = ("group_nc", "group_km", "bt", "fpu", "tpc", "gi")
"""Order of the EPURE components, from inside to outside; other components follow in alphabetical order, before `gi`."""
IGNORED = frozenset({"full", COMPOSITE})
"""Folders next to the components whose pictures show all of them."""
PRIVATE_PREFIX = "mdbk_"

Files = dict[str, dict[str, Path]]
"""The picture of each component of each image: key -> component -> path."""


class ComponentImages(NamedTuple):
    """The images of one folder: their names, pixels uint8 [N, C, H, W] and conditions float32 [N, D]."""

    names: list[str]
    images: Tensor
    conditions: Tensor


@DATASETS.register("components")
class ComponentDataset(ImageDataset):
    """Multi-component images from a directory, read into memory at the first use of a split."""

    class Options(Settings):
        """Settings of `components`."""

        path: str = Field(description="Directory that contains train/ and test/, or the components' folders themselves.")
        components: tuple[str, ...] | None = Field(
            None, min_length=1, description="Components to use, in this order. Default: all folders."
        )
        conditions: tuple[str, ...] | None = Field(
            None,
            description="Numeric columns of performances.csv to use as conditions. Default: width_px and height_px if present.",
        )
        value_kind: ValueKindChoice = "auto"
        validation_share: ValidationShare = 0.05

    def __init__(self, options: Options) -> None:
        self._options = options
        self._root = Path(options.path).expanduser()
        if not self._root.is_dir():
            raise DataError(f"{self._root} is not a directory.", "Set data.path to the directory of the components.")
        self._table = ConditionTable(self._root / TABLE) if (self._root / TABLE).is_file() else None
        if options.conditions and self._table is None:
            raise ConfigError(
                f"data.conditions is set, but there is no {TABLE} in {self._root}.", "Add it, or unset data.conditions."
            )
        self._condition_names = self._table.choose(options.conditions) if self._table else ()
        self._files = _find_splits(self._root, self._table)
        self._components = self._choose_components()
        self._read: dict[str, ComponentImages] = {}
        self._plan = SplitPlan({name: len(files) for name, files in self._files.items()}, options.validation_share, self._root)

    def split(self, name: SplitName) -> ArraySplit:
        """One split, read at its first use. Raises `DataError` naming what is missing or cannot be read."""
        source, positions = self._plan.of(name)
        names, images, conditions = self._pictures(source)
        kept = [names[position] for position in positions.tolist()]
        return ArraySplit(self.spec, images[positions], conditions[positions], names=kept)

    @cached_property
    def spec(self) -> DataSpec:
        """Names and size from the training pictures, ranges of the conditions from their rows in the table."""
        source, positions = self._plan.describing()
        _, images, conditions = self._pictures(source)
        ranges = condition_specs(self._condition_names, conditions[positions])
        stored = [StoredComponent(component, "uint8") for component in self._components]
        return describe(images[positions], self._options.value_kind, self._root.resolve().name, stored, ranges)

    def _choose_components(self) -> tuple[str, ...]:
        found = {component for files in self._files.values() for paths in files.values() for component in paths}
        for name in self._options.components or ():
            if name not in found:
                raise ConfigError(f"There is no folder for the component '{name}' in {self._root}.", did_you_mean(name, found))
        return self._options.components or tuple(sorted(found, key=_rank))

    def _pictures(self, source: str) -> ComponentImages:
        if source not in self._read:
            files = self._files[source]
            images = with_kind(_read_pictures(files, self._components), self._options.value_kind)
            conditions = self._table.values(list(files), self._condition_names) if self._table else torch.empty(len(files), 0)
            self._read[source] = ComponentImages(list(files), images, conditions)
        return self._read[source]


def is_component_layout(root: Path) -> bool:
    """Whether a directory contains folders of pictures named after the folder, which are not classes.

    That is so when a table or composites lie beside them, when a name is one of EPURE's, or when the pictures are grey.
    """
    for folder in (root / "train", root / "test", root):
        found = _component_folders(folder)
        if found:
            known = (root / TABLE).is_file() or any(name in ORDER for name in found) or (folder / COMPOSITE).is_dir()
            grey = (_is_grey(next(_component_pictures(path))) for path in found.values())
            return known or (len(found) > 1 and all(grey))
    return False


def _find_splits(root: Path, table: ConditionTable | None) -> dict[str, Files]:
    """The files of each split that is present; without folders of splits, the table's column `test` marks the test images."""
    splits: dict[str, Files] = {name: _find_files(root / name) for name in SPLITS if (root / name).is_dir()}
    if any(splits.values()):
        return splits
    files = _find_files(root)
    if not files:
        example = f"{ORDER[0]}/NAME_{ORDER[0]}.png"
        raise DataError(f"There are no components in {root}.", f"Expected files such as train/{example} or {example}.")
    test = {key: paths for key, paths in files.items() if table is not None and table.flagged(key, "test")}
    return {"train": {key: paths for key, paths in files.items() if key not in test}, "test": test}


def _find_files(folder: Path) -> Files:
    """The pictures of every component's folder, by the lower-cased prefix of their names, in its order."""
    files: Files = {}
    for component, path in _component_folders(folder).items():
        for picture in _component_pictures(path):
            key = picture.stem.removesuffix(f"_{component}").removeprefix(PRIVATE_PREFIX).lower()
            files.setdefault(key, {})[component] = picture
    return dict(sorted(files.items()))


def _component_folders(folder: Path) -> dict[str, Path]:
    """Folders whose pictures end in the folder's name."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return {path.name: path for path in folders if path.name not in IGNORED and next(_component_pictures(path), None)}


def _component_pictures(folder: Path) -> Iterator[Path]:
    ending = f"_{folder.name}"
    return (path for path in folder.iterdir() if path.stem.endswith(ending) and has_suffix(path, PICTURE_SUFFIXES))


def _rank(component: str) -> tuple[int, str]:
    """Sorts components: EPURE's in their order, the others after the first five, `gi` last."""
    if component in ORDER[:-1]:
        return ORDER.index(component), ""
    return len(ORDER) + (component == "gi"), component


def _read_pictures(files: Mapping[str, Mapping[str, Path]], components: Sequence[str]) -> Tensor:
    """The pictures of all images, uint8 [N, C, H, W]. Raises `DataError` naming one that is missing, damaged or of another size."""
    missing = [f"{key}_{name}" for key, paths in files.items() for name in components if name not in paths]
    if missing:
        raise DataError(
            f"{len(missing)} of the pictures are missing, the first: {missing[0]}.",
            "Every image needs a picture of every component. Add them, or choose the components with data.components.",
        )
    paths = [by_component[name] for by_component in files.values() for name in components]
    size = picture_size(paths[0])._replace(channels=1)
    pictures, errors = read_all(paths, lambda path: decode(path, size, scale=False))
    if errors:
        raise DataError(f"{len(errors)} of {len(paths)} pictures cannot be used. {errors[0].message}", errors[0].hint)
    stacked = torch.stack([picture for picture in pictures if picture is not None])
    return stacked.reshape(len(files), len(components), size.height, size.width)


def _is_grey(path: Path) -> bool:
    try:
        decode(path, picture_size(path)._replace(channels=1))
    except DataError:
        return False
    return True
