"""What the task shows the model, and what it records."""

from __future__ import annotations

import pytest
import torch

from small_runs import TINY
from vqkit.config import MaskingConfig
from vqkit.core.randomness import generator_for
from vqkit.interfaces import Autoencoder, Batch, ConditionSpec, DataSpec, Reconstruction, fully_observed
from vqkit.interfaces.tasks import TrainingState
from vqkit.registry import MODELS
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.tasks.gains import sees_context
from vqkit.training.tasks.masks import fixed_observed, resolve_mask_kind

SPEC = DataSpec.uniform("toy", ("a", "b", "c"), 16, 8, "binary", conditions=(ConditionSpec("w", 0, 1, 0.5, 0.3),))


def task(**masking: object) -> AutoencoderTask:
    torch.manual_seed(0)
    options = {name: value for name, value in TINY["model"].items() if name != "name"}
    return AutoencoderTask(MODELS.build("vqvae", options, SPEC), MaskingConfig.model_validate(masking), seed=0)


def latent_model(name: str) -> Autoencoder:
    torch.manual_seed(0)
    model: Autoencoder = MODELS.build(name, {"hidden": 8, "inner": 4, "latent_dim": 4}, SPEC)
    return model


def batch(count: int = 400) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, 16, 8, generator=generator).round()
    return Batch(images, torch.rand(count, 1, generator=generator), torch.full((count,), -1))


class Spy(torch.nn.Module):
    """Keeps what the model was shown."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.inside = model

    def forward(
        self,
        images: torch.Tensor,
        observed: torch.Tensor,
        conditions: torch.Tensor,
        generator: torch.Generator,
        present: torch.Tensor | None,
        shown: torch.Tensor | None,
    ) -> Reconstruction:
        self.observed, self.conditions = observed, conditions
        result: Reconstruction = self.inside(images, observed, conditions, generator, present, shown)
        return result


def shown(state: TrainingState, **masking: object) -> Spy:
    subject = task(**masking)
    spy = Spy(subject.model)
    subject.model = spy  # type: ignore[assignment]
    subject(batch(), state)
    return spy


def test_the_masked_share_grows_to_its_maximum() -> None:
    def share(epoch: float) -> float:
        observed = shown(TrainingState(3, epoch), max_probability=0.7, warmup_epochs=20, decoder_only=0).observed
        return float((~observed.all(dim=3).all(dim=2)).any(dim=1).float().mean())

    assert share(0) == 0
    assert abs(share(10) - 0.35) < 0.07
    assert abs(share(20) - 0.7) < 0.07
    assert abs(share(200) - 0.7) < 0.07


def test_without_a_context_every_masked_sample_is_masked() -> None:
    """Where only a decoder without a view of it would be shown a part, nothing would be hidden."""
    for name, options in (("unet", {}), ("vqvae", {"context": False}), ("vqvae", {})):
        model = MODELS.build(name, {"hidden": 16, "inner": 16, **options}, SPEC)
        subject = AutoencoderTask(model, MaskingConfig(max_probability=1.0, warmup_epochs=0), seed=0)
        subject.model = spy = Spy(model)  # type: ignore[assignment]
        subject(batch(64), TrainingState(0, 1.0))
        masked = ~spy.observed.flatten(1).all(dim=1)
        assert bool(masked.all()) == (not sees_context(model))


def test_conditions_are_hidden_from_some() -> None:
    assert abs(float(shown(TrainingState(3, 30), hide_conditions=0.25).conditions.isnan().float().mean()) - 0.25) < 0.07
    assert not shown(TrainingState(3, 30), hide_conditions=0).conditions.isnan().any()


def test_steps_differ_and_the_same_step_is_the_same() -> None:
    assert torch.equal(shown(TrainingState(3, 30)).observed, shown(TrainingState(3, 30)).observed)
    assert not torch.equal(shown(TrainingState(3, 30)).observed, shown(TrainingState(4, 30)).observed)


def test_the_loss_is_the_sum_of_its_parts_and_codes_are_counted() -> None:
    output = task()(batch(20), TrainingState(0, 0))
    parts = sum(output.scalars[name] for name in ("recon", "vq", "commit"))
    torch.testing.assert_close(output.loss.detach(), parts)
    assert output.counts["codes"].sum() == 20 * 4 * 2


def test_validation_sums_do_not_depend_on_the_batches() -> None:
    subject = task(keep="one").eval()
    whole = batch(8)
    with torch.no_grad():
        at_once = subject.validate(whole, 0)
        parts = [subject.validate(Batch(*(tensor[i : i + 4] for tensor in whole[:3])), i) for i in (0, 4)]
    torch.testing.assert_close(parts[0]["mse"] + parts[1]["mse"], at_once["mse"])
    assert float(at_once["count"]) == 8
    row = subject.validation_row({name: float(value) for name, value in at_once.items()})
    assert row["mse"] == float(at_once["mse"]) / 8
    assert row["loss"] == row["recon"] + row["recon_masked"]


def test_a_model_with_a_prior_of_its_own_is_judged_by_all_that_it_minimises() -> None:
    model = latent_model("vae")
    model.head[3].bias.data.fill_(2.0)  # type: ignore[index, union-attr, operator]  # a posterior far from the prior
    subject = AutoencoderTask(model, MaskingConfig(), seed=0).eval()
    whole = batch(8)
    unknown = subject.model.spec.unknown_conditions(len(whole.images))
    views = fully_observed(whole.images), fixed_observed(whole, subject.masking, 0, 4)
    with torch.no_grad():
        sums = subject.validate(whole, 4)
        minimised = [
            float(subject.model(whole.images, view, unknown, generator_for(0, "validation draws", 4), shown=context).total_loss)
            for view, context in zip(views, (None, views[1]), strict=True)
        ]
        seen = float(subject.model(whole.images, views[0], unknown).reconstruction_loss)
    row = subject.validation_row({name: float(value) for name, value in sums.items()})
    assert row["loss"] == pytest.approx(sum(minimised))
    assert row["recon"] == pytest.approx(seen)  # as before: of the posterior's mean
    assert row["loss"] > 1.01 * (row["recon"] + row["recon_masked"])
    assert not any(name.startswith("loss_") for name in row)


def test_a_model_without_a_prior_is_judged_by_its_errors() -> None:
    subject = AutoencoderTask(latent_model("autoencoder"), MaskingConfig(), seed=0).eval()
    with torch.no_grad():
        sums = subject.validate(batch(8), 0)
    row = subject.validation_row({name: float(value) for name, value in sums.items()})
    assert row["loss"] == row["recon"] + row["recon_masked"]


def test_a_model_that_is_never_masked_is_not_judged_by_holes() -> None:
    subject = task(max_probability=0).eval()
    with torch.no_grad():
        sums = subject.validate(batch(4), 0)
    row = subject.validation_row({name: float(value) for name, value in sums.items()})
    assert row["loss"] == row["recon"]
    assert not any(name.endswith("_masked") for name in row)


def test_something_is_always_hidden_when_filling_in_is_judged() -> None:
    shown = batch(50)
    images = shown.images
    for kind in ("components", "boxes", "free-form", "half", "mixed"):
        observed = fixed_observed(shown, MaskingConfig(kind=kind), 0, 0)  # type: ignore[arg-type]
        assert observed.shape == images.shape
        assert bool((~observed).flatten(1).any(dim=1).all())
        assert bool(observed.flatten(1).any(dim=1).all())


def test_automatic_masking_hides_components_or_boxes() -> None:
    one = DataSpec.uniform("grey", ("grey",), 16, 8, "intensity")
    assert resolve_mask_kind(MaskingConfig(), SPEC).kind == "components"
    assert resolve_mask_kind(MaskingConfig(), one).kind == "boxes"
    assert resolve_mask_kind(MaskingConfig(kind="half"), SPEC).kind == "half"
