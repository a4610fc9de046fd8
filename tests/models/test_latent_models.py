"""What every autoencoder with a continuous bottleneck must do: sizes, what it may see, gradients, draws and losses."""

from __future__ import annotations

import pytest
import torch
from latent_cases import GENERATIVE, NAMES, inputs, seeded, small, spec

from vqkit.errors import ConfigError
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.models.latent import VariationalModel
from vqkit.models.likelihoods import DiscretizedLogistic
from vqkit.models.vae import VAE


@pytest.mark.parametrize("latent", ["vector", "grid"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("height", "width", "components", "kind"), [(28, 28, 1, "intensity"), (16, 24, 3, "intensity"), (8, 32, 5, "binary")]
)
@torch.no_grad()
def test_any_size_and_number_of_components(name: str, latent: str, height: int, width: int, components: int, kind: str) -> None:
    data = spec(height, width, kind, components, conditions=kind == "binary")
    model = small(name, data, latent=latent)
    images, observed, conditions = inputs(data)
    result = model(images, observed, conditions, seeded())
    assert result.logits.shape == images.shape
    assert result.codes == ()
    assert model.expected_latents(model.features(images, observed)).shape == (
        3,
        6,
        *((height // 4, width // 4) if latent == "grid" else (1, 1)),
    )
    mean = model.reconstruct(images, observed, conditions)
    assert mean.shape == images.shape and mean.dtype == torch.float32
    assert 0 <= float(mean.min()) < float(mean.max()) <= 1


@pytest.mark.parametrize("options", [{}, {"latent": "grid"}, {"attention": False, "stride": 8}], ids=str)
@pytest.mark.parametrize("name", [*NAMES, "learned"])
def test_a_step_in_bfloat16_is_finite_and_reaches_every_parameter(name: str, options: dict[str, object]) -> None:
    data = spec(kind="intensity")
    options = {"correlation": "learned", **options} if name == "learned" else options
    model = small("treevi" if name == "learned" else name, data, **options)
    images, observed, conditions = inputs(data, 4)
    conditions[0] = 45.0
    with torch.autocast("cpu", torch.bfloat16):
        shown = observed.clone()
        shown[:2], shown[2:, 1:] = False, False
        result = model(images, observed, conditions, seeded(), shown=shown)
        assert model.reconstruct(images, observed, conditions).dtype == torch.float32
        assert model.complete(images, observed, conditions).dtype == torch.float32
    loss = torch.stack([*result.named_losses.values(), *result.adversarial_losses.values()]).sum()
    loss.backward()
    assert bool(loss.isfinite())
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), label
        assert float(parameter.grad.abs().sum()) > 0, label


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_what_is_hidden_cannot_be_seen(name: str) -> None:
    data = spec()
    model = small(name, data).eval()
    images, observed, conditions = inputs(data)
    observed[:, 1:] = False
    observed[:, 0, :8] = False
    changed = torch.where(observed, images, 1 - images)
    assert torch.equal(model.reconstruct(images, observed, conditions), model.reconstruct(changed, observed, conditions))
    empty = images * observed  # missing is not empty
    assert not torch.allclose(
        model.reconstruct(empty, observed, conditions), model.reconstruct(empty, torch.ones_like(observed), conditions)
    )


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_conditions_shift_the_decoder_and_may_be_unknown(name: str) -> None:
    data = spec()
    model = small(name, data).eval()
    images, observed, unknown = inputs(data)
    known = torch.tensor([[45.0, 55.0]]).expand(3, 2)
    results = [model.reconstruct(images, observed, each) for each in (unknown, known)]
    assert all(bool(result.isfinite().all()) for result in results)
    assert not torch.allclose(*results)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_nothing_is_drawn_without_a_generator(name: str) -> None:
    data = spec()
    model = small(name, data).eval()
    images, observed, conditions = inputs(data)
    mean = model.mean(model(images, observed, conditions).logits)
    assert torch.equal(mean, model.reconstruct(images, observed, conditions))
    first, again, other = (model(images, observed, conditions, seeded(seed)).logits for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "autoencoder")


def test_a_size_that_does_not_divide_names_the_strides_that_do() -> None:
    with pytest.raises(ConfigError, match=r"24 x 12 .* 8, the stride \(model.stride = 8\)") as error:
        small("vae", spec(24, 12), stride=8)
    assert error.value.hint.endswith("or use model.stride = 4.")


def test_likelihoods_by_the_kind_of_value() -> None:
    binary, grey = small("vae", spec()), small("vae", spec(kind="intensity"))
    assert (binary.likelihood.name, grey.likelihood.name) == ("bernoulli", "logistic")
    assert isinstance(grey.likelihood, DiscretizedLogistic) and grey.likelihood.log_scale.shape == (3,)
    assert small("autoencoder", spec(kind="intensity"), likelihood="l1").likelihood.name == "l1"


@torch.no_grad()
def test_the_loss_of_images_with_gaps_is_the_elbo_by_what_is_present() -> None:
    data = spec(kind="binary")
    model = small("vae", data)
    assert isinstance(model, VAE)
    images, _, conditions = inputs(data, 4)
    present = torch.rand(images.shape, generator=seeded(8)) < torch.tensor([0.2, 0.5, 1.0, 0.9])[:, None, None, None]
    losses = model(images * present, present, conditions, seeded(3), present).named_losses
    posterior = model.posterior(model.features(images * present, present))
    normal = torch.distributions.Normal(posterior.mean, posterior.std)
    divergence = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum()
    noise = torch.randn(4, 1, 6, 1, 1, generator=seeded(3))[:, 0]
    logits = model.logits(posterior.mean + posterior.std * noise, conditions)
    log_probability = torch.distributions.Bernoulli(logits=logits).log_prob(images)[present].sum()
    elbo = float(log_probability - divergence)
    assert float(losses["recon"] + losses["kl"]) == pytest.approx(-elbo / int(present.sum()), rel=1e-5)


@pytest.mark.parametrize("kind", ["binary", "intensity"])
@torch.no_grad()
def test_the_loss_of_the_vae_is_the_elbo_by_the_size_of_an_image(kind: str) -> None:
    data = spec(kind=kind)
    model = small("vae", data)
    assert isinstance(model, VAE)
    images, observed, conditions = inputs(data, 2)
    losses = model(images, observed, conditions, seeded(3)).named_losses
    posterior = model.posterior(model.features(images, observed))
    normal = torch.distributions.Normal(posterior.mean, posterior.std)
    divergence = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(dim=1)
    noise = torch.randn(2, 1, 6, 1, 1, generator=seeded(3))[:, 0]
    logits = model.logits(posterior.mean + posterior.std * noise, conditions)
    assert float(losses["kl"]) == pytest.approx(float(divergence.mean()) / images[0].numel(), rel=1e-5)
    assert float(losses["recon"]) == pytest.approx(float(model.likelihood.loss(logits, images)), rel=1e-6)
    # The same from the other side: one draw of log p(x, z) - log q(z|x) with the densities of torch.distributions.
    weight = model.log_weights(images, conditions, 1, seeded(3))[0]
    latents = normal.loc + normal.scale * noise
    ratio = torch.distributions.Normal(0.0, 1.0).log_prob(latents) - normal.log_prob(latents)
    expected = -model.likelihood.loss(logits, images) * images.numel() + ratio.sum()
    assert float(weight.sum()) == pytest.approx(float(expected), rel=1e-5)


@torch.no_grad()
def test_beta_weighs_the_divergence_and_leaves_the_rest() -> None:
    data = spec()
    plain, weighed = small("vae", data), small("beta-vae", data, beta=3.0)
    images, observed, conditions = inputs(data)
    one, three = (model(images, observed, conditions, seeded()).named_losses for model in (plain, weighed))
    assert float(three["kl"]) == pytest.approx(3 * float(one["kl"]), rel=1e-6)
    assert torch.equal(one["recon"], three["recon"])


def test_active_dimensions_are_counted() -> None:
    data = spec()
    model = small("vae", data, shake=0)
    assert isinstance(model, VAE)
    images, observed, conditions = inputs(data, 8)
    last = model.head[3]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight[:6] = 0.0
        assert float(model(images, observed, conditions).monitors["active"]) == 0
        last.weight[0] = 100.0
        assert float(model(images, observed, conditions).monitors["active"]) == pytest.approx(1 / 6)


@pytest.mark.parametrize("latent", ["vector", "grid"])
@pytest.mark.parametrize("name", GENERATIVE)
def test_a_sample_is_a_function_of_its_seed_and_number(name: str, latent: str) -> None:
    data = spec()
    model = small(name, data, latent=latent).eval()
    assert isinstance(model, GenerativeAutoencoder)
    conditions = torch.full((5, 2), float("nan"))
    with torch.inference_mode():
        whole = model.sample(conditions, seed=4)
        parts = [model.sample(conditions[:2], seed=4), model.sample(conditions[2:], seed=4, first=2)]
        other, cold = model.sample(conditions, seed=5), model.sample(conditions, seed=4, temperature=1e-6)
    assert whole.shape == (5, 3, 24, 16) and whole.dtype == torch.float32
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)
    assert not torch.allclose(other, whole, atol=1e-3)
    torch.testing.assert_close(cold, cold[:1].expand_as(cold), rtol=0, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3)


def test_samples_are_told_conditions() -> None:
    model = small("vae", spec()).eval()
    assert isinstance(model, VariationalModel)
    with torch.inference_mode():
        told, untold = model.sample(torch.tensor([[41.0, 59.0]])), model.sample(torch.full((1, 2), float("nan")))
    assert not torch.allclose(told, untold)


def test_only_the_plain_autoencoder_draws_nothing() -> None:
    data = spec()
    assert [name for name in NAMES if isinstance(small(name, data), GenerativeAutoencoder)] == list(GENERATIVE)
