"""New images from an autoencoder with a prior of its own, such as a VAE; beside `vqkit.inference.sampler`, for priors over codes.

    sampler = load_model_sampler("runs/vae")
    images = sampler.sample(16, {"width_px": 58}).images

A sample depends on the seed, its number and its conditions, and not on the batch size. Latents are drawn; an image is the decoder's
expectation given the latents, without further noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.core.memory import map_batches
from vqkit.core.precision import choose_device
from vqkit.errors import CheckpointError, ConfigError
from vqkit.inference.image_sampler import ImageSampler, Labels, Samples, warn_outside_range
from vqkit.inference.pipeline import BATCH_SIZE, Conditions, condition_rows
from vqkit.inference.postprocess import to_stored
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Advance, Sampling
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded, load_model, read_header
from vqkit.storage.runs import locate


def draws_by_itself(run: str | Path | None) -> bool:
    """Whether a run exists and its model has a prior of its own."""
    if run is None:
        return False
    try:
        header = read_header(locate(run))
    except CheckpointError:
        return False
    return header.get("kind") == "model" and issubclass(MODELS.get(header["name"]), GenerativeAutoencoder)


def load_model_sampler(run: str | Path | None = None, device: str = "auto") -> ModelSampler:
    """A sampler for a trained model with a prior of its own; `run` is as for `load_model`.

    Raises `CheckpointError` as `load_model` does, and for a model without such a prior.
    """
    loaded = load_model(run, choose_device(device))
    if not isinstance(loaded.model, GenerativeAutoencoder):
        name = loaded.header.get("name", type(loaded.model).__name__)
        raise CheckpointError(
            f"The model in {loaded.path} is of the kind {name}, which has no prior of its own.",
            "Name a run of one that has, such as vae; for a VQ model, train a prior with: vqkit train-prior",
        )
    return ModelSampler(loaded.model, loaded)


class ModelSampler(ImageSampler):
    """A model with a prior of its own, such as a VAE; see `ImageSampler`."""

    def __init__(self, model: GenerativeAutoencoder, loaded: Loaded) -> None:
        super().__init__(model.spec, loaded.path, loaded.digest, loaded.data)
        self.model = model

    @property
    def condition_names(self) -> tuple[str, ...]:
        """See `ImageSampler.condition_names`."""
        return self.spec.condition_names

    @property
    def classes(self) -> tuple[str, ...]:
        """See `ImageSampler.classes`: none."""
        return ()

    def sample(
        self,
        num_samples: int,
        conditions: Conditions | None = None,
        labels: Labels | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        batch_size: int | None = None,
        advance: Advance | None = None,
        first: int = 0,
    ) -> Samples:
        """See `ImageSampler.sample`. Settings other than the temperature and the seed raise `ConfigError`: there are no codes."""
        if num_samples < 1:
            raise ConfigError(f"{num_samples} samples were requested.", "Ask for at least one.")
        if labels is not None:
            raise ConfigError(f"The model {self.path} was not trained with classes.", "Leave out the class.")
        if conditions:
            self.check_conditional()
        temperature = self._temperature(sampling)
        rows = condition_rows(self.spec, conditions, num_samples)
        warn_outside_range(self.spec.conditions, rows, "model")
        device = next(self.model.parameters()).device

        def draw(start: int, stop: int) -> Tensor:
            with torch.inference_mode():
                images = self.model.sample(rows[start:stop].to(device), sampling.seed, first + start, temperature)
            if advance is not None:
                advance(stop - start)
            return images.cpu().clone()

        expected = torch.cat(map_batches(num_samples, batch_size or BATCH_SIZE, draw, smaller=batch_size is None))
        return Samples((), expected, to_stored(expected, self.spec), rows, torch.full((num_samples,), -1))

    def check_conditional(self) -> None:
        """See `ImageSampler.check_conditional`."""
        if not self.spec.conditions:
            raise ConfigError(f"The model {self.path} was trained on data without conditions.", "Leave out --condition.")

    def origin(self, sampling: Sampling) -> dict[str, Any]:
        """See `ImageSampler.origin`: the model, the temperature and the seed."""
        settings = {"temperature": self._temperature(sampling), "seed": sampling.seed}
        return {"model": str(self.path), "model_digest": self.digest, "sampling": settings}

    def _temperature(self, sampling: Sampling) -> float:
        """The temperature. Raises `ConfigError` for settings of the sampling of codes, which the model does not have."""
        given = {
            "several temperatures": isinstance(sampling.temperature, tuple),
            "top-k": sampling.top_k is not None,
            "top-p": sampling.top_p is not None,
            "a guidance scale": sampling.guidance_scale != 1,
            f"the method {sampling.method}": sampling.method != DEFAULT_SAMPLING.method,
        }
        for setting, meant in given.items():
            if meant:
                raise ConfigError(
                    f"The model {self.path} has no codes, so {setting} cannot be used.",
                    "Use the temperature and the seed, or a run of train-prior.",
                )
        assert not isinstance(sampling.temperature, tuple)
        return sampling.temperature
