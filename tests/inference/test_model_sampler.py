"""New images from a model with a prior of its own, whose answers are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from painting import COLOUR, SHAPES
from vqkit.config import NamedOptions, Settings
from vqkit.errors import CheckpointError, ConfigError
from vqkit.inference.model_sampler import ModelSampler, draws_by_itself, load_model_sampler
from vqkit.interfaces import DataSpec, Reconstruction
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.interfaces.priors import Sampling
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded, write_model


class Numbered(GenerativeAutoencoder):
    """Every pixel of a sample is a twentieth of its number and its seed, times the temperature; width_px / 100 if that is known."""

    Options = Settings
    likelihood = "bernoulli"

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(Settings(), spec)
        self.scale = torch.nn.Parameter(torch.tensor(0.05))
        self.batches: list[int] = []

    def sample(self, conditions: Tensor, seed: int = 0, first: int = 0, temperature: float = 1.0) -> Tensor:
        self.batches.append(len(conditions))
        values = (torch.arange(first, first + len(conditions)) + seed) * self.scale * temperature
        if conditions.shape[1]:
            values = torch.where(conditions[:, 0].isnan(), values, conditions[:, 0] / 100)
        return values[:, None, None, None].expand(-1, len(self.spec.components), self.spec.height, self.spec.width)

    def log_weights(self, images: Tensor, conditions: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        raise NotImplementedError

    def forward(self, *_: object) -> Reconstruction:
        raise NotImplementedError

    def mean(self, logits: Tensor) -> Tensor:
        return logits


def ready(spec: DataSpec = SHAPES) -> ModelSampler:
    model = Numbered(spec).eval()
    return ModelSampler(model, Loaded(model, Path("runs/vae/model.safetensors"), "e" * 64, NamedOptions(name=spec.name), {}))


def test_samples_are_numbered_through_all_batches() -> None:
    sampler = ready(COLOUR)
    whole = sampler.sample(5)
    assert whole.expected[:, 0, 0, 0].tolist() == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert whole.images[:, 1, 2, 3].tolist() == [0, 13, 26, 38, 51]
    parts, done = sampler.sample(5, batch_size=2, advance=(advanced := []).append), [2, 2, 1]
    assert torch.equal(parts.images, whole.images) and advanced == done
    assert isinstance(sampler.model, Numbered) and sampler.model.batches == [5, 2, 2, 1]
    assert sampler.sample(1, first=3).expected[0, 0, 0, 0] == pytest.approx(0.15)


def test_seed_and_temperature_reach_the_model() -> None:
    drawn = ready(COLOUR).sample(2, sampling=Sampling(temperature=0.5, seed=4))
    assert drawn.expected[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.125])
    assert ready().origin(Sampling(temperature=0.5, seed=4)) == {
        "model": "runs/vae/model.safetensors",
        "model_digest": "e" * 64,
        "sampling": {"temperature": 0.5, "seed": 4},
    }


def test_conditions_of_all_or_of_each_and_settled_images() -> None:
    drawn = ready().sample(2, {"width_px": [30.0, 70.0]})
    assert drawn.expected[:, 0, 0, 0].tolist() == pytest.approx([0.3, 0.7])
    # The components exclude each other: 0.7 in all of them is one of them, 0.3 too, because "none" is less probable.
    assert drawn.images.sum(dim=1).unique().tolist() == [255]
    assert drawn.conditions.tolist() == [[30], [70]] and drawn.labels.tolist() == [-1, -1] and drawn.codes == ()
    with pytest.warns(UserWarning, match="width_px 130 is outside the range that the model was trained with, 0 to 100"):
        ready().sample(1, {"width_px": 130})


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(top_k=3), "has no codes, so top-k cannot be used"),
        (Sampling(top_p=0.9), "top-p cannot be used"),
        (Sampling(guidance_scale=2), "a guidance scale cannot be used"),
        (Sampling(method="naive"), "the method naive cannot be used"),
        (Sampling(temperature=(1.0, 0.9)), "several temperatures cannot be used"),
    ],
)
def test_settings_of_codes_are_refused(sampling: Sampling, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ready().sample(1, sampling=sampling)


def test_what_a_model_cannot_be_told() -> None:
    with pytest.raises(ConfigError, match="0 samples were requested"):
        ready().sample(0)
    with pytest.raises(ConfigError, match="was not trained with classes"):
        ready().sample(1, labels="cat")
    with pytest.raises(ConfigError, match="no condition 'width'"):
        ready().sample(1, {"width": 3})
    with pytest.raises(ConfigError, match="data without conditions"):
        ready(COLOUR).sample(1, {"width_px": 3})


def test_which_runs_draw_by_themselves(tmp_path: Path, tiny_run: Path, tiny_prior_run: Path) -> None:
    options = {"hidden": 8, "inner": 4, "latent_dim": 4}
    for name in ("vae", "autoencoder"):
        model = MODELS.build(name, options, SHAPES)
        (tmp_path / name).mkdir()
        write_model(tmp_path / name / "model.safetensors", model, NamedOptions(name="tyre"))
    assert draws_by_itself(tmp_path / "vae")
    others = (None, tmp_path / "autoencoder", tmp_path / "nothing", tiny_run, tiny_prior_run)
    assert not any(draws_by_itself(run) for run in others)
    assert load_model_sampler(tmp_path / "vae", "cpu").sample(2).images.shape == (2, 3, 8, 12)
    with pytest.raises(CheckpointError, match="of the kind autoencoder, which has no prior of its own"):
        load_model_sampler(tmp_path / "autoencoder", "cpu")
