"""What of an image is hidden from an encoder while it learns by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_pretraining_distributed import task_of

from vqkit.interfaces import Batch
from vqkit.interfaces.tasks import TrainingState
from vqkit.pretraining.views import ViewParameters, sample_parameters


def test_the_second_view_hides_more_and_more_and_the_first_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of("barlow-twins")
    shown: list[float] = []

    def note(*arguments: Any) -> ViewParameters:
        drawn = sample_parameters(*arguments)
        shown.append(drawn.observed.all(dim=(1, 2, 3)).float().mean().item())
        return drawn

    monkeypatch.setattr("vqkit.training.tasks.pretraining.sample_parameters", note)
    images = torch.rand(400, 2, 16, 24)
    for progress in (0.0, 1.0):
        task(Batch(images, torch.empty(400, 0), torch.full((400,), -1)), TrainingState(0, 0.0, progress))
    assert shown[:3] == [1.0, 1.0, 1.0]
    assert shown[3] == pytest.approx(1 - task.views.masked, abs=0.1)
