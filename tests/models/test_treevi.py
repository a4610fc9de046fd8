"""TreeVI: the tree, the correlations along it, and the divergence, against dense Gaussians over the whole batch."""

from __future__ import annotations

import itertools

import pytest
import torch
from latent_cases import inputs, seeded, small, spec
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from vqkit.models.gaussian import Gaussian
from vqkit.models.spanning_tree import Tree, correlate, spanning_tree
from vqkit.models.treevi import MAX_CORRELATION, TreeVI, best_correlation, tree_kl
from vqkit.models.vae import VAE

BATCH = 9


def treevi(**options: object) -> TreeVI:
    model = small("treevi", spec(), **options)
    assert isinstance(model, TreeVI)
    return model


def random_tree(count: int = BATCH) -> Tree:
    return spanning_tree(torch.randn(count, 2, generator=seeded(count)))


def random_posterior(count: int = BATCH, size: int = 3) -> Gaussian:
    generator = seeded(7)
    return Gaussian(torch.randn(count, size, generator=generator), 0.5 * torch.randn(count, size, generator=generator))


def random_correlations(size: int = 3) -> Tensor:
    return 1.9 * torch.rand(BATCH, size, generator=seeded(8)) - 0.95


def path_products(tree: Tree, gamma: Tensor) -> Tensor:
    """Correlation matrix [B, B]: products of the gamma [B] on the path between two nodes, found by walking up to the root."""

    def above(node: int) -> list[int]:
        parent = int(tree.parents[node])
        return [node] if parent == node else [node, *above(parent)]

    matrix = torch.eye(len(gamma), dtype=torch.float64)
    for first, second in itertools.permutations(range(len(gamma)), 2):
        edges = set(above(first)) ^ set(above(second))  # the part of both ways that they do not share
        matrix[first, second] = gamma[list(edges)].double().prod()
    return matrix


def test_the_tree_is_the_shortest_one() -> None:
    points = torch.randn(5, 2, generator=seeded(3))
    tree = spanning_tree(points)
    lengths = torch.cdist(points, points)

    def connects(edges: tuple[tuple[int, int], ...]) -> bool:
        reached = {0}
        for _ in edges:
            reached |= {node for edge in edges if set(edge) & reached for node in edge}
        return len(reached) == 5

    every = [edges for edges in itertools.combinations(itertools.combinations(range(5), 2), 4) if connects(edges)]
    assert len(every) == 5**3  # Cayley's formula
    shortest = min(sum(float(lengths[edge]) for edge in edges) for edges in every)
    assert float(lengths[torch.arange(5), tree.parents].sum()) == pytest.approx(shortest)


def test_the_levels_of_a_tree_hold_every_node_below_its_parent() -> None:
    tree = random_tree(30)
    assert sorted(torch.cat(tree.levels).tolist()) == list(range(30))
    assert tree.levels[0].tolist() == [0] and int(tree.parents[0]) == 0
    for above, nodes in zip(tree.levels, tree.levels[1:], strict=False):
        assert set(tree.parents[nodes].tolist()) <= set(above.tolist())


def test_equal_distances_are_decided_in_the_same_way() -> None:
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    assert spanning_tree(corners).parents.tolist() == [0, 0, 0, 1, 0]
    assert spanning_tree(torch.zeros(4, 2)).parents.tolist() == [0, 0, 0, 0]
    broken = torch.tensor([[0.0], [float("nan")], [float("inf")], [1.0]])
    assert sorted(torch.cat(spanning_tree(broken).levels).tolist()) == [0, 1, 2, 3]  # the trainer skips such a step


def test_covariances_are_products_along_paths_exactly() -> None:
    tree, gamma = random_tree(), random_correlations(1)
    # Noise goes through linearly: its rows for unit vectors are the map, and the map times its transpose the covariance.
    linear = torch.stack([correlate(unit[:, None], tree, gamma)[:, 0] for unit in torch.eye(BATCH)], dim=1).double()
    torch.testing.assert_close(linear @ linear.T, path_products(tree, gamma[:, 0]), rtol=0, atol=1e-6)


def test_covariances_are_products_along_paths_in_draws() -> None:
    tree, gamma = random_tree(), random_correlations(1)
    noise = torch.randn(BATCH, 100_000, generator=seeded())
    drawn = correlate(noise, tree, gamma.expand(-1, 100_000)).double()
    torch.testing.assert_close(drawn @ drawn.T / 100_000, path_products(tree, gamma[:, 0]), rtol=0, atol=0.02)


@pytest.mark.parametrize("prior", [0.0, 0.4, 0.9])
def test_the_divergence_is_that_of_dense_gaussians(prior: float) -> None:
    tree, posterior, gamma = random_tree(), random_posterior(), random_correlations()
    dense = 0.0
    for dimension in range(3):
        deviation = posterior.std[:, dimension].double()
        covariance = deviation[:, None] * path_products(tree, gamma[:, dimension]) * deviation
        ours = MultivariateNormal(posterior.mean[:, dimension].double(), covariance)
        theirs = MultivariateNormal(torch.zeros(BATCH).double(), path_products(tree, torch.full((BATCH,), prior)))
        dense += float(kl_divergence(ours, theirs))
    assert float(tree_kl(posterior, tree, gamma, prior).sum()) == pytest.approx(dense, rel=1e-4)


@pytest.mark.parametrize("prior", [0.0, 0.3, 0.8, 0.99])
def test_the_closed_form_is_where_the_divergence_is_least(prior: float) -> None:
    tree, posterior = random_tree(), random_posterior(size=1)
    gamma = best_correlation(posterior.std, posterior.std[tree.parents], prior).requires_grad_()
    least = tree_kl(posterior, tree, gamma, prior)
    (slope,) = torch.autograd.grad(least.sum(), gamma)
    inside = gamma.detach()[1:] < MAX_CORRELATION
    assert bool(inside.any())
    assert float(slope[1:][inside].abs().max()) < 2e-3
    for other in torch.linspace(-MAX_CORRELATION, MAX_CORRELATION, 100):
        each = tree_kl(posterior, tree, torch.full((BATCH, 1), float(other)), prior)
        assert bool((each >= least.detach() - 1e-4).all())
    assert bool((gamma.detach() == 0).all()) == (prior == 0)


@pytest.mark.parametrize("correlation", ["closed-form", "learned"])
def test_without_correlations_it_is_the_vae_to_the_last_bit(correlation: str) -> None:
    model, plain = treevi(correlation=correlation, prior_correlation=0.0), small("vae", spec())
    assert isinstance(plain, VAE)
    if model.raw_correlation is not None:
        model.raw_correlation.data.zero_()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name != "raw_correlation"})
    images, observed, conditions = inputs(model.spec, BATCH)
    results = [each(images, observed, conditions, seeded(), shown=observed) for each in (model, plain)]
    assert torch.equal(results[0].logits, results[1].logits)
    for result in results:
        result.total_loss.backward()
    assert all(torch.equal(results[0].named_losses[name], results[1].named_losses[name]) for name in ("recon", "kl"))
    gradients = dict(model.named_parameters())
    for name, parameter in plain.named_parameters():
        ours = gradients[name].grad
        assert ours is not None and parameter.grad is not None and torch.equal(ours, parameter.grad), name


@torch.no_grad()
def test_draws_of_a_batch_are_correlated_along_the_tree_of_its_means() -> None:
    model = treevi(prior_correlation=0.9)
    images, observed, _ = inputs(model.spec, 4)
    features = model.features(images, observed)
    posterior = model.posterior(features)
    tree = spanning_tree(posterior.mean)
    gamma = model.correlations(posterior, tree)
    assert float(gamma[1:].min()) > 0.1
    noise = torch.randn(4, 1, *model.latent_shape, generator=seeded())
    drawn = model.sample_posterior(features, noise)
    torch.testing.assert_close(drawn.latents, posterior.rsample(correlate(noise[:, 0], tree, gamma)))
    torch.testing.assert_close(drawn.kl, tree_kl(posterior, tree, gamma, 0.9))
    assert not torch.equal(drawn.latents, posterior.rsample(noise[:, 0]))


@torch.no_grad()
def test_an_image_does_not_depend_on_others_in_its_batch() -> None:
    model = treevi(prior_correlation=0.9)
    images, observed, _ = inputs(model.spec, 4)
    others = 1 - images
    others[2] = images[2]  # not the root of the tree
    noise = torch.randn(4, 1, *model.latent_shape, generator=seeded())
    third = []
    for batch in (images, others):
        model.train()
        features = model.features(batch, observed)
        posterior = model.posterior(features)
        units = torch.eye(4)[:, :, None, None, None, None].expand(-1, -1, *noise.shape[1:])
        # In training the marginal of an image stays, whatever the others are: draws are linear in the noise, so this is exact.
        assert torch.equal(model.sample_posterior(features, torch.zeros_like(noise)).latents, posterior.mean)
        parts = torch.stack([model.sample_posterior(features, unit).latents - posterior.mean for unit in units])
        torch.testing.assert_close(parts.square().sum(dim=0).sqrt(), posterior.std)
        # Outside of training not even the draw depends on them.
        model.eval()
        third.append(model.sample_posterior(features, noise).latents[2])
    torch.testing.assert_close(third[0], third[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("correlation", ["closed-form", "learned"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_may_be_one_image(correlation: str, count: int) -> None:
    model, plain = treevi(correlation=correlation), small("vae", spec())
    images, observed, conditions = inputs(model.spec, count)
    result = model(images, observed, conditions, seeded(), shown=observed)
    result.total_loss.backward()
    for name, parameter in model.named_parameters():  # also those of edges that are not there
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
    if count == 1:
        plain.load_state_dict({name: value for name, value in model.state_dict().items() if name != "raw_correlation"})
        assert torch.equal(result.losses["kl"], plain(images, observed, conditions, seeded()).losses["kl"])


def test_a_learned_correlation_finds_the_best_one() -> None:
    model = treevi(correlation="learned", prior_correlation=0.8)
    tree, mean = random_tree(), torch.randn(BATCH, *model.latent_shape, generator=seeded())
    posterior = Gaussian(mean, torch.full_like(mean, -1.0))
    assert model.raw_correlation is not None
    optimizer = torch.optim.Adam([model.raw_correlation], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        tree_kl(posterior, tree, model.correlations(posterior, tree), 0.8).mean().backward()
        optimizer.step()
    best = best_correlation(posterior.std, posterior.std, 0.8)
    torch.testing.assert_close(model.correlations(posterior, tree).detach(), best, rtol=0, atol=1e-3)
