"""Data sets of image files: how they lie on disk, which size a model sees of them, what their values mean, and their splits."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vqkit.core.memory import no_garbage_collection
from vqkit.data.arranging import ImageFiles, check_extents, stored_components
from vqkit.data.augmentation import Augmentation
from vqkit.data.describing import (
    CutRows,
    SampledKindChoice,
    TrainingValues,
    choice_for,
    component_specs,
    fitted_settings,
    is_determined,
)
from vqkit.data.file_settings import FileSettings
from vqkit.data.fitting import ImageKind, SizeSettings, choose_tile
from vqkit.data.headers import FileHeader, ReadFiles, read_files
from vqkit.data.image_reading import ImageReader, Scaling
from vqkit.data.loaded import LoadedImages, load
from vqkit.data.measuring import measure_files, measure_loaded
from vqkit.data.rows import ChosenRows
from vqkit.data.splits import ArraySplit, SplitPlan, condition_specs
from vqkit.data.tiled import FileSource, ImageFacts, ImageSource, MemorySource, TiledSplit
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.layouts import FoundImage, FoundSet
from vqkit.image_io.tables import TABLE, ConditionTable
from vqkit.interfaces import DataSpec, ImageDataset, Split, SplitName

_SHOWN = 3


class FileDataset(ImageDataset):
    """Images from a directory. Raises `DataError` naming what is missing or cannot be read.

    Headers are read when it is opened; with them the pixels of the training images, if they have one size, fit into memory and say
    what is not set. Otherwise pixels are read at the first use of a split, or batch by batch.
    """

    skips_damaged: ClassVar[bool]
    """Whether files that cannot be read are left out, with one warning. Otherwise they are an error."""

    def __init__(self, options: FileSettings) -> None:
        self._options = options
        self._root = Path(options.path).expanduser()
        if not self._root.is_dir():
            raise DataError(f"{self._root} is not a directory.", "Set data.path to the directory of the images.")
        self._table = ConditionTable(self._root / TABLE) if (self._root / TABLE).is_file() else None
        if options.conditions and self._table is None:
            raise ConfigError(
                f"data.conditions is set, but there is no {TABLE} in {self._root}.", "Add it, or unset data.conditions."
            )
        self._condition_names = self._table.choose(options.conditions) if self._table else ()
        with no_garbage_collection():
            self._set = self.find(self._root, options, self._table)
            files = self._read_files()
            self._kept = files.pixels
            self._components, self._images = self._arranged(files.headers)
        every = list(self._every_image())
        counts = {name: len(images) for name, images in self._images.items()}
        self._plan = SplitPlan(counts, options.validation_share, self._root)
        self._stored = stored_components(self._components, every)
        check_extents(every)
        size = SizeSettings(options.height, options.width, options.fit)
        self._tile = choose_tile(every, size, self._image_kind(), self._root)
        if self._tile.note:
            warnings.warn(self._tile.note, stacklevel=3)
        self._loaded: dict[str, LoadedImages] = {}

    @abstractmethod
    def find(self, root: Path, options: FileSettings, table: ConditionTable | None) -> FoundSet:
        """How the images lie below the directory."""

    @abstractmethod
    def arrange(self, found: Sequence[FoundImage], headers: dict[Path, FileHeader]) -> tuple[tuple[str, ...], list[ImageFiles]]:
        """The names of the components, and where each of them is in each of the images."""

    @property
    def notes(self) -> list[str]:
        """See `ImageDataset.notes`. Of pixels without data only those are known that have been read into memory."""
        tile = self._tile.height, self._tile.width
        larger = sum(image.size != tile for image in self._every_image()) if self._tile.scaling is None else 0
        tiles = f"Tiles of {tile[0]} x {tile[1]} (height x width) are cut out of {larger:,} images."
        count = sum(image.is_resampled for image in self._every_image())
        resolutions = f"The components of {count:,} images differ in resolution: they are resampled to the largest of each image."
        gaps = [
            f"{len(loaded.gaps):,} of {len(loaded.images):,} {folder} images have pixels without data, such as "
            f"{', '.join(self._images[folder][number].name for number in loaded.gaps[:_SHOWN])}."
            for folder, loaded in self._loaded.items()
            if loaded.gaps
        ]
        return [self._set.summary, *self._set.notes, *([tiles] if larger else []), *([resolutions] if count else []), *gaps]

    @property
    def fitted_settings(self) -> dict[str, Any]:
        """See `ImageDataset.fitted_settings`."""
        return {"height": self.spec.height, "width": self.spec.width, **fitted_settings(self.spec)}

    @cached_property
    def spec(self) -> DataSpec:
        """Components, the size that a model sees, ranges of values and of conditions: all from the training images."""
        folder, positions = self._plan.describing()
        stored_components(self._components, [self._images[folder][number] for number in positions.tolist()])
        # Whether shapes overlap is not among the settings that a run records.
        known = is_determined(self._stored, self._options, self._kind) and not all(
            choice_for(self._kind, name, "auto") == "binary" for name in self._components
        )
        values = None if known else self._measured(folder, positions)
        specs = component_specs(self._stored, self._options, self._kind, values.counts if values else None)
        exclusive = values is not None and not self._is_resampled and values.are_exclusive(specs)
        conditions = condition_specs(self._condition_names, self._conditions(folder)[positions])
        size = self._tile.height, self._tile.width
        return DataSpec(self._root.resolve().name, specs, *size, exclusive, conditions, self._set.classes, self._options.display)

    def split(self, name: SplitName) -> Split:
        """One split; in memory if the images of its folder fit into `memory_mb`, else read batch by batch."""
        spec = self.spec
        folder, positions = self._plan.of(name)
        if not self._fits(folder):
            images = [self._images[folder][number] for number in positions.tolist()]
            gaps = isinstance(self._options.nodata, dict) or any(image.may_have_gaps for image in images)
            return self._tiled(name, FileSource(self._reader(), images), folder, positions, gaps)
        loaded = self._load(folder)
        positions = positions[loaded.usable[positions]]
        if not len(positions):
            raise DataError(f"{self._root} has no images for {name} that hold any data.", "Choose another split.")
        if isinstance(loaded.images, list) or loaded.images.shape[2:] != (spec.height, spec.width):
            pixels = [loaded.pixels(number) for number in positions.tolist()]
            return self._tiled(name, MemorySource(pixels), folder, positions, any(p.present is not None for p in pixels))
        facts = self._facts(folder, positions)
        rows = CutRows(ChosenRows(loaded.images, positions), spec.component_specs, self._kind)
        has_gaps = loaded.present is not None and not bool(loaded.present[positions].all())
        present = ChosenRows(loaded.present, positions) if loaded.present is not None and has_gaps else None
        return ArraySplit(spec, rows, facts.conditions, facts.labels, facts.names, self._augmentation(name), present)

    def _augmentation(self, name: SplitName) -> Augmentation:
        return Augmentation(self._options.flip, self._options.crop, self._options.turn).of(name)

    def _tiled(self, name: SplitName, source: ImageSource, folder: str, positions: Tensor, has_gaps: bool) -> TiledSplit:
        return TiledSplit(
            self.spec,
            source,
            self._facts(folder, positions),
            moves=name == "train" and self._tile.scaling is None,
            has_gaps=has_gaps,
            augmentation=self._augmentation(name),
            kind=self._kind,
        )

    def _facts(self, folder: str, positions: Tensor) -> ImageFacts:
        """Names, conditions and classes of the images at `positions` of a folder."""
        images = [self._images[folder][number] for number in positions.tolist()]
        numbers = {label: number for number, label in enumerate(self._set.classes)}
        labels = [-1 if image.label is None else numbers[image.label] for image in images]
        names = [image.name for image in images]
        return ImageFacts(names, self._conditions(folder)[positions], torch.tensor(labels, dtype=torch.int64))

    def _conditions(self, folder: str) -> Tensor:
        """The conditions of all images of a folder, float32 [N, D]."""
        images = self._images[folder]
        if self._table is None:
            return torch.empty(len(images), 0)
        return self._table.values([image.key or image.name for image in images], self._condition_names)

    def _read_files(self) -> ReadFiles:
        """The headers of all files, and the pixels of those of the training images if they are kept in memory and needed."""
        options = self._options
        paths = {name: list(dict.fromkeys(_paths(images))) for name, images in self._set.splits.items()}
        first = next(iter(paths), None)
        is_fitted = options.value_kind != "auto" and options.range is not None
        is_scaled = not self._set.components and (options.height or options.width)
        kept = [] if first is None or is_fitted or is_scaled else paths[first]
        every = list(dict.fromkeys(path for each in paths.values() for path in each))
        nodata = options.nodata if isinstance(options.nodata, float) else None
        files = read_files(every, kept, nodata, options.memory_mb * 2**20)
        self._report(files.errors, len(every), "files")
        return files

    def _arranged(self, headers: dict[Path, FileHeader]) -> tuple[tuple[str, ...], dict[str, list[ImageFiles]]]:
        """The components, and the images of each folder whose files can be read."""
        readable = {
            name: [image for image in images if all(path in headers for path in _paths([image]))]
            for name, images in self._set.splits.items()
        }
        components, arranged = self.arrange([image for images in readable.values() for image in images], headers)
        rest = iter(arranged)
        return components, {name: [next(rest) for _ in images] for name, images in readable.items()}

    def _report(self, errors: Sequence[DataError], count: int, what: str) -> None:
        """Warn of what is skipped. Raises `DataError` if that is all, or if nothing may be skipped."""
        if not errors:
            return
        first = errors[0]
        if not self.skips_damaged:
            raise DataError(f"{len(errors)} of {count} {what} in {self._root} cannot be used. {first.message}", first.hint)
        if len(errors) == count:
            raise DataError(f"None of the {count} {what} in {self._root} can be read. The first: {first.message}", first.hint)
        warnings.warn(f"{len(errors)} of {count} {what} in {self._root} are skipped. The first: {first.message}", stacklevel=3)

    def _image_kind(self) -> ImageKind:
        if any(component.dtype != "uint8" for component in self._stored):
            return "measurement"
        if self._set.components:
            return "eight bits"
        return "photograph" if len(self._components) == 1 or self._components == ("r", "g", "b") else "measurement"

    @property
    def _kind(self) -> SampledKindChoice:
        """The kind of values that is set. Photographs in colour are intensities, as are scaled ones, whose edges become soft."""
        given = self._options.value_kind
        is_soft = self._tile.scaling is not None and self._tile.scaling.smooth
        return "intensity" if given == "auto" and (is_soft or self._components == ("r", "g", "b")) else given

    @property
    def _is_resampled(self) -> bool:
        return any(image.is_resampled for image in self._every_image())

    def _every_image(self) -> Iterator[ImageFiles]:
        return (image for images in self._images.values() for image in images)

    def _measured(self, folder: str, positions: Tensor) -> TrainingValues:
        """The values of the training images: of what is in memory, or of the files where they are resampled when they are read."""
        dtypes = [component.dtype for component in self._stored]
        is_resampled = self._is_resampled or (self._tile.scaling is not None and not self._tile.scaling.smooth)
        if self._fits(folder) and not is_resampled:
            return measure_loaded(self._load(folder), positions, dtypes)
        images = [self._images[folder][number] for number in positions.tolist()]
        return measure_files(self._reader_for([False] * len(dtypes), None), images, dtypes)

    def _reader(self) -> ImageReader:
        """Reads images as a model sees them. Shapes take the nearest value where they are resampled."""
        return self._reader_for([each.kind == "binary" for each in self.spec.component_specs], self._tile.scaling)

    def _reader_for(self, nearest: Sequence[bool], scaling: Scaling | None) -> ImageReader:
        setting = self._options.nodata
        # A single value is passed on to the files' reader, which knows how it is to be taken in colour pictures.
        nodata = [setting.get(name) if isinstance(setting, dict) else None for name in self._components]
        return ImageReader([component.dtype for component in self._stored], nearest, nodata, scaling, self._kept)

    def _fits(self, folder: str) -> bool:
        """Whether the images of a folder fit into memory."""
        itemsize = np.result_type(*(np.dtype(component.dtype) for component in self._stored)).itemsize
        scaling = self._tile.scaling
        sizes = (image.size if scaling is None else scaling[:2] for image in self._images[folder])
        count = sum(height * width for height, width in sizes) * len(self._components)
        return count * itemsize <= self._options.memory_mb * 2**20

    def _load(self, folder: str) -> LoadedImages:
        """The images of a folder, in memory from now on. Warns of those that are damaged or hold no data."""
        if folder in self._loaded:
            return self._loaded[folder]
        images = self._images[folder]
        needs_kinds = self._is_resampled or (self._tile.scaling is not None and not self._tile.scaling.smooth)
        reader = self._reader() if needs_kinds else self._reader_for([False] * len(self._stored), self._tile.scaling)
        loaded = load(reader, images)
        self._kept.clear()
        self._report(list(loaded.errors.values()), len(images), "images")
        empty = [images[number].name for number in loaded.empty]
        if empty:
            shown = ", ".join(empty[:_SHOWN]) + (", ..." if len(empty) > _SHOWN else "")
            warnings.warn(
                f"{len(empty)} of {len(images)} {folder} images hold no data at all and are skipped: {shown}.", stacklevel=3
            )
        self._loaded[folder] = loaded
        return loaded


def _paths(images: Sequence[FoundImage]) -> Iterator[Path]:
    """The files of images."""
    for image in images:
        if image.file is not None:
            yield image.file
        yield from (member.path for member in image.members.values())
