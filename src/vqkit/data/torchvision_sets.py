"""torchvision's CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST and CelebA by name, downloaded on first use.

Downloads go to a temporary folder and are moved when they are complete, so a failed download leaves nothing behind.
"""

from __future__ import annotations

import errno
import http.client
import shutil
import tarfile
import tempfile
import zipfile
from abc import abstractmethod
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vqkit.config import Settings
from vqkit.core import distributed
from vqkit.core.torchvision_import import import_torchvision
from vqkit.data.arranging import colour_pictures
from vqkit.data.augmentation import Augmentation, Crop, Flip
from vqkit.data.image_reading import ImageReader, Scaling
from vqkit.data.splits import ArraySplit, SplitPlan, ValidationShare
from vqkit.data.tiled import FileSource, ImageFacts, TiledSplit
from vqkit.errors import DataError
from vqkit.image_io.values import channel_names
from vqkit.interfaces import DataSpec, ImageDataset, SplitName
from vqkit.registry import DATASETS

_LOCAL_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS})

# What torchvision raises for files that are not there, and for files that are cut off.
_MISSING_OR_DAMAGED = (RuntimeError, ValueError, AssertionError, EOFError)


class TorchvisionDataset(ImageDataset):
    """A data set that torchvision can download, with the class of the same name. `title`: name shown to users."""

    title: ClassVar[str]

    class Options(Settings):
        """Settings of all torchvision data sets."""

        root: str = Field("data", description="Directory of the files; missing ones are downloaded to it.")
        flip: Flip = True
        crop: Crop = 0

    def __init__(self, options: Options) -> None:
        self._options = options
        self._root = Path(options.root).expanduser()
        self._parts: dict[str, Any] = {}
        if distributed.is_main():
            self._part("test")  # one process downloads while the others wait
        distributed.barrier()

    @abstractmethod
    def _arguments(self, part: str) -> dict[str, Any]:
        """Arguments of the torchvision class for the part train, val or test."""

    def _part(self, name: str) -> Any:
        """The torchvision data set of one part, downloaded if missing. Raises `DataError` if that fails."""
        if name not in self._parts:
            constructor = getattr(import_torchvision().datasets, type(self).__name__)
            arguments = self._arguments(name)
            try:
                self._parts[name] = constructor(self._root, **arguments)
            except _MISSING_OR_DAMAGED:
                self._download(constructor, arguments)
                self._parts[name] = constructor(self._root, **arguments)
        return self._parts[name]

    def _download(self, constructor: Any, arguments: dict[str, Any]) -> None:
        is_new = not self._root.exists()
        self._root.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=".download-", dir=self._root) as folder:
                constructor(folder, **arguments, download=True)
                for item in Path(folder).iterdir():
                    shutil.rmtree(self._root / item.name, ignore_errors=True)
                    item.replace(self._root / item.name)
        except (OSError, *_MISSING_OR_DAMAGED, http.client.HTTPException, tarfile.TarError, zipfile.BadZipFile) as error:
            if isinstance(error, OSError) and error.errno in _LOCAL_FAULTS:
                raise
            if is_new:
                with suppress(OSError):
                    self._root.rmdir()
            reason = str(getattr(error, "reason", error)).strip().splitlines() or [type(error).__name__]
            raise DataError(
                f"{self.title} is not in {self._root}/ and cannot be downloaded: {reason[0].rstrip('.')}.",
                "Connect to the network, or set data.root to a directory with torchvision's files.",
            ) from error


class _InMemory(TorchvisionDataset):
    """A data set whose torchvision class stores all images as one array."""

    class Options(TorchvisionDataset.Options):
        """Settings of the data sets without validation images of their own."""

        validation_share: ValidationShare = 0.05

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._validation_share = options.validation_share

    def _arguments(self, part: str) -> dict[str, Any]:
        return {"train": part == "train"}

    @cached_property
    def spec(self) -> DataSpec:
        """Channels, size and classes."""
        images, classes = self._images("test"), tuple(str(name) for name in self._part("test").classes)
        channels, height, width = images.shape[1:]
        return DataSpec.uniform(self.title, channel_names(channels), height, width, "intensity", classes=classes)

    def split(self, name: SplitName) -> ArraySplit:
        """One split; validation images are a fixed share of the training images."""
        counts = {part: len(self._part(part).targets) for part in ("train", "test")}
        source, positions = SplitPlan(counts, self._validation_share, self.title).of(name)
        labels = torch.as_tensor(self._part(source).targets)[positions]
        names = [f"{source}_{number:05d}" for number in positions.tolist()]
        augmentation = Augmentation(self._options.flip, self._options.crop).of(name)
        return ArraySplit(self.spec, self._images(source)[positions], labels=labels, names=names, augmentation=augmentation)

    def _images(self, part: str) -> Tensor:
        """The images of a part, uint8 [N, C, H, W]."""
        data = torch.as_tensor(np.asarray(self._part(part).data))
        return data[:, None] if data.ndim == 3 else data.permute(0, 3, 1, 2).contiguous()


@DATASETS.register("cifar10")
class CIFAR10(_InMemory):
    """CIFAR-10 (Krizhevsky, 2009)."""

    title = "CIFAR-10"


@DATASETS.register("cifar100")
class CIFAR100(_InMemory):
    """CIFAR-100 (Krizhevsky, 2009)."""

    title = "CIFAR-100"


@DATASETS.register("mnist")
class MNIST(_InMemory):
    """MNIST (LeCun et al., 1998)."""

    title = "MNIST"

    class Options(_InMemory.Options):
        """Settings of `mnist`."""

        flip: bool = Field(
            False, description="Mirror half of the training images left to right, which changes what most digits are."
        )


@DATASETS.register("fashion-mnist")
class FashionMNIST(_InMemory):
    """Fashion-MNIST (Xiao et al., 2017)."""

    title = "Fashion-MNIST"


@DATASETS.register("celeba")
class CelebA(TorchvisionDataset):
    """CelebA (Liu et al., 2015) with its official splits, scaled and centre-cropped to a square."""

    title = "CelebA"

    class Options(TorchvisionDataset.Options):
        """Settings of `celeba`."""

        size: int = Field(64, ge=1, description="Height and width in pixels.")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._size = options.size

    @property
    def spec(self) -> DataSpec:
        """Colour pictures of the chosen size."""
        return DataSpec.uniform(self.title, channel_names(3), self._size, self._size, "intensity")

    def split(self, name: SplitName) -> TiledSplit:
        """One of CelebA's official splits, decoded batch by batch."""
        files = [self._root / "celeba" / "img_align_celeba" / file for file in self._part(name).filename]
        reader = ImageReader(["uint8"] * 3, [False] * 3, [None] * 3, Scaling(self._size, self._size, smooth=True))
        facts = ImageFacts([file.stem for file in files], torch.empty(len(files), 0), torch.full((len(files),), -1))
        source = FileSource(reader, colour_pictures(files))
        return TiledSplit(self.spec, source, facts, augmentation=Augmentation(self._options.flip, self._options.crop).of(name))

    def _arguments(self, part: str) -> dict[str, Any]:
        return {"split": {"val": "valid"}.get(part, part)}
