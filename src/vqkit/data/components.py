"""`components`: images whose components lie in files of their own, such as the EPURE tyre sections, stains or bands.

ROOT/{train,val,test}/{component}/{name}.tif    and other layouts (see `vqkit.image_io.layouts`); train, val and test are optional
ROOT/performances.csv                           optional: numbers that describe each image
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqkit.data.arranging import ImageFiles, apart
from vqkit.data.file_settings import FileSettings
from vqkit.data.files import FileDataset
from vqkit.data.headers import FileHeader
from vqkit.errors import DataError
from vqkit.image_io.layouts import FoundImage, FoundSet, find_images
from vqkit.image_io.tables import ConditionTable
from vqkit.registry import DATASETS


@DATASETS.register("components")
class ComponentDataset(FileDataset):
    """Multi-component images, one file a component. A component without a file is absent from that image."""

    class Options(FileSettings):
        """Settings of `components`."""

    skips_damaged = False

    def find(self, root: Path, options: FileSettings, table: ConditionTable | None) -> FoundSet:
        """See `FileDataset.find`. Raises `DataError` when no component has files of its own."""
        found = find_images(root, options.pattern, options.components, table=table)
        if not found.components:
            example = "dna/cell_1.tif and actin/cell_1.tif, or cell_1_dna.tif and cell_1_actin.tif"
            raise DataError(
                f"There are no components in {root}: {found.summary}",
                f"Expected a file for each component, such as {example}, or a data.pattern that names {{component}}.",
            )
        return found

    def arrange(self, found: Sequence[FoundImage], headers: dict[Path, FileHeader]) -> tuple[tuple[str, ...], list[ImageFiles]]:
        """See `FileDataset.arrange`."""
        return self._set.components, apart(found, self._set.components, headers)
