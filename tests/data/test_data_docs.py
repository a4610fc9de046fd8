from __future__ import annotations

import re
from pathlib import Path

import torch

from vqkit.data.opening import open_dataset
from vqkit.registry import DATASETS

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_data_set_of_the_documentation_works() -> None:
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[-1]
    try:
        exec(compile(example, str(PAGE), "exec"), {})
        images = open_dataset("stripes").split("train").batch(torch.arange(7)).images
    finally:
        DATASETS._entries.pop("stripes", None)
    assert images.shape == (7, 1, 16, 16)
    assert images[0, 0].eq(images[0, 0, :1]).all()
    assert images[0, 0, 0].tolist() == [255, 0] * 8


def test_every_setting_is_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, entry in DATASETS.entries().items():
        assert f"`{name}`" in page
        for setting in entry.part.Options.model_fields:
            assert f"`{setting}`" in page, f"{name}.{setting}"
