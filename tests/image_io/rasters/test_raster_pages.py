"""Pages of a TIFF that were written by one call each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from raster_samples import check_windows, read, values

from vqkit.errors import DataError
from vqkit.image_io.rasters import open_raster


@pytest.mark.parametrize("settings", [{}, {"compression": "zlib"}, {"metadata": {"axes": "YX"}}, {"tile": (16, 16)}])
def test_pages_written_one_by_one_are_channels(tmp_path: Path, settings: dict[str, Any]) -> None:
    array = values((3, 20, 30), np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in array:
            writer.write(page, **settings)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").values, array)
    check_windows(tmp_path / "a.tif")


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_planes_written_one_by_one_that_are_no_channels_are_refused(tmp_path: Path, axes: str) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in values((2, 1, 20, 30), np.uint16):
            writer.write(page, metadata={"axes": axes})
    with pytest.raises(DataError, match=r"holds 2 images .* where one is expected.*The file says that they are no channels"):
        open_raster(tmp_path / "a.tif")
