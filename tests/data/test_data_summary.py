from __future__ import annotations

from pathlib import Path

import numpy as np
from image_files import counts, save_components

from vqkit.data.components import ComponentDataset
from vqkit.data.opening import open_dataset
from vqkit.data.summary import describe_dataset


def test_components_of_one_kind_are_described_together() -> None:
    (line,) = describe_dataset(open_dataset("tyre"))
    assert line == ("5 binary components (group_nc, group_km, bt, fpu, tpc) of 64 x 32 (height x width): uint8, binary, 0 and 255.")


def test_files_and_each_component_are_described(tmp_path: Path) -> None:
    dna = counts(10, (6, 5))
    dna[:, 0, :2] = [0, 4095]
    save_components(tmp_path, {"dna": dna, "mask": [None, *(dna[1:] > 2000).astype(np.uint8)]})
    settings = {"transform": {"dna": "sqrt"}, "unit": {"dna": "counts"}, "nodata": {"dna": 65535}, "range": {"dna": [0.5, 4000]}}
    lines = describe_dataset(ComponentDataset(ComponentDataset.Options(path=str(tmp_path), **settings)))
    assert "one folder a component: dna, mask; 10 train images; 1 image has gaps: no mask in 1." in lines[0]
    assert lines[1:] == [
        "2 mixed components (dna, mask) of 6 x 5 (height x width).",
        "  dna   uint16, range 0.5 to 4000 counts, values 0 to 4095, sqrt, no data 65535",
        "  mask  uint8, binary, 0 and 1",
    ]
