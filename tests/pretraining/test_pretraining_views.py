"""What of an image is hidden from an encoder while it learns by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_pretraining_distributed import task_of
from torch import Tensor

from vqkit.interfaces import Batch
from vqkit.interfaces.methods import View
from vqkit.interfaces.tasks import TrainingState
from vqkit.pretraining.views import ViewParameters, apply_view, sample_parameters


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


def test_every_view_shows_something_of_what_is_present(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of("barlow-twins")
    task.views = task.views.model_copy(update={"kind": "components", "masked": 1.0})
    seen: list[Tensor] = []

    def note(*arguments: Any) -> View:
        view = apply_view(*arguments)
        seen.append(view.observed)
        return view

    monkeypatch.setattr("vqkit.training.tasks.pretraining.apply_view", note)
    present = torch.ones(40, 2, 1, 1, dtype=torch.bool)
    present[::2, 0], present[1::2, 1] = False, False
    batch = Batch(torch.rand(40, 2, 16, 24), torch.empty(40, 0), torch.full((40,), -1), present=present)
    task(batch, TrainingState(0, 0.0, 1.0))
    task.validate(batch, 0)
    assert len(seen) == 4
    for observed in seen:
        assert bool(observed.flatten(1).any(dim=1).all()), "a component that is absent is not what a masked view keeps"
        assert not bool((observed & ~present).any())
