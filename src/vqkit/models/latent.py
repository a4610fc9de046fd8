"""What autoencoders with a continuous bottleneck share: the encoder and decoder of the VQ-VAE, and what is between them.

    image * observed ─┐                                              condition values
                      ├─ encoder ── features ── head ── z ── foot ── decoder ── logits of the WHOLE image
    observed ─────────┘             [B,F,h,w]                [B,F',h,w]

They are built of the same parts as `vqkit.models.vqvae` and see and fill in images in the same way, so that differences between
them are differences between bottlenecks. z is a vector [B, L, 1, 1], or a grid of them [B, L, h, w] where codes would be.

Losses are in nats for each of the C x H x W values of an image, so that their sum is the negative ELBO divided by that number.

Shapes: B images, C components, H x W pixels, h x w the code grid, L latent dimensions (at each position).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.core import distributed
from vqkit.core.randomness import generator_for
from vqkit.interfaces import Autoencoder, DataSpec, Reconstruction, fully_observed
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.models.coding import Decoder, Encoder, NetworkOptions, check_stride, see, widths
from vqkit.models.encoder_part import EncoderChain
from vqkit.models.gaussian import Gaussian
from vqkit.models.likelihoods import LikelihoodChoice, build_likelihood

_VALUES_AT_ONCE = 2**22
"""Pixel values that are decoded at once when a bound is computed."""


class LatentOptions(NetworkOptions):
    """Settings of every model with a continuous bottleneck."""

    latent: Literal["vector", "grid"] = Field(
        "vector", description="vector: one for the whole image; grid: one at every position of the code grid."
    )
    latent_dim: int = Field(64, ge=1, description="Dimensions of each of these vectors.")
    likelihood: LikelihoodChoice = Field(
        "auto",
        description="auto: bernoulli for binary data, logistic for intensities; by the others an image has no probability.",
    )


class LatentModel(Autoencoder):
    """An autoencoder with a continuous bottleneck.

    Raises `ConfigError` when the image size is not divisible by the stride.
    """

    options: LatentOptions

    def __init__(self, options: LatentOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        check_stride(options, spec)
        self.likelihood = build_likelihood(options.likelihood, spec, intensities="logistic")
        grid = code_grid(options, spec)
        self.latent_shape = (options.latent_dim, *(grid if options.latent == "grid" else (1, 1)))
        self.encoder = Encoder(options, [2 * len(spec.components), *widths(options)], grid if options.attention else None)
        self.foot, channels = build_foot(options, grid)
        self.decoder = Decoder(options, spec, channels, self.likelihood)

    @abstractmethod
    def expected(self, features: Tensor) -> Tensor:
        """The latents [B, L, ...] that are decoded when nothing is drawn, of features [B, hidden, h, w]."""

    @property
    def encoder_part(self) -> EncoderChain:
        """See `Autoencoder.encoder_part`."""
        return EncoderChain(self.options, [self.encoder])

    def features(self, images: Tensor, observed: Tensor) -> Tensor:
        """What the encoder makes of the observed part of images [B, C, H, W]: [B, hidden, h, w]."""
        features: Tensor = self.encoder(see(images, observed))
        return features

    def logits(self, latents: Tensor, conditions: Tensor) -> Tensor:
        """Logits [B, C, H, W] of whole images, of latents [B, L, ...] and condition values [B, D] (NaN: unknown)."""
        logits: Tensor = self.decoder(self.foot(latents), conditions)
        return logits

    def mean(self, logits: Tensor) -> Tensor:
        """See `Autoencoder.mean`."""
        return self.likelihood.mean(logits)

    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor) -> Tensor:
        """See `Autoencoder.reconstruct`; nothing is drawn."""
        return self.mean(self.logits(self.expected(self.features(images, observed)), conditions))


class Drawn(NamedTuple):
    """Draws from the posterior of each image: `latents` float32 [B, L, ...] and `divergence` float32 [B] from the prior in nats.

    `posterior`: of the latents.
    """

    latents: Tensor
    divergence: Tensor
    posterior: Gaussian


class Weighed(NamedTuple):
    """`latents` [B, L, ...] drawn from the posterior and `log_ratio` float64 [B]: log prior less log posterior there, in nats."""

    latents: Tensor
    log_ratio: Tensor


class VariationalModel(LatentModel, GenerativeAutoencoder):
    """A latent model whose posterior and prior are distributions. The prior of one image's latents is the standard normal.

    `draws`: noise tensors that a draw from the posterior takes; `beta`: weight of the divergence in the loss.
    """

    draws: ClassVar[int] = 1
    beta: float = 1.0

    @abstractmethod
    def draw(self, features: Tensor, noise: Tensor) -> Drawn:
        """Draw for training from the posterior of features [B, hidden, h, w], by standard normal noise [B, draws, L, ...]."""

    @abstractmethod
    def weigh(self, features: Tensor, noise: Tensor) -> Weighed:
        """Draw from the posterior of each image by itself, as `draw`, and compare the densities there."""

    def forward(
        self, images: Tensor, observed: Tensor, conditions: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """See `Autoencoder.forward`. Losses: recon and kl, in nats for each value of the image; without a generator the latents
        are the posterior's mean.

        Monitors: kl_nats of an image, and active: the share of latent dimensions whose posterior mean varies over the batch by
        more than 0.01 (variance; Burda et al. 2016, section 5.3).
        """
        drawn = self.draw(self.features(images, observed), self.noise(len(images), generator).to(images.device))
        return self.judge(drawn, self.logits(drawn.latents, conditions), images)

    def judge(self, drawn: Drawn, logits: Tensor, images: Tensor) -> Reconstruction:
        """The ELBO, as losses and monitors (see `forward`), of draws and the logits [B, C, H, W] that were made of them."""
        divergence = drawn.divergence.mean()
        reconstruction_loss = self.likelihood.loss(logits, images)
        losses = {"kl": self.beta * divergence / images[0].numel()}
        active = (drawn.posterior.mean.var(dim=0, unbiased=False) > 0.01).float().mean()
        return Reconstruction(logits, reconstruction_loss, losses, {"kl_nats": divergence.detach(), "active": active})

    def sample(self, conditions: Tensor, seed: int = 0, first: int = 0, temperature: float = 1.0) -> Tensor:
        """See `GenerativeAutoencoder.sample`."""
        numbers = range(first, first + len(conditions))
        noise = [torch.randn(self.latent_shape, generator=generator_for(seed, "latents", number)) for number in numbers]
        return self.mean(self.logits(temperature * torch.stack(noise).to(conditions.device), conditions))

    def log_weights(self, images: Tensor, conditions: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """See `GenerativeAutoencoder.log_weights`."""
        features = self.features(images, fully_observed(images))
        size = max(1, _VALUES_AT_ONCE // images.numel())
        parts = []
        noise = torch.randn((samples * len(images), self.draws, *self.latent_shape), generator=generator)
        for part in torch.split(noise, size * len(images)):
            count = len(part) // len(images)
            drawn = self.weigh(repeated(features, count), part.to(images.device))
            logits = self.logits(drawn.latents, repeated(conditions, count))
            pixels = self.likelihood.log_prob(logits, repeated(images, count))
            parts.append((pixels + drawn.log_ratio).view(count, len(images)))
        return torch.cat(parts)

    def noise(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Standard normal noise [count, draws, L, ...] for a step, on the CPU; see `step_noise`."""
        return step_noise(count, (self.draws, *self.latent_shape), generator)


def step_noise(count: int, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Standard normal noise [count, *shape] for a step, on the CPU; zeros without a generator.

    It is drawn for all processes' `count` images and then cut, so that it does not depend on the number of processes.
    """
    if generator is None:
        return torch.zeros(count, *shape)
    drawn = torch.randn(count * distributed.world_size(), *shape, generator=generator)
    return drawn.chunk(distributed.world_size())[distributed.rank()]


def build_head(options: LatentOptions, spec: DataSpec, channels: int) -> nn.Sequential:
    """Features [B, hidden, h, w] to `channels` numbers for each vector of the latents, [B, channels, ...]."""
    if options.latent == "grid":
        return nn.Sequential(nn.Conv2d(options.hidden, channels, 1))
    height, width = code_grid(options, spec)
    narrow = _narrow(options)
    return nn.Sequential(
        nn.Conv2d(options.hidden, narrow, 1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(narrow * height * width, channels),
        nn.Unflatten(1, (channels, 1, 1)),
    )


def build_foot(options: LatentOptions, grid: tuple[int, int]) -> tuple[nn.Module, int]:
    """Latents [B, L, ...] to features on the code grid for the decoder, and how many channels these have."""
    if options.latent == "grid":
        return nn.Identity(), options.latent_dim
    narrow, (height, width) = _narrow(options), grid
    linear = nn.Linear(options.latent_dim, narrow * height * width)
    return nn.Sequential(nn.Flatten(), linear, nn.Unflatten(1, (narrow, height, width))), narrow


def code_grid(options: NetworkOptions, spec: DataSpec) -> tuple[int, int]:
    """(h, w) of the code grid."""
    return spec.height // options.stride, spec.width // options.stride


def repeated(rows: Tensor, times: int) -> Tensor:
    """All rows [B, ...], as many times one after the other: [times * B, ...]."""
    return rows.repeat(times, *[1] * (rows.ndim - 1))


def _narrow(options: LatentOptions) -> int:
    """Channels on the code grid between features and a vector: fewer, because all positions of all of them are connected to it."""
    return max(8, options.hidden // 4)
