"""What a decoder makes of what it sees: nothing where nothing is shown, what is observed where it is, and a guess to begin with."""

from __future__ import annotations

import pytest
import torch
from latent_cases import inputs, small, spec
from torch import Tensor

from vqkit.interfaces import Autoencoder, Context, DataSpec, Tokenizer
from vqkit.layers.linear_guess import measure_patches
from vqkit.layers.spatial_covariance import SpatialCovariance
from vqkit.models.context import ContextBranch
from vqkit.registry import MODELS

NAMES = ("vqvae", "vqvae2", "autoencoder", "vae", "adversarial-vae")


def model_of(name: str, data: DataSpec, **options: object) -> Autoencoder:
    if name not in ("vqvae", "vqvae2"):
        return small(name, data, **options).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer = {"num_codes": 32, "dim": 8}
        model: Autoencoder = MODELS.build(name, {"hidden": 16, "inner": 8, "quantizer": quantizer, **options}, data)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        images, observed, conditions = inputs(data)
        with torch.no_grad():
            model.train()(images, observed, conditions)  # the first batch initialises the codebook
    return model.eval()


def branch_of(model: Autoencoder) -> ContextBranch:
    """The branch of the decoder that is given the guess."""
    return next(each for each in model.modules() if isinstance(each, ContextBranch) and each.start is not None)


def parts(observed: Tensor) -> Tensor:
    """Nothing of the first image, all but a component of the second, all but a box of the third."""
    shown = observed.clone()
    shown[0] = False
    shown[1, 1] = False
    shown[2, :, 4:9, 3:8] = False
    return shown


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["binary", "intensity"])
@torch.no_grad()
def test_where_nothing_is_shown_nothing_changes(name: str, kind: str) -> None:
    data = spec(32, 16, kind)
    model = model_of(name, data)
    images, observed, conditions = inputs(data)
    alone = model.reconstruct(images, observed, conditions)
    seen = model.reconstruct(images, observed, conditions, parts(observed))
    assert torch.allclose(alone[0], seen[0], atol=1e-6)
    assert not torch.allclose(alone[1:], seen[1:], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_hidden_pixels_do_not_matter(name: str) -> None:
    data = spec(32, 16, "intensity")
    model = model_of(name, data)
    images, observed, conditions = inputs(data)
    shown = parts(observed)
    spoiled = torch.where(shown, images, torch.nan)
    assert torch.equal(model.complete(images, shown, conditions), model.complete(spoiled, shown, conditions))


@pytest.mark.parametrize("name", ["vqvae", "vqvae2"])
@torch.no_grad()
def test_observed_intensities_are_given_back(name: str) -> None:
    data = spec(32, 16, "intensity")
    model = model_of(name, data)
    images, observed, conditions = inputs(data)
    shown = parts(observed)
    completed = model.complete(images, shown, conditions)
    assert torch.allclose(completed[shown], images[shown], atol=1e-6)


@pytest.mark.parametrize("name", ["vqvae", "vae"])
def test_greys_under_bernoulli_are_corrected_as_shapes_are(name: str) -> None:
    """Their logits are not pixels: what is observed cannot be put there."""
    data = spec(32, 16, "intensity")
    model = model_of(name, data, likelihood="bernoulli")
    (branch,) = [each for each in model.modules() if isinstance(each, ContextBranch)]
    assert branch.start is None and not branch.intensities.any()
    images, observed, conditions = inputs(data)
    images = images.clamp(0.02, 0.98)
    model.train()
    step = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        step.zero_grad()
        result = model(images, observed, conditions, shown=parts(observed))
        result.reconstruction_loss.backward()
        step.step()
    with torch.no_grad():
        errors = (model.mean(result.logits) - images)[1:, 0].abs()  # observed
    assert float(errors.mean()) < 0.1


@torch.no_grad()
def test_with_a_gain_of_zero_the_answer_is_the_guess() -> None:
    data = spec(32, 16, "intensity")
    model = model_of("vqvae", data)
    images, observed, conditions = inputs(data)
    shown = parts(observed)
    branch = branch_of(model)
    assert branch.start is not None
    guess = branch.start(images, shown).clamp(0, 1)
    corrected = model.complete(images, shown, conditions)
    assert not torch.allclose(corrected[1, 1], guess[1, 1], atol=1e-3)
    branch.gain[1, 2] = 0.0  # of the second component, where two are kept
    assert torch.allclose(model.complete(images, shown, conditions)[1, 1], guess[1, 1], atol=1e-6)
    assert torch.equal(model.complete(images, shown, conditions)[2], corrected[2])
    # In training corrections are learned as they are.
    logits = model.train()(images, shown, conditions, shown=shown).logits
    assert torch.allclose(logits[1, 1].clamp(0, 1), corrected[1, 1], atol=1e-3)


@torch.no_grad()
def test_the_case_of_a_pixel_is_its_distance_into_a_hole_or_the_number_of_kept_components() -> None:
    data = spec(32, 32, "intensity")
    branch = branch_of(model_of("vqvae", data))
    count = len(data.components)
    observed = torch.ones(3, count, 32, 32, dtype=torch.bool)
    observed[0, :, 4:15, 10:18] = False  # small
    observed[1, 0, 1:, :] = False  # large
    observed[1, 1] = False
    observed[2] = False
    cases = branch.cases(observed)
    distances = torch.zeros(count, 32, 32, dtype=torch.int64)
    for component, row, column in (~observed[0]).nonzero().tolist():
        seen = observed[0, component].nonzero()
        far = (seen - torch.tensor([row, column])).abs().amax(dim=1).min()
        distances[component, row, column] = int((far > torch.tensor([1, 2, 4, 8, 12])).sum())
    assert int(distances.max()) == 2
    assert torch.equal(cases[0], count + distances)
    rows = torch.arange(32)[:, None].expand(32, 32)
    assert torch.equal(cases[1, 0], count + 5 + (rows[..., None] > torch.tensor([1, 2, 4, 8, 12])).sum(dim=-1))
    assert bool((cases[1, 1] == count - 1).all()) and bool((cases[2] == 0).all())
    assert branch.gain.shape == (count, count + 11)


@pytest.mark.parametrize("name", ["vqvae", "vae"])
@torch.no_grad()
def test_without_the_option_the_decoder_sees_nothing(name: str) -> None:
    data = spec(32, 16, "intensity")
    model = model_of(name, data, context=False)
    images, observed, conditions = inputs(data)
    shown = parts(observed)
    assert torch.equal(model.complete(images, shown, conditions), model.reconstruct(images, shown, conditions))
    assert not [each for each in model.modules() if isinstance(each, ContextBranch)]


@torch.no_grad()
def test_codes_are_decoded_with_what_is_observed() -> None:
    data = spec(32, 16, "intensity")
    model = model_of("vqvae2", data)
    assert isinstance(model, Tokenizer)
    images, observed, conditions = inputs(data)
    shown = parts(observed)
    codes = model.encode(images, shown)
    decoded = model.decode(codes, conditions, Context(images, shown))
    assert torch.equal(decoded, model.complete(images, shown, conditions))


def test_the_guess_is_for_intensities_alone() -> None:
    assert [each.start for each in model_of("vqvae", spec(32, 16)).modules() if isinstance(each, ContextBranch)] == [None]
    # The generator adds to a decoder that begins with the guess, and sees nothing itself.
    adversarial = model_of("adversarial-vae", spec(32, 16, "intensity"))
    assert [each.start is not None for each in adversarial.modules() if isinstance(each, ContextBranch)] == [True]


@torch.no_grad()
def test_a_guess_can_be_left_for_the_mean_of_its_component() -> None:
    data = spec(32, 16, "intensity")
    model = model_of("vqvae", data)
    images, observed, conditions = inputs(data)
    shown = parts(observed)
    branch = branch_of(model)
    assert branch.start is not None
    branch.start.set_statistics(measure_patches([(images, None)], 3), SpatialCovariance.unknown(3))
    for parameter in branch.leave.parameters():
        parameter.zero_()
    guess = branch.start(images, shown)
    assert torch.allclose(model.complete(images, shown, conditions)[1, 1], guess[1, 1].clamp(0, 1), atol=1e-6)
    branch.leave.get_parameter("bias")[3:] = -20.0  # no trust in it at all
    mean = branch.start.mean[1].expand(32, 16)
    assert not torch.allclose(guess[1, 1], mean, atol=1e-3)
    assert torch.allclose(model.complete(images, shown, conditions)[1, 1], mean, atol=1e-5)


@pytest.mark.parametrize("name", ["vqvae", "vqvae2"])
def test_codes_of_samples_that_the_decoder_sees_are_trained_alone_as_well(name: str) -> None:
    data = spec(32, 16, "intensity")
    quantizer = {"name": "fsq", "levels": [5, 5, 5]}
    options = {"reconstruction_weight": 3.0, "quantizer": quantizer}
    plain, weighted = (MODELS.build(name, {"hidden": 16, "inner": 8, "codes_weight": weight, **options}, data) for weight in (0, 2))
    weighted.load_state_dict(plain.state_dict())
    images, observed, conditions = inputs(data)
    shown = parts(observed)
    present = torch.ones(len(images), 1, 1, 1, dtype=torch.bool)
    results = [model.train()(images, observed, conditions, present=present, shown=shown) for model in (plain, weighted)]
    assert "codes" not in results[0].losses
    assert torch.equal(results[0].reconstruction_loss, results[1].reconstruction_loss)
    alone = weighted(images[1:], observed[1:], conditions[1:]).reconstruction_loss  # nothing is shown of the first image
    assert torch.allclose(results[1].losses["codes"], 2 * alone * (len(images) - 1) / len(images), rtol=1e-5)
    results[1].losses["codes"].backward()
    branch = branch_of(weighted)
    assert all(parameter.grad is None for parameter in branch.parameters())
    for each in (weighted.eval()(images, observed, conditions, shown=shown), weighted.train()(images, observed, conditions)):
        assert "codes" not in each.losses
