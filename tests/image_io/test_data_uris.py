"""Pictures inside of a page: small, and near enough to what they show."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.image_io.data_uris import data_uri


def _opened(address: str) -> tuple[str, Image.Image]:
    head, content = address.split(",", 1)
    return head, Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.fixture
def photograph() -> Image.Image:
    """Smooth shades with some grain, as of a camera."""
    rows, columns = np.mgrid[0:64, 0:256]
    shades = np.stack([rows * 3, columns * 0.8, 255 - rows * 2], axis=-1)
    grain = 3 * torch.randn(*shades.shape, generator=torch.Generator().manual_seed(0)).numpy()
    return Image.fromarray((shades + grain).clip(0, 255).astype(np.uint8))


def test_a_photograph_is_a_small_jpeg_that_looks_the_same(photograph: Image.Image) -> None:
    address = data_uri(photograph)
    head, shown = _opened(address)
    without_loss = io.BytesIO()
    photograph.save(without_loss, format="PNG", optimize=True)
    assert head == "data:image/jpeg;base64"
    assert len(address) < len(without_loss.getvalue()) / 2
    errors = np.asarray(shown, dtype=float) - np.asarray(photograph, dtype=float)
    assert np.sqrt((errors**2).mean()) < 4


def test_a_drawing_stays_without_loss() -> None:
    drawing = np.zeros((32, 128, 3), dtype=np.uint8)
    drawing[8:24, 16:112] = (200, 30, 60)
    head, shown = _opened(data_uri(Image.fromarray(drawing)))
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(shown), drawing)
