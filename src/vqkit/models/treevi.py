"""TreeVI: a masked VAE whose posterior knows which images are alike (Xiao and Su 2024, "Reparameterizable Tree-structured
Variational Inference for Instance-level Correlation Capturing").

    image * observed ─┐                                                            condition values
                      ├─ encoder ── features ── q(z_i|x_i) ── tree over the batch ── z ── foot ── decoder ── p(x|z)
    observed ─────────┘             [B,F,h,w]                  gamma on its edges

In training, latents of a batch are drawn together: e'_root = e_root, e'_j = gamma_j e'_parent + sqrt(1 - gamma_j^2) e_j for
independent standard normal e, and z = mu + sigma e'. So each image's own posterior is the VAE's, and two images' noise has the
product of the gammas on the path between them as correlation, in each latent dimension. The prior is N(0, I) for each image, with
the correlation rho along the same tree. The divergence is that of the chain rule down the tree: of the root as in the VAE, and
for each edge

    1/2 [((mu_j - rho mu_p)^2 + s_j^2 + rho^2 s_p^2 - 2 rho gamma s_j s_p) / (1 - rho^2) - 1
         + log(1 - rho^2) - log(s_j^2 (1 - gamma^2))]

The tree is the shortest one between the posterior means, made anew for each batch. gamma is either where this is least, gamma* =
(-1 + sqrt(1 + 4 k^2)) / (2 k) with k = rho s_j s_p / (1 - rho^2), for each edge and dimension by itself; or learned, one for each
latent dimension, the same on all edges, bounded by tanh. With rho = 0, gamma* = 0 and the model is the VAE, to the last bit.

Outside of training an image is by itself: reconstructions, samples and bounds do not depend on what else is in a batch, and are
those of a VAE. Where we depart from the paper: the prior's correlation (without one, gamma = 0 is best for images that are
independent); one tree, not several, and not a learned one; the gradient of gamma is that of the divergence alone, because the
reconstruction's has the expectation zero; what `vqkit.models.vqvae` says of its encoder and decoder.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.interfaces import DataSpec
from vqkit.models.gaussian import Gaussian
from vqkit.models.latent import Drawn, LatentOptions
from vqkit.models.spanning_tree import Tree, correlate, spanning_tree
from vqkit.models.vae import VAE
from vqkit.registry import MODELS

MOST = 0.99
"""Largest correlation along an edge: at 1 the divergence is infinite."""


class TreeVIOptions(LatentOptions):
    """Settings of TreeVI."""

    correlation: Literal["closed-form", "learned"] = Field(
        "closed-form", description="The posterior's correlation along an edge: where the divergence is least, or learned."
    )
    prior_correlation: float = Field(
        0.5, ge=0, le=MOST, description="The prior's correlation rho along an edge; 0: images are independent, as in the VAE."
    )


@MODELS.register("treevi")
class TreeVI(VAE):
    """The TreeVI of this module; see there for the diagram."""

    Options = TreeVIOptions
    options: TreeVIOptions

    def __init__(self, options: TreeVIOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        learned = options.correlation == "learned"
        self.slope = nn.Parameter(torch.zeros(self.latent_shape)) if learned else None

    def draw(self, features: Tensor, noise: Tensor) -> Drawn:
        """See `VariationalModel.draw`: in training for the batch as a whole, else for each image by itself."""
        if not self.training:
            return super().draw(features, noise)
        posterior = self.posterior(features)
        tree = spanning_tree(posterior.mean)
        correlations = self.correlations(posterior, tree)
        latents = posterior.at(correlate(noise[:, 0], tree, correlations.detach()))
        divergence = tree_divergence(posterior, tree, correlations, self.options.prior_correlation)
        return Drawn(latents, divergence, posterior)

    def correlations(self, posterior: Gaussian, tree: Tree) -> Tensor:
        """gamma of each image with its parent, float32 [B, L, ...]; that of the root means nothing."""
        if self.slope is not None:
            return (MOST * self.slope.tanh()).expand_as(posterior.mean)
        # Where the divergence is least its derivative by gamma is zero, so no gradient is lost.
        deviation = posterior.deviation.detach()
        return best_correlation(deviation, deviation[tree.parents], self.options.prior_correlation)


def best_correlation(deviation: Tensor, parent: Tensor, prior: float) -> Tensor:
    """gamma* for the posterior's deviations at both ends of an edge and the prior's correlation, at most `MOST`."""
    double = 2 * prior * deviation * parent / (1 - prior**2)
    return (double / (1 + (1 + double.square()).sqrt())).clamp(max=MOST)


def tree_divergence(posterior: Gaussian, tree: Tree, correlations: Tensor, prior: float) -> Tensor:
    """Divergence float32 [B] in nats of the batch's posterior from its prior, shared out: the root's own, and each edge's to its
    lower end.

    An edge's is written as what it is without correlations, the VAE's, and what these add: exactly nothing where both are zero.
    """
    nodes, above = tree.children, tree.parents[tree.children]
    mean, deviation, gamma = posterior.mean[nodes], posterior.deviation[nodes], correlations[nodes]
    parent_mean, parent_deviation = posterior.mean[above], posterior.deviation[above]
    variance = deviation.square()
    spread = (mean - prior * parent_mean).square() + variance
    spread = spread + (prior * parent_deviation).square() - 2 * prior * gamma * deviation * parent_deviation
    added = spread / (1 - prior**2) - (mean.square() + variance) + math.log1p(-(prior**2))
    added = 0.5 * (added - torch.log1p(-gamma.square()))
    return posterior.divergence().index_add(0, nodes, added.flatten(1).sum(dim=1))
