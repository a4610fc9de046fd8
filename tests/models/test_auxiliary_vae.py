"""The auxiliary VAE: it reduces to the VAE, and its loss is its objective."""

from __future__ import annotations

import pytest
import torch
from latent_cases import inputs, seeded, small, spec
from torch.distributions import Normal

from vqkit.models.auxiliary_vae import AuxiliaryVAE
from vqkit.models.vae import VAE


def auxiliary(**options: object) -> AuxiliaryVAE:
    model = small("auxiliary-vae", spec(), shake=0.1, **options)
    assert isinstance(model, AuxiliaryVAE)
    return model


@pytest.mark.parametrize("latent", ["vector", "grid"])
@torch.no_grad()
def test_with_equal_densities_it_is_the_vae(latent: str) -> None:
    model, plain = auxiliary(latent=latent), small("vae", spec(), latent=latent)
    assert isinstance(plain, VAE)
    model.model_head.head.load_state_dict(model.auxiliary_head.state_dict())  # p(a|x,z) = q(a|x)
    for head in (model.model_head, model.posterior_head):  # and neither looks at the other latents
        head.correction[2].weight.zero_()
        head.correction[2].bias.zero_()
    for part in ("encoder", "latent_projection", "decoder"):
        getattr(plain, part).load_state_dict(getattr(model, part).state_dict())
    plain.head.load_state_dict(model.posterior_head.head.state_dict())
    images, observed, conditions = inputs(model.spec, 5)
    observed[:, 0] = False
    features = model.features(images, observed)
    noise = torch.randn(5, 2, *model.latent_shape, generator=seeded())
    ours, theirs = model.sample_posterior(features, noise), plain.sample_posterior(features, noise[:, 1:])
    assert torch.equal(ours.latents, theirs.latents)
    assert torch.equal(ours.kl, theirs.kl)
    torch.testing.assert_close(
        model.sample_weighted(features, noise).log_ratio, plain.sample_weighted(features, noise[:, 1:]).log_ratio
    )
    assert torch.equal(model.reconstruct(images, observed, conditions), plain.reconstruct(images, observed, conditions))


@torch.no_grad()
def test_the_ratio_of_the_densities_is_the_objective() -> None:
    model = auxiliary()
    images, observed, _ = inputs(model.spec, 4)
    features = model.features(images, observed)
    noise = torch.randn(4, 2, *model.latent_shape, generator=seeded())
    q_a_mean, q_a_log_variance = model.auxiliary_head(features).chunk(2, dim=1)
    q_a = Normal(q_a_mean, (q_a_log_variance / 2).exp())
    a = q_a.loc + q_a.scale * noise[:, 0]
    q_z = Normal(model.posterior_head(features, a).mean, model.posterior_head(features, a).std)
    z = q_z.loc + q_z.scale * noise[:, 1]
    p_a = Normal(model.model_head(features, z).mean, model.model_head(features, z).std)
    terms = Normal(0.0, 1.0).log_prob(z) + p_a.log_prob(a) - q_a.log_prob(a) - q_z.log_prob(z)
    weighed = model.sample_weighted(features, noise)
    assert torch.equal(weighed.latents, z)
    torch.testing.assert_close(weighed.log_ratio.float(), terms.flatten(1).sum(dim=1), rtol=1e-4, atol=1e-4)
    # The trained divergence has the part of z in closed form.
    known = torch.distributions.kl_divergence(q_z, Normal(0.0, 1.0)) + q_a.log_prob(a) - p_a.log_prob(a)
    torch.testing.assert_close(model.sample_posterior(features, noise).kl, known.flatten(1).sum(dim=1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_latents_see_the_auxiliary_ones_and_the_other_way_round() -> None:
    model = auxiliary()
    images, observed, _ = inputs(model.spec)
    features = model.features(images, observed)
    latents = torch.randn(3, 6, 1, 1, generator=seeded())
    for head in (model.posterior_head, model.model_head):
        assert not torch.allclose(head(features, latents).mean, head(features, -latents).mean)
