"""Training and validation on images with gaps: what counts is what is present, over all processes together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from poisoned import SPECS, Poisoned, PoisonedOptions
from processes import start_group
from vqkit.config import MaskingConfig, TrainingConfig
from vqkit.core.distributed import world_size
from vqkit.inference.postprocess import fill_missing
from vqkit.interfaces import Batch
from vqkit.interfaces.tasks import TrainingState
from vqkit.registry import MODELS
from vqkit.training.optimization import GuardedOptimizerStep, build_optimizer
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.tasks.masks import fixed_observed

SPEC = SPECS["floats"]
SMALL: dict[str, dict[str, Any]] = {
    "vqvae": {"hidden": 8, "inner": 8, "quantizer": {"num_codes": 16, "dim": 4, "reset_every": 2}, "codes_weight": 1.0},
    "vae": {"hidden": 8, "inner": 8, "latent_dim": 4},
    "vae-gan": {"hidden": 8, "inner": 8, "latent_dim": 4, "discriminator_channels": 8},
}
CPU = torch.device("cpu")


def task(name: str, **masking: object) -> AutoencoderTask:
    torch.manual_seed(0)
    return AutoencoderTask(MODELS.build(name, SMALL[name], SPEC), MaskingConfig.model_validate(masking), seed=0)


def images(indices: Tensor) -> Batch:
    return Poisoned(PoisonedOptions()).split("train").batch(indices).to(CPU, SPEC)


def row(subject: AutoencoderTask, sizes: list[int]) -> dict[str, float]:
    """What validation records of 24 images in batches of these sizes."""
    totals: dict[str, float] = {}
    for part in torch.arange(24).split(sizes):
        with torch.no_grad():
            for name, value in subject.eval().validate(images(part), int(part[0])).items():
                totals[name] = totals.get(name, 0.0) + float(value)
    return subject.validation_row(totals)


def test_validation_is_by_hand_over_what_is_present() -> None:
    subject, batch = task("vqvae", kind="components-or-boxes").eval(), images(torch.arange(24))
    assert batch.present is not None
    found = row(subject, [24])
    hidden = fixed_observed(batch, subject.masking, 0, 0)
    unknown = SPEC.unknown_conditions(24)
    for name, observed, judged in (("", batch.present, batch.present), ("_masked", hidden, batch.present & ~hidden)):
        with torch.no_grad():
            answer = subject.model.complete if name else subject.model.reconstruct
            expected = answer(batch.images, observed, unknown)
        squares = (expected - batch.images).double().square()
        each = [float(squares[image, [0, 2]][judged[image, [0, 2]]].mean()) for image in range(24) if judged[image, [0, 2]].any()]
        assert found[f"mse{name}"] == pytest.approx(sum(each) / len(each))
        assert found[f"psnr{name}"] == pytest.approx(-10 * math.log10(found[f"mse{name}"]))
        final = fill_missing(expected, batch.images, batch.present & ~judged, SPEC)
        overlaps = []
        for image in range(24):
            where = judged[image, 1]
            first, second = ((each[image, 1] >= 0.5) & where for each in (final, batch.images))
            if where.any():
                overlaps.append(float((first & second).sum()) / float((first | second).sum()) if (first | second).any() else 1.0)
        assert found[f"iou{name}"] == pytest.approx(sum(overlaps) / len(overlaps))
    assert len(overlaps) < 24, "some images have nothing of the shape to judge"


@pytest.mark.parametrize("name", ["vqvae", "vae"])
def test_the_loss_of_a_split_is_a_mean_over_its_present_pixels(name: str) -> None:
    subject = task(name)
    whole = row(subject, [24])
    for sizes in ([10, 10, 4], [1] * 24):
        parts = row(subject, sizes)
        assert parts["recon"] == pytest.approx(whole["recon"], rel=1e-5)
        assert parts["recon_masked"] == pytest.approx(whole["recon_masked"], rel=1e-5)
        assert parts["mse_masked"] == pytest.approx(whole["mse_masked"], rel=1e-5)
        if name == "vqvae":
            assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_a_figure_that_no_image_has_is_not_recorded() -> None:
    subject = task("vqvae").eval()
    batch = images(torch.arange(4))
    present = torch.zeros_like(batch.images, dtype=torch.bool)
    present[:, 1] = True
    with torch.no_grad():
        sums = subject.validate(batch._replace(present=present), 0)
    found = subject.validation_row({name: float(value) for name, value in sums.items()})
    assert "iou" in found
    assert not {"mse", "psnr", "mse_masked", "iou_masked"} & found.keys(), "a single component is kept whole"
    assert math.isfinite(found["loss"])


def test_images_that_hold_one_component_are_shown_it() -> None:
    subject = task("vqvae", warmup_epochs=0, max_probability=1.0)
    batch = images(torch.arange(8))
    present = torch.zeros_like(batch.images, dtype=torch.bool)
    present[:, 2] = True
    assert torch.equal(fixed_observed(batch._replace(present=present), subject.masking, 0, 0), present)


def trained(name: str, part: slice = slice(None)) -> dict[str, Tensor]:
    """Recorded scalars, gradients and at last the state after four steps on a part of every batch of eight."""
    # So few masked samples that a process has none of them in some step.
    subject = task(name, warmup_epochs=0, max_probability=0.4, kind="components-or-boxes")
    groups = subject.optimizer_groups()
    optimizer = build_optimizer(groups, TrainingConfig(learning_rate=1e-3))
    step = GuardedOptimizerStep(optimizer, groups, clip_norm=1.0, device=CPU)
    forward = DistributedDataParallel(subject, broadcast_buffers=False) if world_size() > 1 else subject
    recorded: dict[str, Tensor] = {}
    for number in range(4):
        # Sorted by what is missing, so that the first half of a batch has far less than the second.
        order = images(torch.arange(6 * number, 6 * number + 6)).observed.flatten(1).sum(1).argsort() + 6 * number
        output = forward(images(order[part]), TrainingState(number, 1.0))
        optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        gradients = [parameter.grad.flatten() for parameter in subject.parameters() if parameter.grad is not None]
        recorded[f"gradient{number}"] = torch.cat(gradients)
        step()
        recorded |= {f"{scalar}{number}": value for scalar, value in output.scalars.items()}
    return {**recorded, **{f"state.{key}": value for key, value in subject.state_dict().items()}}


def worker(rank: int, folder: str) -> None:
    for name in SMALL:
        save_file(trained(name, slice(3 * rank, 3 * rank + 3)), f"{folder}/{name}-{rank}.safetensors")


def test_two_processes_that_hold_different_numbers_of_pixels_equal_one(tmp_path: Path) -> None:
    """Losses, gradients, weights and codebooks (started by k-means, updated, and reset), up to rounding."""
    counts = images(torch.arange(6)).observed.flatten(1).sum(1).sort().values
    assert counts[:3].sum() < 0.8 * counts[3:].sum()
    start_group(worker, tmp_path)
    for name in SMALL:
        first, second = (load_file(tmp_path / f"{name}-{rank}.safetensors") for rank in (0, 1))
        for key, expected in trained(name).items():
            if key.startswith("active"):  # counted within a process's share
                continue
            alike = key.startswith(("state", "gradient"))
            if alike:
                assert torch.equal(first[key], second[key]), key
            joined = first[key] if alike else (first[key] + second[key]) / 2
            torch.testing.assert_close(joined, expected, rtol=1e-3, atol=1e-4, msg=f"{name}: {key} differs from one process")
