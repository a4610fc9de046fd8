"""TreeVI: a masked VAE with a posterior that is correlated between similar images (Xiao and Su 2024, "Reparameterizable
Tree-structured Variational Inference for Instance-level Correlation Capturing").

    image * observed ─┐                                                                  condition values
                      ├─ encoder ── features ── q(z_i|x_i) ── tree over the batch ── z ── projection ── decoder ── p(x|z)
    observed ─────────┘             [B,F,h,w]                  gamma on its edges

In training, the latents of a batch are drawn jointly: e'_root = e_root, e'_j = gamma_j e'_parent + sqrt(1 - gamma_j^2) e_j for
independent standard normal e, and z = mu + sigma e'. So the marginal posterior of each image is that of the VAE, and the noise of
two images has as its correlation, in each latent dimension, the product of the gammas on the path between them. The prior is N(0,
I) for each image, with correlation rho along the edges of the same tree. The KL divergence follows from the chain rule down the
tree: for the root that of the VAE, and for each edge

    1/2 [((mu_j - rho mu_p)^2 + s_j^2 + rho^2 s_p^2 - 2 rho gamma s_j s_p) / (1 - rho^2) - 1
         + log(1 - rho^2) - log(s_j^2 (1 - gamma^2))]

The tree is the minimum spanning tree of the posterior means, built anew for each batch; of several processes, each builds one over
its own images. gamma either minimises this divergence, gamma* = (-1 + sqrt(1 + 4 k^2)) / (2 k) with k = rho s_j s_p / (1 - rho^2),
separately for each edge and dimension; or it is learned, one for each latent dimension, shared by all edges and bounded by tanh.
With rho = 0, gamma* = 0 and the model is the VAE, bit for bit. With the closed form it has exactly the parameters of the VAE.

Outside of training each image is treated by itself: reconstructions, samples and bounds do not depend on the rest of the batch, and
are those of a VAE. Where we depart from the paper: the prior's correlation (without one, gamma = 0 is optimal for independent
images); one tree, not several, and not a learned one; gamma gets the gradient of the KL divergence only, because that of the
reconstruction loss is zero in expectation; encoder and decoder (see `vqkit.models.vqvae`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.interfaces import DataSpec
from vqkit.models.gaussian import Gaussian
from vqkit.models.latent import LatentOptions, PosteriorSample
from vqkit.models.spanning_tree import Tree, correlate, spanning_tree
from vqkit.models.vae import VAE
from vqkit.registry import MODELS

MAX_CORRELATION = 0.99
"""Largest correlation along an edge: at 1 the KL divergence is infinite."""


class TreeVIOptions(LatentOptions):
    """Settings of TreeVI."""

    correlation: Literal["closed-form", "learned"] = Field(
        "closed-form",
        description="Correlation of the posterior along an edge: the one that minimises the KL divergence, or learned.",
    )
    prior_correlation: float = Field(
        0.5,
        ge=0,
        le=MAX_CORRELATION,
        description="Prior correlation rho along an edge; 0: independent images, as in the VAE.",
    )


@MODELS.register("treevi")
class TreeVI(VAE):
    """The TreeVI of this module; see there for the diagram."""

    Options = TreeVIOptions
    compares_images = True
    options: TreeVIOptions

    def __init__(self, options: TreeVIOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        learned = options.correlation == "learned"
        self.raw_correlation = nn.Parameter(torch.zeros(self.latent_shape)) if learned else None

    def sample_posterior(self, features: Tensor, noise: Tensor) -> PosteriorSample:
        """See `VariationalModel.sample_posterior`: in training jointly for the batch, otherwise for each image by itself."""
        if not self.training:
            return super().sample_posterior(features, noise)
        posterior = self.posterior(features)
        tree = spanning_tree(posterior.mean)
        correlations = self.correlations(posterior, tree)
        latents = posterior.rsample(correlate(noise[:, 0], tree, correlations.detach()))
        kl = tree_kl(posterior, tree, correlations, self.options.prior_correlation)
        return PosteriorSample(latents, kl, posterior)

    def correlations(self, posterior: Gaussian, tree: Tree) -> Tensor:
        """gamma of each image with its parent, float32 [B, L, ...]; that of the root is not used."""
        if self.raw_correlation is not None:
            return (MAX_CORRELATION * self.raw_correlation.tanh()).expand_as(posterior.mean)
        # At the minimum of the KL divergence its derivative by gamma is zero, so no gradient is lost.
        std = posterior.std.detach()
        return best_correlation(std, std[tree.parents], self.options.prior_correlation)


def best_correlation(std: Tensor, parent_std: Tensor, prior: float) -> Tensor:
    """gamma* given the posterior's standard deviations at both ends of an edge and the prior's correlation; at most 0.99."""
    two_k = 2 * prior * std * parent_std / (1 - prior**2)
    return (two_k / (1 + (1 + two_k.square()).sqrt())).clamp(max=MAX_CORRELATION)


def tree_kl(posterior: Gaussian, tree: Tree, correlations: Tensor, prior: float) -> Tensor:
    """KL divergence float32 [B], in nats, of the batch's posterior from its prior: the root's term, and each edge's at its child.

    An edge's term is that of the VAE plus a correction, which is exactly zero without correlations.
    """
    nodes, parents = tree.children, tree.parents[tree.children]
    mean, std, gamma = posterior.mean[nodes], posterior.std[nodes], correlations[nodes]
    parent_mean, parent_std = posterior.mean[parents], posterior.std[parents]
    variance = std.square()
    # E[(z_j - rho z_p)^2] under the posterior.
    squared_residual = (mean - prior * parent_mean).square() + variance
    squared_residual = squared_residual + (prior * parent_std).square() - 2 * prior * gamma * std * parent_std
    correction = squared_residual / (1 - prior**2) - (mean.square() + variance) + math.log1p(-(prior**2))
    correction = 0.5 * (correction - torch.log1p(-gamma.square()))
    return posterior.kl().index_add(0, nodes, correction.flatten(1).sum(dim=1))
