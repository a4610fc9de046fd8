"""Models of images: autoencoders, tokenizers (autoencoders with a discrete bottleneck), and the quantizers of tokenizers.

Shapes: B images, C components, H x W pixels, D condition values or code dimensions, K codes, h x w a grid of codes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.interfaces.data import Codes, DataSpec
from vqkit.interfaces.likelihoods import Likelihood
from vqkit.interfaces.tasks import OptimizerGroup


class Quantized(NamedTuple):
    """The result of a quantizer.

    `features` [B, D, h, w]: the chosen codes, with a gradient to the input of the quantizer; `indices` int64 [B, h, w], or
    [B, num_quantizers, h, w] if there are several codes per position. `codebook_loss`: pulls codes towards features, or another
    loss of the quantizer, already weighted (zero for EMA codebooks and for fixed codes); `commitment_loss`: pulls features
    towards codes, not weighted. Both are float32 scalars.
    """

    features: Tensor
    indices: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor


class Quantizer(nn.Module, ABC):
    """Replaces each feature vector by one of finitely many codes. Always float32, whatever the surrounding precision.

    `num_codes`: K, of each of the codes of a position; `dim`: D, the channels of the features; `commitment_weight`: the weight
    of the commitment loss in the training loss; `num_quantizers`: codes per position. Indices are int64 [B, h, w] if
    `num_quantizers` is 1, else [B, num_quantizers, h, w].
    """

    Options: ClassVar[type[BaseModel]]
    num_codes: int
    dim: int
    commitment_weight: float
    num_quantizers: int = 1

    @abstractmethod
    def forward(self, features: Tensor) -> Quantized:
        """Quantise features [B, D, h, w]. In training mode the codebook may be updated, after the features were quantised."""

    @abstractmethod
    def encode(self, features: Tensor) -> Tensor:
        """Indices of features [B, D, h, w]; the codebook is not updated."""

    @abstractmethod
    def decode(self, indices: Tensor) -> Tensor:
        """Codes float32 [B, D, h, w] of indices. `decode(encode(z))` equals the forward value exactly."""

    def reset_unused_codes(self, counts: Tensor, generator: torch.Generator) -> int:
        """Reset dead codes, those that were never chosen, to noisy copies of chosen ones; returns their number.

        `counts` int64 [K], or [num_quantizers, K] where `num_quantizers` is not 1: how often each code was chosen in a data set.
        Raises `ConfigError` if the codes are fixed, which is the default.
        """
        raise ConfigError(
            f"The codes of the quantizer {type(self).__name__} are fixed and cannot be reset.",
            "Only learned codebooks, such as ema and gradient, have codes to reset.",
        )


class Context(NamedTuple):
    """What a decoder sees of images: their pixels in unit values, [B, C, H, W], where `observed` (bool of that shape) is True."""

    images: Tensor
    observed: Tensor


RECONSTRUCTION_LOSS = "recon"
"""Name under which the reconstruction loss is recorded."""


def _missing_loss() -> Tensor:
    raise ConfigError("The Reconstruction returned by a model's forward() has no reconstruction_loss.", _LOSS_HINT)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Output of an autoencoder for a batch.

    `logits` [B, C, H, W]: parameters of the likelihood of each pixel (see `Autoencoder.mean`);
    `reconstruction_loss`: weighted distance of the reconstruction from the whole image, a scalar; recorded as `recon`;
    `losses`: the other terms of the training loss by name, weighted scalars, such as `kl` or `commit`;
    `monitors`: named scalars that are recorded but not minimised; `codes`: the chosen codes, empty for continuous models;
    `adversarial_losses`: named scalars that train the networks in `Autoencoder.adversaries` and nothing else.

    Raises `ConfigError` for a reconstruction loss that is missing, and for losses that are not scalar tensors.
    """

    logits: Tensor
    reconstruction_loss: Tensor = field(default_factory=_missing_loss)
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    monitors: Mapping[str, Tensor] = field(default_factory=dict)
    codes: Codes = ()
    adversarial_losses: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if RECONSTRUCTION_LOSS in self.losses:
            raise ConfigError(
                f"The losses of a model's Reconstruction include '{RECONSTRUCTION_LOSS}', the name of its reconstruction loss.",
                _LOSS_HINT,
            )
        _check_scalar("reconstruction_loss", self.reconstruction_loss)
        for name, loss in self.losses.items():
            _check_scalar(f"losses['{name}']", loss)

    @property
    def named_losses(self) -> dict[str, Tensor]:
        """All terms of the training loss by name, the reconstruction loss first."""
        return {RECONSTRUCTION_LOSS: self.reconstruction_loss, **self.losses}

    @property
    def total_loss(self) -> Tensor:
        """The sum of `named_losses`, a scalar."""
        return torch.stack(list(self.named_losses.values())).sum()


_LOSS_HINT = "Return Reconstruction(logits, reconstruction_loss, losses), where `losses` holds the other terms by name."


def _check_scalar(name: str, loss: object) -> None:
    if isinstance(loss, Tensor) and loss.ndim == 0:
        return
    found = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
    raise ConfigError(f"The {name} of a model's Reconstruction must be a scalar tensor, not {found}.", _LOSS_HINT)


class EncoderPart(nn.Module, ABC):
    """What an autoencoder looks at images with, without what it makes of that: no posterior, no quantizer, no decoder.

    Its modules are the model's own: what the one learns the other knows. `channels`: F, of the features; `settings`: the settings
    of the model that decide its weights' shapes and meaning, by name. Two parts with equal settings, of data with the same
    components and size, can take each other's weights, whatever models they belong to.
    """

    channels: int
    settings: dict[str, Any]

    @abstractmethod
    def forward(self, images: Tensor, observed: Tensor) -> Tensor:
        """Features [B, F, h, w] of the observed part (bool [B, C, H, W]) of float images [B, C, H, W] in unit values."""


class Autoencoder(nn.Module, ABC):
    """A model that reconstructs whole images from their observed part."""

    Options: ClassVar[type[BaseModel]]
    compares_images: ClassVar[bool] = False
    """Whether the loss of an image in training depends on the others of its batch."""

    def __init__(self, options: BaseModel, spec: DataSpec) -> None:
        super().__init__()
        self.options = options
        self.spec = spec

    @abstractmethod
    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        """Reconstruct whole images from their observed part, with losses computed over the whole image.

        `images` float [B, C, H, W] in unit values, 0 where nothing is present; `observed` bool [B, C, H, W], True where a pixel is
        known to the model, a subset of `present` (bool, broadcastable to the images; None: everything), to which losses are
        limited; `conditions` float [B, D], NaN where unknown; `generator` is the source of randomness in training, on the CPU;
        `shown` bool [B, C, H, W]: pixels that the decoder sees as well, so that codes or latents need not carry them; nothing is
        shown of an image of which all are False, nor by default. A model may do without it.
        """

    @abstractmethod
    def mean(self, logits: Tensor) -> Tensor:
        """The expected image, float32 [B, C, H, W] in unit values, under the likelihood with these logits."""

    @property
    def adversaries(self) -> tuple[OptimizerGroup, ...]:
        """Networks inside the model with an optimizer group of their own, such as a discriminator; see `OptimizerGroup`."""
        return ()

    @property
    def last_weights(self) -> tuple[nn.Parameter, ...]:
        """The weights of the last layers before the logits, whose gradients balance the adversarial loss (see
        `vqkit.losses.balance`).

        Raises `ConfigError` unless a subclass defines it.
        """
        raise ConfigError(
            f"The model {type(self).__name__} does not define last_weights, which loss.adaptive needs.",
            "Use --set loss.adaptive=false, or give the model the property last_weights (see Autoencoder).",
        )

    @property
    def encoder_part(self) -> EncoderPart:
        """The encoder, which can be pretrained (`vqkit pretrain`) and initialised from a pretrained one.

        Raises `ConfigError` unless a subclass defines it.
        """
        raise ConfigError(
            f"The model {type(self).__name__} does not define encoder_part, so its encoder cannot be pretrained.",
            "Use another --model, or give this one the property encoder_part (see Autoencoder).",
        )

    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor, shown: Tensor | None = None) -> Tensor:
        """The expected whole images, float32 [B, C, H, W] in unit values, in one pass and without randomness.

        Arguments are those of `forward`. By default they come from codes or latents alone; see `complete`.
        """
        return self.mean(self(images, observed, conditions, shown=shown).logits)

    def complete(self, images: Tensor, observed: Tensor, conditions: Tensor) -> Tensor:
        """As `reconstruct`, with the decoder seeing what is observed: the best answer to what is missing."""
        return self.reconstruct(images, observed, conditions, observed)


class Tokenizer(Autoencoder):
    """An autoencoder with a discrete bottleneck. A prior only needs its code shapes and cardinalities."""

    @property
    @abstractmethod
    def level_names(self) -> tuple[str, ...]:
        """A name for each level of codes, coarse first."""

    @property
    @abstractmethod
    def code_shapes(self) -> tuple[tuple[int, int], ...]:
        """(h, w) of each level for images of the specification's size."""

    @property
    @abstractmethod
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes K of each level."""

    @property
    @abstractmethod
    def quantizers(self) -> tuple[Quantizer, ...]:
        """The quantizer of each level; one with several codes per position is repeated for each of its levels."""

    @abstractmethod
    def features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        """The input [B, D, h, w] of each level's quantizer, for the observed part of float images [B, C, H, W] in unit values."""

    @abstractmethod
    def encode(self, images: Tensor, observed: Tensor) -> Codes:
        """Codes of the observed part of float images [B, C, H, W]."""

    @abstractmethod
    def decode(self, codes: Codes, conditions: Tensor, context: Context | None = None) -> Tensor:
        """Expected images float32 [B, C, H, W] in unit values of codes, and of what is observed of each image (None: nothing)."""

    def reset_unused_codes(self, counts: tuple[Tensor, ...], generator: torch.Generator) -> int:
        """Reset dead codes, those that were never chosen, to noisy copies of chosen ones; returns their number.

        `counts` int64 [K] of each level: how often each code was chosen in a data set.
        Raises `ConfigError` for a quantizer whose codes are fixed.
        """
        reset, level = 0, 0
        while level < len(counts):
            quantizer = self.quantizers[level]
            own = counts[level : level + quantizer.num_quantizers]
            reset += quantizer.reset_unused_codes(own[0] if quantizer.num_quantizers == 1 else torch.stack(own), generator)
            level += quantizer.num_quantizers
        return reset


class GenerativeAutoencoder(Autoencoder):
    """An autoencoder with a prior over its latents. `likelihood`: p(image | logits)."""

    likelihood: Likelihood

    @abstractmethod
    def sample(self, conditions: Tensor, seed: int = 0, first: int = 0, temperature: float = 1.0) -> Tensor:
        """Expected images float32 [B, C, H, W] in unit values of draws from the prior, for conditions [B, D] (NaN: unknown).

        `first`: number of the first sample; a sample is a function of the seed, its number and its conditions, whatever the
        batches; `temperature` multiplies the standard deviation of the prior.
        """

    @abstractmethod
    def log_weights(
        self, images: Tensor, conditions: Tensor, samples: int, generator: torch.Generator, present: Tensor | None = None
    ) -> Tensor:
        """log p(x, z) - log q(z | x) in nats, float64 [samples, B], with z drawn from the posterior of whole images [B, C, H, W].

        x is what is `present` of them (None: everything). Their mean over the samples estimates the ELBO; see `bound`. `generator`
        draws on the CPU. Raises `ConfigError` where an image has no probability (see `Likelihood.log_prob`).
        """

    def bound(
        self, images: Tensor, conditions: Tensor, samples: int, generator: torch.Generator, present: Tensor | None = None
    ) -> Tensor:
        """A lower bound on log p(x) in nats, float64 [B]: importance-weighted with `samples` draws; 1: the ELBO, in expectation.

        Burda et al. 2016, "Importance Weighted Autoencoders", equation 8. Arguments and errors are those of `log_weights`.
        """
        return importance_bound(self.log_weights(images, conditions, samples, generator, present))


def importance_bound(log_weights: Tensor) -> Tensor:
    """The importance-weighted bound [B] of log weights [samples, B]: the logarithm of the mean weight."""
    return log_weights.logsumexp(dim=0) - math.log(len(log_weights))
