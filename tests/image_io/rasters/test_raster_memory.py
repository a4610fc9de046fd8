from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STREAMING = """
import json, resource, sys
from pathlib import Path
import numpy as np
from vqkit.image_io.rasters import RasterInfo, FileTags, RasterWriter, Window, open_raster

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

def stream(path, size, like):
    with RasterWriter(path, like, 3, size, size, np.uint16) as writer:
        for top in range(0, size, 250):
            band = np.empty((3, 250, size), np.uint16)
            band[:] = np.arange(top, top + 250)[:, None]
            writer.write(Window(top, 0, 250, size), band)
    with open_raster(path) as raster:
        for top in range(0, size, 250):
            values, present = raster.read(Window(top, 0, 250, size))
            assert present is None and (values == np.arange(top, top + 250)[:, None]).all()
        assert raster.read(Window(17, 0, size - 17, 3), [1]).values[0, -1, 0] == size - 1

path, kind, layout, compressed = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "compressed"
like = RasterInfo(path, kind, 3, 500, 500, np.dtype(np.uint16), tags=FileTags(layout=layout, compressed=compressed))
stream(path, 500, like)  # everything is imported
before = peak()
stream(path, 5000, like)
print(json.dumps({"megabytes": peak() - before}))
"""


@pytest.mark.parametrize(
    ("name", "kind", "layout", "storage"),
    [
        ("a.npy", "NumPy array", "planar", "plain"),
        ("a.tif", "TIFF", "interleaved", "plain"),
        ("a.tif", "OME-TIFF", "pages", "plain"),
        ("a.tif", "TIFF", "planar", "compressed"),
        ("a.tif", "GeoTIFF", "interleaved", "compressed"),
        ("a.zarr", "OME-Zarr", "pages", "compressed"),
    ],
)
def test_huge_images_are_read_and_written_in_bounded_memory(
    tmp_path: Path, name: str, kind: str, layout: str, storage: str
) -> None:
    """150 MB go through a part of their size; a band of 250 rows has 7.5 MB."""
    for format_, package in (("GeoTIFF", "rasterio"), ("OME-Zarr", "zarr")):
        if kind == format_:
            pytest.importorskip(package)
    command = [sys.executable, "-W", "ignore", "-c", STREAMING, str(tmp_path / name), kind, layout, storage]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    limit = 110 if kind in ("GeoTIFF", "OME-Zarr") else 60  # GDAL keeps blocks in memory; zarr decodes chunks side by side
    assert json.loads(done.stdout)["megabytes"] < limit
