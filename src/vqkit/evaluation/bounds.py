"""How probable a model finds held-out images: the ELBO and the importance-weighted bound, in nats and in bits a dimension.

Only for models with a prior of their own and a likelihood of pixel values; its name belongs beside every such number, because
numbers under different likelihoods, or of differently binarised data, cannot be compared.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from vqkit.core import distributed
from vqkit.core.randomness import generator_for
from vqkit.data.subsets import align_conditions
from vqkit.errors import ConfigError
from vqkit.evaluation.held_out import Progress, numbered_batches, silent
from vqkit.interfaces import Autoencoder, Split
from vqkit.interfaces.models import GenerativeAutoencoder, importance_bound
from vqkit.models.likelihoods import Likelihood

_READ_AT_ONCE = 64


@dataclass(frozen=True)
class Bounds:
    """Lower bounds on the mean log probability of an image, seen whole, in nats; less negative is better.

    `elbo`: with one draw in expectation; `importance_weighted`: with `samples` draws, never worse on average. `standard_error`
    of `importance_weighted`, from how images differ. `dimensions`: pixel values of an image.
    """

    likelihood: Likelihood
    images: int
    samples: int
    dimensions: int
    elbo: float
    importance_weighted: float
    standard_error: float

    @property
    def elbo_bits(self) -> float:
        """Bits a dimension that the ELBO allows, an upper bound; less is better."""
        return -self.elbo / (self.dimensions * math.log(2))

    @property
    def bits(self) -> float:
        """Bits a dimension that the importance-weighted bound allows, an upper bound; less is better."""
        return -self.importance_weighted / (self.dimensions * math.log(2))

    def to_json(self) -> dict[str, Any]:
        """Plain values, with bits a dimension."""
        return {**asdict(self), "elbo_bits_per_dimension": self.elbo_bits, "bits_per_dimension": self.bits}


def with_prior(model: Autoencoder) -> GenerativeAutoencoder:
    """The same model. Raises `ConfigError` unless it has a prior of its own."""
    if not isinstance(model, GenerativeAutoencoder):
        raise ConfigError(
            f"The model {type(model).__name__} has no prior of its own, so an image has no probability under it.",
            "Bounds are for models such as vae; of a VQ model, evaluate a prior over its codes (vqkit train-prior).",
        )
    return model


@torch.inference_mode()
def measure_bounds(
    model: GenerativeAutoencoder,
    images: Split,
    samples: int = 64,
    seed: int = 0,
    use_conditions: bool = False,
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
) -> Bounds:
    """Measure a model in evaluation mode, on `device`, over a split; both bounds come from the same `samples` draws an image.

    An image's draws are a function of the seed and its position in the split. `use_conditions`: tell the model the conditions,
    which are unknown to it otherwise. Raises `ConfigError` for a likelihood that gives images no probability, for greys under
    bernoulli, and for no samples.
    """
    if samples < 1:
        raise ConfigError(f"{samples} samples were asked for.", "Ask for at least one.")
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    for first, batch in numbered_batches(images, _READ_AT_ONCE, progress):
        known = align_conditions(batch.to(device), images.spec, model.spec)
        conditions = known.conditions if use_conditions else torch.full_like(known.conditions, torch.nan)
        for row in range(len(known.images)):
            each = slice(row, row + 1)
            generator = generator_for(seed, "bound", first + row)
            weights = model.log_weights(known.images[each], conditions[each], samples, generator)
            bound = importance_bound(weights)
            sums += torch.stack([weights.mean(), bound[0], bound[0].square(), bound.new_ones(())])
    distributed.all_reduce(sums)
    elbo, bound, square, count = sums.tolist()
    mean = bound / count
    error = math.sqrt(max(0.0, square / count - mean**2) / max(1.0, count - 1))
    spec = model.spec
    dimensions = len(spec.components) * spec.height * spec.width
    return Bounds(model.likelihood, int(count), samples, dimensions, elbo / count, mean, error)
