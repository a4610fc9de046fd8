"""`images`: any directory of pictures.

    ROOT/**/*.{png,jpg,...}                          one set
    ROOT/{class}/**/*                                one set with classes
    ROOT/{train,val,test}/[{class}/]**/*             given splits; val and test are optional

Small sets are decoded once and kept in memory as uint8; larger ones are read by worker processes, batch by batch.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from vqkit.config import Settings
from vqkit.data.augmentation import Augmentation, Crop, Flip
from vqkit.data.splits import ArraySplit, SplitPlan, ValidationShare
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.decoding import quiet_pillow
from vqkit.image_io.files import PictureSize, decode, picture_paths, picture_size, read_all
from vqkit.image_io.values import channel_names
from vqkit.interfaces import Batch, DataSpec, ImageDataset, Split, SplitName
from vqkit.registry import DATASETS

FALLBACK_SIZE = 64
"""Default height and width in pixels if the pictures have different sizes."""

SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


class ImageFiles(NamedTuple):
    """The usable pictures of one folder, with the name and the class number (-1: none) of each."""

    paths: list[Path]
    names: list[str]
    labels: Tensor


@DATASETS.register("images")
class ImageFolderDataset(ImageDataset):
    """Pictures from a directory. Unreadable ones are skipped, with one warning that counts them and names the first."""

    class Options(Settings):
        """Settings of `images`."""

        path: str = Field(description="Directory of pictures.")
        height: int | None = Field(
            None, ge=1, description="Height in pixels. Default: the width, or the pictures' own height if they all have one size."
        )
        width: int | None = Field(
            None, ge=1, description="Width in pixels. Default: the height, or the pictures' own width if they all have one size."
        )
        components: tuple[str, ...] | None = Field(
            None,
            min_length=1,
            description="Names of the channels. Default: r, g, b; grey; or channel_1, ... A single name converts all to grey.",
        )
        flip: Flip = True
        crop: Crop = 0
        memory_mb: int = Field(2048, ge=0, description="Largest set, in MiB of uint8 pixels, that is kept in memory.")
        validation_share: ValidationShare = 0.05

    def __init__(self, options: Options) -> None:
        self._options = options
        self._root = Path(options.path).expanduser()
        if not self._root.is_dir():
            raise DataError(f"{self._root} is not a directory.", "Set data.path to the directory of pictures.")
        listed = {name: (folder, picture_paths(folder)) for name, folder in _split_folders(self._root).items()}
        sizes = _usable_sizes([path for _, paths in listed.values() for path in paths], self._root)
        self._size = self._choose_size(sizes)
        self._classes = _classes(listed)
        self._found = {
            name: _describe(folder, [path for path in paths if path in sizes], self._classes)
            for name, (folder, paths) in listed.items()
        }
        self._plan = SplitPlan(
            {name: len(found.paths) for name, found in self._found.items()}, options.validation_share, self._root
        )
        self._decoded: dict[str, tuple[ImageFiles, Tensor]] = {}

    def split(self, name: SplitName) -> Split:
        """One split; in memory if all pictures of its folder fit into `memory_mb`."""
        source, positions = self._plan.of(name)
        found = self._found[source]
        augmentation = Augmentation(self._options.flip, self._options.crop).of(name)
        if len(found.paths) * self._size.channels * self._size.height * self._size.width > self._options.memory_mb * 2**20:
            return StreamedSplit(self.spec, _select(found, positions), self._size, augmentation)
        if source not in self._decoded:
            self._decoded[source] = _decode_all(found, self._size, self._root)
            # Damaged pictures are only detected here, so the split is planned again without them.
            self._found[source] = found = self._decoded[source][0]
            self._plan = self._plan.with_count(source, len(found.paths))
            source, positions = self._plan.of(name)
        found, images = self._decoded[source]
        chosen = _select(found, positions)
        return ArraySplit(self.spec, images[positions], labels=chosen.labels, names=chosen.names, augmentation=augmentation)

    @cached_property
    def spec(self) -> DataSpec:
        """Channels, size and classes."""
        names = self._options.components or channel_names(self._size.channels)
        return DataSpec.uniform(
            self._root.resolve().name, names, self._size.height, self._size.width, "intensity", classes=self._classes
        )

    def _choose_size(self, sizes: Mapping[Path, PictureSize]) -> PictureSize:
        """The common size of all pictures, from their own sizes and the options."""
        options, distinct = self._options, Counter((size.height, size.width) for size in sizes.values())
        height, width = options.height or options.width, options.width or options.height
        if height is None or width is None:
            height, width = next(iter(distinct))
            if len(distinct) > 1:
                height = width = FALLBACK_SIZE
                warnings.warn(
                    f"The pictures in {self._root} have {len(distinct)} different sizes; all are scaled and centre-cropped to "
                    f"{height} x {width}. Choose another size with data.height and data.width.",
                    stacklevel=2,
                )
        return PictureSize(self._choose_channels({size.channels for size in sizes.values()}), height, width)

    def _choose_channels(self, found: set[int]) -> int:
        """Number of channels; grey pictures among colour ones become colour. Raises `DataError` for other mixtures."""
        channels = max(found)
        if len(found - {1} if channels == 3 else found) > 1:
            given = ", ".join(map(str, sorted(found)))
            raise DataError(
                f"The pictures in {self._root} have different numbers of channels: {given}.", "Keep each kind in its own folder."
            )
        names = self._options.components
        if names and len(names) != channels and {len(names), channels} != {1, 3}:
            hint = f"Give {channels} names, such as {','.join(channel_names(channels))}."
            raise ConfigError(f"data.components names {len(names)} channels; the pictures have {channels}.", hint)
        return len(names) if names else channels


class StreamedSplit(Split):
    """Pictures that are decoded on demand.

    A damaged picture is replaced by the next readable one, with a warning.
    """

    in_memory = False

    def __init__(self, spec: DataSpec, found: ImageFiles, size: PictureSize, augmentation: Augmentation) -> None:
        super().__init__(spec)
        augmentation.check(spec)
        self._found, self._size, self._augmentation = found, size, augmentation

    def __len__(self) -> int:
        return len(self._found.paths)

    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` (int64 [B]), as uint8."""
        with quiet_pillow():
            readable = [self._readable(index) for index in indices.tolist()]
        images = torch.stack([picture for _, picture in readable])
        labels = self._found.labels[torch.tensor([index for index, _ in readable])]
        return Batch(images, torch.empty(len(indices), 0), labels)

    def names(self, indices: Tensor) -> list[str]:
        """The picture's path below the split's folder without its suffix, its parts joined by `_`."""
        return [self._found.names[index] for index in indices.tolist()]

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """See `Augmentation`."""
        return self._augmentation.apply(batch, generator)

    def _readable(self, index: int) -> tuple[int, Tensor]:
        """Position and pixels of the first picture from `index` on that can be decoded."""
        for further in range(len(self)):
            position = (index + further) % len(self)
            try:
                return position, decode(self._found.paths[position], self._size)
            except DataError as error:
                warnings.warn(f"{error.message} It is replaced by another picture.", stacklevel=2)
        raise DataError(f"None of the {len(self)} pictures can be decoded.", "Check that they are not damaged.")


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits; the directory itself is `train` when it has none."""
    folders: dict[str, Path] = {}
    for name, spellings in SPLIT_FOLDERS.items():
        for spelling in spellings:
            if (root / spelling).is_dir():
                folders.setdefault(name, root / spelling)
    return folders or {"train": root}


def _usable_sizes(paths: Sequence[Path], root: Path) -> dict[Path, PictureSize]:
    """The size of each picture whose header can be read. Warns of the others; raises `DataError` if there is none."""
    if not paths:
        raise DataError(f"There are no pictures in {root}.", "See docs/data.md for the supported formats.")
    sizes, errors = read_all(paths, picture_size)
    _report(errors, len(paths), root)
    return {path: size for path, size in zip(paths, sizes, strict=True) if size is not None}


def _decode_all(found: ImageFiles, size: PictureSize, root: Path) -> tuple[ImageFiles, Tensor]:
    """The pictures that can be decoded, and their pixels uint8 [N, C, H, W]."""
    pictures, errors = read_all(found.paths, lambda path: decode(path, size))
    _report(errors, len(found.paths), root)
    usable = torch.tensor([number for number, picture in enumerate(pictures) if picture is not None])
    return _select(found, usable), torch.stack([picture for picture in pictures if picture is not None])


def _report(errors: Sequence[DataError], count: int, root: Path) -> None:
    """Warn of skipped pictures. Raises `DataError` if all of them are."""
    if len(errors) == count:
        raise DataError(f"None of the {count} pictures in {root} can be read. The first: {errors[0].message}", errors[0].hint)
    if errors:
        warnings.warn(f"{len(errors)} of {count} pictures in {root} are skipped. The first: {errors[0].message}", stacklevel=2)


def _classes(listed: Mapping[str, tuple[Path, Sequence[Path]]]) -> tuple[str, ...]:
    """Names of the folders directly below the splits' folders, if every picture lies in one of them."""
    names: set[str] = set()
    for folder, paths in listed.values():
        for path in paths:
            parts = path.relative_to(folder).parts
            if len(parts) < 2:
                return ()
            names.add(parts[0])
    return tuple(sorted(names))


def _describe(folder: Path, paths: list[Path], classes: Sequence[str]) -> ImageFiles:
    """Names and labels of the pictures below a folder."""
    relative = [path.relative_to(folder) for path in paths]
    numbers = {name: number for number, name in enumerate(classes)}
    labels = torch.tensor([numbers[path.parts[0]] if classes else -1 for path in relative], dtype=torch.int64)
    stems = ["_".join(path.with_suffix("").parts) for path in relative]
    uses = Counter(stems)
    # photo.png and photo.jpg in one folder must not share a name.
    names = [stem if uses[stem] == 1 else f"{stem}_{path.suffix[1:].lower()}" for stem, path in zip(stems, relative, strict=True)]
    return ImageFiles(paths, names, labels)


def _select(found: ImageFiles, positions: Tensor) -> ImageFiles:
    chosen = positions.tolist()
    return ImageFiles(
        [found.paths[number] for number in chosen], [found.names[number] for number in chosen], found.labels[positions]
    )
