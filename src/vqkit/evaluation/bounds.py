"""Bounds on the log-likelihood of held-out images: the ELBO and the importance-weighted bound, in nats and in bits per dimension.

Only for models with a prior of their own and a likelihood of pixel values. The name of the likelihood belongs beside every such
number: numbers under different likelihoods, or of differently binarised data, cannot be compared.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from vqkit.core import distributed
from vqkit.core.randomness import generator_for
from vqkit.data.subsets import align_conditions
from vqkit.errors import ConfigError, DataError
from vqkit.evaluation.held_out import batches_with_positions
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.interfaces import Autoencoder, Split
from vqkit.interfaces.models import GenerativeAutoencoder, importance_bound

_BATCH_SIZE = 64


@dataclass(frozen=True)
class Bounds:
    """Lower bounds on the mean log-likelihood of what is present of an image, all of it observed, in nats; higher is better.

    `elbo`: the evidence lower bound, estimated from `samples` posterior samples; `importance_weighted`: the bound of Burda et al.
    2016 (equation 8) with `samples` samples, at least as tight in expectation, and its `standard_error` over the `images` that hold
    anything. `dimensions`: pixel values that are present in an image, on average.
    """

    likelihood: str
    images: int
    samples: int
    dimensions: float
    elbo: float
    importance_weighted: float
    standard_error: float

    @property
    def elbo_bits(self) -> float:
        """The ELBO in bits per dimension, an upper bound; lower is better."""
        return -self.elbo / (self.dimensions * math.log(2))

    @property
    def bits(self) -> float:
        """The importance-weighted bound in bits per dimension, an upper bound; lower is better."""
        return -self.importance_weighted / (self.dimensions * math.log(2))

    def to_json(self) -> dict[str, Any]:
        """Plain values, with bits per dimension."""
        return {**asdict(self), "elbo_bits_per_dimension": self.elbo_bits, "bits_per_dimension": self.bits}


def with_prior(model: Autoencoder) -> GenerativeAutoencoder:
    """The same model. Raises `ConfigError` unless it has a prior of its own."""
    if not isinstance(model, GenerativeAutoencoder):
        raise ConfigError(
            f"The model {type(model).__name__} has no prior of its own, so images have no likelihood under it.",
            "Bounds are for models such as vae. For a VQ model, evaluate a prior over its codes (vqkit train-prior).",
        )
    return model


@torch.inference_mode()
def measure_bounds(
    model: GenerativeAutoencoder,
    images: Split,
    samples: int = 64,
    seed: int = 0,
    with_conditions: bool = False,
    device: torch.device = torch.device("cpu"),
    progress: Progress = no_progress,
) -> Bounds:
    """Measure a model in evaluation mode, on `device`, over a split; both use the same `samples` posterior samples.

    The samples of an image depend on the seed and on its position in the whole split alone. `with_conditions`: condition the model
    on the images' conditions, which are unknown to it otherwise. Raises `ConfigError` for a likelihood that is no density of
    pixels, for grey values under bernoulli, and for fewer than one sample, and `DataError` where no image holds any data.
    """
    if samples < 1:
        raise ConfigError(f"The number of posterior samples is {samples}.", "Ask for at least one.")
    sums = torch.zeros(5, dtype=torch.float64, device=device)
    for positions, batch in batches_with_positions(images, _BATCH_SIZE, "evaluated (bounds)", progress):
        known = align_conditions(batch.to(device, model.spec), images.spec, model.spec)
        conditions = known.conditions if with_conditions else model.spec.unknown_conditions(len(known.images), device)
        values = known.observed.flatten(1).sum(1).double()
        for row, position in enumerate(positions.tolist()):
            if not values[row]:
                continue
            each = slice(row, row + 1)
            generator = generator_for(seed, "bound", position)
            present = None if known.present is None else known.present[each]
            weights = model.log_weights(known.images[each], conditions[each], samples, generator, present)
            bound = importance_bound(weights)
            sums += torch.stack([weights.mean(), bound[0], bound[0].square(), values[row], bound.new_ones(())])
    distributed.all_reduce(sums)
    elbo, bound, square, dimensions, count = sums.tolist()
    if not count:
        raise DataError("No image holds any data, so there is nothing to measure a bound on.", "Choose another --split.")
    mean = bound / count
    error = math.sqrt(max(0.0, square / count - mean**2) / max(1.0, count - 1))
    return Bounds(model.likelihood.name, int(count), samples, dimensions / count, elbo / count, mean, error)
