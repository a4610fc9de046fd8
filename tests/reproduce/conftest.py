from __future__ import annotations

import pytest
from small_comparison import MODELS, Compared, CountingTrainer, tiny_preset

from vqkit.reproduce.comparing import reproduce


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """A finished comparison of two models with two seeds; do not change it."""
    folder = tmp_path_factory.mktemp("compared")
    preset, trainer = tiny_preset(folder), CountingTrainer()
    report = reproduce(preset, "tyre", MODELS, folder / "out", "cpu", "vqkit reproduce --preset tiny", 1, trainer)
    return Compared(folder / "out", preset, report, trainer.trained)
