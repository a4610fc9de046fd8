"""`images`: any directory of images that lie in one file each: photographs, or stacks of channels.

ROOT/**/*.{png,jpg,tif,...}                      one set
ROOT/{class}/**/*                                one set with classes
ROOT/{train,val,test}/[{class}/]**/*             given splits; val and test are optional
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqkit.data.arranging import ImageFiles, in_one_file
from vqkit.data.augmentation import Flip
from vqkit.data.file_settings import FileSettings
from vqkit.data.files import FileDataset
from vqkit.data.headers import FileHeader
from vqkit.image_io.layouts import FoundImage, FoundSet, find_images
from vqkit.image_io.tables import ConditionTable
from vqkit.registry import DATASETS


@DATASETS.register("images")
class ImageFolderDataset(FileDataset):
    """Images from a directory, one file each. Unreadable ones are skipped; one warning counts them and names the first."""

    class Options(FileSettings):
        """Settings of `images`."""

        flip: Flip = True

    skips_damaged = True

    def find(self, root: Path, options: FileSettings, table: ConditionTable | None) -> FoundSet:
        """See `FileDataset.find`."""
        return find_images(root, options.pattern, table=table, one_file=True)

    def arrange(self, found: Sequence[FoundImage], headers: dict[Path, FileHeader]) -> tuple[tuple[str, ...], list[ImageFiles]]:
        """See `FileDataset.arrange`."""
        return in_one_file(found, headers, self._options.components, self._root)
