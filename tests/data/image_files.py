"""Small image files for tests of data sets, most of them .npy: values as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqkit.interfaces import Split


def counts(count: int, size: tuple[int, int], dtype: str = "uint16", low: int = 0, high: int = 4096, seed: int = 0) -> np.ndarray:
    """Random whole numbers [count, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (count, *size), generator=generator).numpy().astype(dtype)


def save_components(root: Path, components: Mapping[str, Sequence[np.ndarray | None]], split: str = "train") -> None:
    """A folder for each component, of .npy files; None for a file that is not there."""
    for name, images in components.items():
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            if image is not None:
                np.save(folder / f"cell{number}_{name}.npy", image)


def everything(split: Split) -> tuple[np.ndarray, Tensor | None]:
    """All images of a split as they are stored, and what is present of them."""
    batch = split.batch(torch.arange(len(split)))
    return batch.images.numpy(), batch.present


def by_name(split: Split) -> dict[str, Any]:
    """The images of a split by their names."""
    return dict(zip(split.names(torch.arange(len(split))), everything(split)[0], strict=True))
