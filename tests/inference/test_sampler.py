"""New images and completions, with a tokenizer and a prior whose answers are known."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import vqkit
from painting import SHAPES, Counting, pipeline, sampler, sections
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.inference import prior_batches
from vqkit.inference.postprocess import fill_stored, to_stored
from vqkit.inference.sampler import Sampler, load_sampler
from vqkit.interfaces import Codes, DataSpec
from vqkit.interfaces.priors import Sampling
from vqkit.storage.checkpoints import load_model, write_model

SHARP = 50.0
"""A code that is one off is e^50 times less probable: the prior always draws the most probable one."""
PETS = DataSpec.uniform("pets", ("grey",), 8, 8, "intensity", classes=("cat", "dog", "eel", "fox"))
SEEN = torch.zeros(1, 3, 8, 12, dtype=torch.bool)
SEEN[:, 1, :, :6] = True


def counted(first: int) -> list[list[int]]:
    return [[(first + 3 * row + column) % 16 for column in range(3)] for row in range(2)]


def equal(first: Codes, second: Codes) -> bool:
    return all(torch.equal(*levels) for levels in zip(first, second, strict=True))


def test_samples_are_what_the_prior_says_and_the_tokenizer_makes_of_it() -> None:
    drawn = sampler("metadata", sharpness=SHARP).sample(3, {"width_px": [0, 40, 100]})
    assert drawn.codes[0].tolist() == [counted(0), counted(6), counted(15)]
    expected = pipeline(SHAPES).decode(drawn.codes, {"width_px": torch.tensor([0.0, 40, 100])})
    assert torch.equal(drawn.expected, expected)
    assert torch.equal(drawn.images, to_stored(expected, SHAPES))
    assert drawn.conditions.tolist() == [[0], [40], [100]] and drawn.labels.tolist() == [-1, -1, -1]


def test_classes_go_by_name_or_number() -> None:
    ready = sampler("class", sharpness=SHARP, spec=PETS)
    assert ready.sample(2, labels="eel").codes[0][:, 0, 0].tolist() == [2, 2]
    drawn = ready.sample(3, labels=["fox", 1, "cat"])
    assert drawn.codes[0][:, 0, 0].tolist() == [3, 1, 0] and drawn.labels.tolist() == [3, 1, 0]
    assert ready.sample(2, labels=torch.tensor([2, 3])).labels.tolist() == [2, 3]


def test_who_is_told_nothing_gets_the_null_condition() -> None:
    ready = sampler("metadata", sharpness=SHARP)
    told = ready.sample(40, {"width_px": torch.tensor([math.nan, 40.0]).repeat(20)})
    assert told.codes[0][1::2].tolist() == [counted(6)] * 20
    assert told.codes[0][::2].unique().tolist() == list(range(16)), "all codes are as likely"
    assert equal((told.codes[0][::2],), (ready.sample(40).codes[0][::2],))


@pytest.mark.parametrize(
    "other",
    [
        {"batch_size": 1},
        {"batch_size": 3},
        {"sampling": Sampling(guidance_scale=1.5, method="fixed-point")},
        {"sampling": Sampling(guidance_scale=1.5, method="naive"), "batch_size": 4},
    ],
)
def test_samples_do_not_depend_on_batches_nor_on_the_method(other: dict[str, Any]) -> None:
    ready, sampling = sampler("metadata"), Sampling(guidance_scale=1.5)
    drawn = ready.sample(7, {"width_px": 40}, sampling=sampling)
    assert len({str(codes) for codes in drawn.codes[0].tolist()}) == 7
    again = ready.sample(7, {"width_px": 40}, **{"sampling": sampling, **other})
    assert equal(drawn.codes, again.codes) and torch.equal(drawn.images, again.images)
    later = ready.sample(3, {"width_px": 40}, sampling=sampling, first=4)
    assert equal((drawn.codes[0][4:],), later.codes)
    assert not equal(drawn.codes, ready.sample(7, {"width_px": 40}, sampling=dataclasses.replace(sampling, seed=1)).codes)


def test_batches_are_as_large_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def max_batch_size(bytes_each: int, device: torch.device, most: int) -> int:
        asked.append(bytes_each)
        return 4

    monkeypatch.setattr(prior_batches, "max_batch_size", max_batch_size)
    ready = sampler("metadata")
    ready.sample(9, {"width_px": 40})
    ready.sample(1, {"width_px": 40}, sampling=Sampling(guidance_scale=2))
    assert ready.prior.seen_batches == [4, 4, 1, 2]  # type: ignore[attr-defined]
    # Six positions of ten tensors of sixteen logits in float32; no layers.
    assert asked == [6 * 10 * 16 * 4, 2 * 6 * 10 * 16 * 4]


class Narrow(Counting):
    """Has no memory for more than two samples, and notices when it is half done."""

    def sample(self, batch_size: int, *arguments: Any, **keywords: Any) -> Codes:
        if batch_size > 2:
            arguments[-1](0.5)
            raise torch.OutOfMemoryError("too much")
        return super().sample(batch_size, *arguments, **keywords)


def test_too_large_a_batch_is_halved_and_progress_is_not_counted_twice() -> None:
    wide = sampler("metadata")
    narrow = Sampler(Narrow(wide.prior.spec, 0.05).eval(), wide.pipeline, wide.path)
    told: list[float] = []
    drawn = narrow.sample(7, {"width_px": 40}, advance=told.append)
    assert equal(drawn.codes, wide.sample(7, {"width_px": 40}).codes)
    assert min(told) < 0 and sum(told) == pytest.approx(7)
    with pytest.raises(torch.OutOfMemoryError):
        narrow.sample(7, {"width_px": 40}, batch_size=4, advance=told.append)


def test_progress_is_told_in_samples() -> None:
    told: list[float] = []
    sampler("metadata").sample(5, {"width_px": 40}, batch_size=2, advance=told.append)
    assert sum(told) == pytest.approx(5) and len(told) >= 18


def test_a_value_outside_the_range_is_drawn_with_a_warning() -> None:
    ready = sampler("metadata", sharpness=SHARP)
    with pytest.warns(UserWarning, match="width_px 120 is outside the range that the prior was trained with, 0 to 100") as caught:
        drawn = ready.sample(2, {"width_px": [120, 40]})
    assert len(caught) == 1 and drawn.codes[0][:, 0, 0].tolist() == [15, 6]


UNTOLD: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
    (
        (),
        {"conditions": {"width_px": 40}},
        "not trained with --condition-on metadata.*tokenizer runs/blocks.* --condition-on metadata",
    ),
    (("metadata",), {"conditions": {"width": 40}}, "no condition 'width'.*Did you mean 'width_px'"),
    (("metadata",), {"labels": "cat"}, "not trained with --condition-on class.* --condition-on metadata,class"),
    (("metadata",), {"conditions": {"width_px": [1, 2]}}, "2 values for 3 images"),
    (("observed",), {"conditions": {"width_px": 40}}, "draws new ones only unconditionally.*--condition-on metadata"),
    (("observed", "metadata"), {"conditions": {"width_px": 40}}, "draws new ones only unconditionally"),
]


@pytest.mark.parametrize(("kinds", "told", "message"), UNTOLD)
def test_what_the_prior_cannot_be_told_is_refused(kinds: tuple[str, ...], told: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sampler(*kinds).sample(3, **told)


@pytest.mark.parametrize(
    ("label", "message"), [("cot", "no class 'cot'. Did you mean 'cat'"), (4, "no class '4'"), ([0, 1], "2 classes")]
)
def test_unknown_classes_are_refused(label: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sampler("class", spec=PETS).sample(3, labels=label)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 samples were requested"):
        sampler().sample(0)
    with pytest.raises(ConfigError, match="0 completions were requested"):
        sampler("observed").complete(sections(1), SEEN, 0)


def test_a_prior_that_completes_also_draws_new_images() -> None:
    assert equal(sampler("observed").sample(4).codes, sampler().sample(4).codes)


def test_completions_keep_what_is_kept_and_are_ranked() -> None:
    ready, images = sampler("observed"), sections(3)
    observed = SEEN.expand(3, -1, -1, -1)
    drawn = ready.complete(images, observed, 5)
    assert drawn.images.shape == (3, 5, 3, 8, 12) and drawn.codes[0].shape == (3, 5, 2, 3)
    for answers in drawn.images.unbind(dim=1):
        assert torch.equal(answers[observed], images[observed])
    assert bool((drawn.expected_error.diff(dim=1) >= 0).all()) and float(drawn.expected_error.diff(dim=1).max()) > 0.01
    likeliest = ready.complete(images, observed, 5, rank="likelihood")
    assert bool((likeliest.nll.diff(dim=1) >= 0).all()) and float(likeliest.nll.diff(dim=1).max()) > 0.01
    order = drawn.nll.argsort(dim=1)[:, :, None, None, None].expand(drawn.images.shape)
    assert torch.equal(drawn.images.gather(1, order), likeliest.images)
    # Each answer is what its own codes say, and as unlikely as the prior says.
    seen = pipeline(SHAPES).encode(images, observed=observed)[0].flatten(1)
    for image, rank in ((0, 0), (2, 4)):
        codes = drawn.codes[0][image, rank]
        expected = pipeline(SHAPES).decode((codes[None],))
        assert torch.equal(drawn.images[image, rank], fill_stored(expected, images[image, None], SEEN, SHAPES)[0])
        apart = torch.arange(16) - seen[image, :, None]
        likely = (-0.05 * apart**2).log_softmax(dim=-1)
        nll = -likely.gather(1, codes.flatten()[:, None]).sum()
        assert float(drawn.nll[image, rank]) == pytest.approx(float(nll), abs=1e-4)


def test_uncertainty_is_one_where_half_of_the_answers_have_a_shape() -> None:
    ready, images = sampler("observed"), sections(2)
    drawn = ready.complete(images, SEEN.expand(2, -1, -1, -1), 4)
    share = (drawn.images > 0).float().mean(dim=1)
    expected = 2 * (share * (1 - share)).sqrt()
    torch.testing.assert_close(drawn.uncertainty, expected * ~SEEN)
    assert {0.0, 1.0} <= set(drawn.uncertainty.unique().tolist())
    assert bool((ready.complete(images, SEEN.expand(2, -1, -1, -1), 1).uncertainty == 0).all())


def test_completions_do_not_depend_on_batches_nor_on_other_images() -> None:
    ready, images, observed = sampler("observed", "metadata"), sections(5), SEEN.expand(5, -1, -1, -1)
    told = {"width_px": [10.0, 20, 30, 40, 50]}
    drawn = ready.complete(images, observed, 3, told)
    again = ready.complete(images, observed, 3, told, batch_size=4)
    later = ready.complete(images[3:], observed[3:], 3, {"width_px": [40.0, 50]}, first=3)
    assert torch.equal(drawn.images, again.images) and torch.equal(drawn.nll, again.nll)
    assert torch.equal(drawn.images[3:], later.images)


def test_a_mask_may_be_one_for_all() -> None:
    ready, images = sampler("observed"), sections(2)
    mask = torch.arange(12).expand(8, 12) < 6
    whole = ready.complete(images, mask.expand(2, 3, 8, 12), 2)
    assert torch.equal(ready.complete(images, mask, 2).images, whole.images)


@pytest.mark.parametrize(
    ("images", "observed", "message"),
    [
        (sections(1) / 255, SEEN, "float32; uint8 is expected"),
        (sections(1)[:, :2], SEEN, "The image is 2 x 8 x 12"),
        (sections(1), SEEN[..., :5], "the images have"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: torch.Tensor, observed: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sampler("observed").complete(images, observed, 2)


def test_completing_needs_a_prior_that_sees_images_and_knows_the_conditions() -> None:
    with pytest.raises(
        ConfigError, match=r"was not trained to complete images.*train-prior --tokenizer runs/blocks\S+ --condition-on observed"
    ):
        sampler("metadata").complete(sections(1), SEEN, 2)
    with pytest.raises(ConfigError, match=r"not trained with --condition-on metadata.*--condition-on observed,metadata"):
        sampler("observed").complete(sections(1), SEEN, 2, {"width_px": 40})


def test_a_run_is_loaded_with_its_tokenizer(tiny_prior_run: Path, tiny_run: Path) -> None:
    ready = vqkit.load_sampler(tiny_prior_run, device="cpu")
    assert ready.pipeline.path.is_relative_to(tiny_run) and ready.path.is_relative_to(tiny_prior_run)
    assert ready.data is not None and ready.data.name == "tyre"
    drawn = ready.sample(3, {"width_px": 50}, sampling=vqkit.Sampling(seed=3))
    assert drawn.images.shape == (3, 5, 64, 32) and int((drawn.images > 0).sum(dim=1).max()) == 1
    again = load_sampler(tiny_prior_run, tokenizer=tiny_run, device="cpu").sample(3, {"width_px": 50}, sampling=Sampling(seed=3))
    assert torch.equal(drawn.images, again.images)


def test_another_tokenizer_is_refused(tiny_prior_run: Path, tiny_run: Path, tmp_path: Path) -> None:
    trained = load_model(tiny_run)
    with torch.no_grad():
        next(trained.model.parameters()).add_(0.01)
    changed = tmp_path / "model.safetensors"
    write_model(changed, trained.model, trained.data)
    with pytest.raises(CheckpointError, match=rf"models the codes of the tokenizer {trained.digest[:12]}; \S+ is another one"):
        load_sampler(tiny_prior_run, tokenizer=changed, device="cpu")
    with pytest.raises(CheckpointError, match="name the right one with --run"):
        load_sampler(tiny_prior_run, tokenizer=changed, device="cpu", tokenizer_option="--run")
    shutil.copytree(tiny_prior_run, tmp_path / "elsewhere" / "moved")
    with pytest.raises(CheckpointError, match=r"is not at .* any more. Name its run with --tokenizer."):
        load_sampler(tmp_path / "elsewhere" / "moved", device="cpu")
    assert load_sampler(tmp_path / "elsewhere" / "moved", tokenizer=tiny_run, device="cpu").pipeline.path.is_relative_to(tiny_run)


def test_a_model_is_no_prior(tiny_run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds a model, not a prior\. Name a run of train-prior"):
        load_sampler(tiny_run, device="cpu")


def test_completing_with_a_trained_run(tiny_completing_run: Path) -> None:
    ready = load_sampler(tiny_completing_run, device="cpu")
    images = vqkit.DATASETS.build("tyre", {"num_test": 2, "num_train": 1, "num_val": 1}).split("test").batch(torch.arange(2)).images
    observed = torch.zeros(2, 5, 64, 32, dtype=torch.bool)
    observed[:, 0] = True
    drawn = ready.complete(images, observed, 3, {"width_px": 50})
    assert torch.equal(drawn.images[:, :, 0], images[:, None, 0].expand(-1, 3, -1, -1))
    assert all(len({str(answer.tolist()) for answer in answers}) > 1 for answers in drawn.images)
    assert not torch.equal(drawn.images[0], drawn.images[1])
