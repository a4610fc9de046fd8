from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from vqkit.image_io.files import quiet_pillow, read_all
from vqkit.image_io.rasters import open_raster


def first_value(path: Path) -> int:
    with open_raster(path) as raster:
        return int(raster.read().values[0, 0, 0])


def test_many_are_read_in_order_and_errors_are_kept(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((2, 2), number, dtype=np.uint8)).save(path)
    paths[4].write_text("nothing")
    contents, errors = read_all(paths, first_value)
    assert contents == [0, 1, 2, 3, None, 5, 6, 7, 8]
    assert len(errors) == 1 and "4.png" in str(errors[0])


def test_pillow_does_not_warn_of_what_is_an_error_here() -> None:
    with warnings.catch_warnings(record=True) as caught, quiet_pillow():
        warnings.filterwarnings("always", module="vqkit")
        warnings.warn_explicit("corrupt", UserWarning, "x.py", 1, module="PIL.TiffImagePlugin")
        warnings.warn_explicit("kept", UserWarning, "x.py", 1, module="vqkit.other")
    assert [str(each.message) for each in caught] == ["kept"]
