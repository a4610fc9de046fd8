"""Base classes of autoencoders with a continuous bottleneck: the encoder and decoder of the VQ-VAE with latents between them.

    image * observed ─┐                                                    condition values
                      ├─ encoder ── features ── head ── z ── projection ── decoder ── logits of the WHOLE image
    observed ─────────┘             [B,F,h,w]                [B,F',h,w]

They are built of the same modules as `vqkit.models.vqvae` and complete masked images in the same way, so that models differ only in
their bottleneck. z is a vector [B, L, 1, 1], or a grid of vectors [B, L, h, w] of the size of the code grid.

Losses are in nats per value, of those values of an image that are present (C x H x W where nothing is missing), so that their sum
is the negative ELBO divided by that number.

Shapes: B images, C components, H x W pixels, h x w the code grid, L latent dimensions (at each position).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.core.randomness import generator_for, step_noise
from vqkit.interfaces import Autoencoder, Context, DataSpec, Reconstruction, fully_observed
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.models.encoder_part import EncoderChain
from vqkit.models.gaussian import Gaussian
from vqkit.models.likelihoods import LikelihoodChoice, build_likelihood
from vqkit.models.networks import Decoder, DecoderOptions, Encoder, NetworkOptions, check_stride, context_of, encoder_input, widths
from vqkit.models.pixel_likelihood import values_per_image

_VALUES_AT_ONCE = 2**22
"""Pixel values decoded at once when a bound is computed; limits memory."""


class LatentOptions(DecoderOptions):
    """Settings of every model with a continuous bottleneck."""

    latent: Literal["vector", "grid"] = Field(
        "vector", description="vector: one latent vector per image; grid: one at every position of the code grid."
    )
    latent_dim: int = Field(64, ge=1, description="Dimensions of a latent vector.")
    likelihood: LikelihoodChoice = Field(
        "auto",
        description="auto: bernoulli for binary data, logistic for intensities that are whole numbers on a linear scale, gaussian "
        "for others. The other names are distances, without bounds.",
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
        self.latent_projection, channels = build_latent_projection(options, grid)
        self.decoder = Decoder(options, spec, channels, self.likelihood)

    @abstractmethod
    def expected_latents(self, features: Tensor) -> Tensor:
        """The latents [B, L, ...] that `reconstruct` decodes, of features [B, hidden, h, w]: without noise."""

    @property
    def encoder_part(self) -> EncoderChain:
        """See `Autoencoder.encoder_part`."""
        return EncoderChain(self.options, [self.encoder])

    def features(self, images: Tensor, observed: Tensor) -> Tensor:
        """Features [B, hidden, h, w] of the observed part of images [B, C, H, W]."""
        features: Tensor = self.encoder(encoder_input(images, observed))
        return features

    def logits(self, latents: Tensor, conditions: Tensor, context: Context | None = None) -> Tensor:
        """Logits [B, C, H, W] of whole images, of latents [B, L, ...], condition values [B, D] (NaN: unknown) and a context."""
        logits: Tensor = self.decoder(self.latent_projection(latents), conditions, context)
        return logits

    def mean(self, logits: Tensor) -> Tensor:
        """See `Autoencoder.mean`."""
        return self.likelihood.mean(logits)

    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor, shown: Tensor | None = None) -> Tensor:
        """See `Autoencoder.reconstruct`; without noise."""
        latents = self.expected_latents(self.features(images, observed))
        return self.mean(self.logits(latents, conditions, context_of(images, shown)))


class PosteriorSample(NamedTuple):
    """Draws from the posterior of each image: `latents` float32 [B, L, ...] and their `kl` float32 [B] from the prior, in nats.

    `posterior`: the Gaussian of the latents.
    """

    latents: Tensor
    kl: Tensor
    posterior: Gaussian


class WeightedSample(NamedTuple):
    """Draws `latents` [B, L, ...] from the posterior, and log prior minus log posterior density there, `log_ratio` float64 [B]."""

    latents: Tensor
    log_ratio: Tensor


class VariationalModel(LatentModel, GenerativeAutoencoder):
    """A latent model with a posterior and a prior. The prior of one image's latents is the standard normal.

    `noise_tensors`: noise tensors [L, ...] needed for a draw from the posterior; `beta`: weight of the KL divergence in the loss.
    """

    noise_tensors: ClassVar[int] = 1
    beta: float = 1.0

    @abstractmethod
    def sample_posterior(self, features: Tensor, noise: Tensor) -> PosteriorSample:
        """Draw from the posterior for training: features [B, hidden, h, w] and standard normal noise [B, noise_tensors, L, ...]."""

    @abstractmethod
    def sample_weighted(self, features: Tensor, noise: Tensor) -> WeightedSample:
        """As `sample_posterior`, for each image by itself, and with the log ratio of the densities at the draws."""

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        """See `Autoencoder.forward`. Losses: recon and kl, in nats per value of the image.

        Without a generator the latents are the posterior's mean.

        Monitors: kl_nats, the KL divergence of an image, and active, the share of latent dimensions whose posterior mean has a
        variance of more than 0.01 over the batch (Burda et al. 2016, section 5.3).
        """
        sample = self.sample_posterior(self.features(images, observed), self.noise(len(images), generator).to(images.device))
        logits = self.logits(sample.latents, conditions, context_of(images, shown))
        return self.elbo(sample, logits, images, present)

    def elbo(self, sample: PosteriorSample, logits: Tensor, images: Tensor, present: Tensor | None = None) -> Reconstruction:
        """The negative ELBO as losses, with monitors (see `forward`), of draws and the logits [B, C, H, W] decoded from them."""
        kl = sample.kl.mean()
        reconstruction_loss = self.likelihood.loss(logits, images, present)
        values: int | Tensor = images[0].numel()
        if present is not None:
            values = values_per_image(present.expand_as(images), self.training).clamp_min(1)
        losses = {"kl": self.beta * kl / values}
        active = (sample.posterior.mean.var(dim=0, unbiased=False) > 0.01).float().mean()
        return Reconstruction(logits, reconstruction_loss, losses, {"kl_nats": kl.detach(), "active": active})

    def sample(self, conditions: Tensor, seed: int = 0, first: int = 0, temperature: float = 1.0) -> Tensor:
        """See `GenerativeAutoencoder.sample`."""
        numbers = range(first, first + len(conditions))
        noise = [torch.randn(self.latent_shape, generator=generator_for(seed, "latents", number)) for number in numbers]
        return self.mean(self.logits(temperature * torch.stack(noise).to(conditions.device), conditions))

    def log_weights(
        self, images: Tensor, conditions: Tensor, samples: int, generator: torch.Generator, present: Tensor | None = None
    ) -> Tensor:
        """See `GenerativeAutoencoder.log_weights`."""
        features = self.features(images, fully_observed(images, present))
        size = max(1, _VALUES_AT_ONCE // images.numel())
        parts = []
        noise = torch.randn((samples * len(images), self.noise_tensors, *self.latent_shape), generator=generator)
        for part in torch.split(noise, size * len(images)):
            count = len(part) // len(images)
            sample = self.sample_weighted(repeated(features, count), part.to(images.device))
            logits = self.logits(sample.latents, repeated(conditions, count))
            there = None if present is None else repeated(present.expand_as(images), count)
            pixels = self.likelihood.log_prob(logits, repeated(images, count), there)
            parts.append((pixels + sample.log_ratio).view(count, len(images)))
        return torch.cat(parts)

    def noise(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Standard normal noise [count, noise_tensors, L, ...] for a training step, on the CPU; see `step_noise`."""
        return step_noise(count, (self.noise_tensors, *self.latent_shape), generator)


def build_head(options: LatentOptions, spec: DataSpec, channels: int) -> nn.Sequential:
    """Layers from features [B, hidden, h, w] to `channels` parameters of each latent vector, [B, channels, ...]."""
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


def build_latent_projection(options: LatentOptions, grid: tuple[int, int]) -> tuple[nn.Module, int]:
    """Layers from latents [B, L, ...] to the decoder's input on the code grid, and the number of its channels."""
    if options.latent == "grid":
        return nn.Identity(), options.latent_dim
    narrow, (height, width) = _narrow(options), grid
    linear = nn.Linear(options.latent_dim, narrow * height * width)
    return nn.Sequential(nn.Flatten(), linear, nn.Unflatten(1, (narrow, height, width))), narrow


def code_grid(options: NetworkOptions, spec: DataSpec) -> tuple[int, int]:
    """(h, w) of the code grid."""
    return spec.height // options.stride, spec.width // options.stride


def repeated(rows: Tensor, times: int) -> Tensor:
    """`times` copies of rows [B, ...] one after the other: [times * B, ...]."""
    return rows.repeat(times, *[1] * (rows.ndim - 1))


def _narrow(options: LatentOptions) -> int:
    """Channels on the code grid next to a latent vector: few, because a dense layer connects all of their positions."""
    return max(8, options.hidden // 4)
