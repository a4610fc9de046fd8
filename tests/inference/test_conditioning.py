"""What a prior is told: nothing of what is hidden, all of what is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from vqkit.errors import ConfigError
from vqkit.inference.conditioning import code_spec, condition_kinds, conditioning_for, observed_maps
from vqkit.inference.pipeline import load
from vqkit.interfaces import CodeSpec, Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_run: Path) -> Tokenizer:
    return load(tiny_run).tokenizer


def seen(tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 5, 64, 32, generator=generator).round()
    return images, (torch.rand(2, 5, 1, 1, generator=generator) < 0.5).expand(images.shape)


def test_the_specification_names_what_is_told(tokenizer: Tokenizer) -> None:
    spec = code_spec(tokenizer, ["metadata", "observed"])
    assert spec.shapes == ((16, 8),)
    assert spec.cardinalities == (32,)
    assert spec.conditions == tokenizer.spec.conditions
    assert spec.observed_channels == (8 + 2 * 5 * 16,)  # code dimensions; pixels and indicators of 4 x 4 pixels a code
    assert condition_kinds(spec) == ("metadata", "observed")
    assert CodeSpec.from_json(spec.to_json()) == spec
    assert not code_spec(tokenizer, []).is_conditional


def test_the_map_holds_every_seen_pixel_and_nothing_of_the_others(tokenizer: Tokenizer) -> None:
    images, observed = seen(tokenizer)
    (level,) = observed_maps(tokenizer, images, observed)
    assert level.shape == (2, 168, 16, 8)
    assert not level.requires_grad
    pixels, known = F.pixel_shuffle(level[:, 8:], 4).chunk(2, dim=1)
    assert torch.equal(known > 0, observed)
    assert torch.equal(pixels, torch.where(observed, 2 * images - 1, 0))
    changed = torch.where(observed, images, 1 - images)
    assert torch.equal(observed_maps(tokenizer, changed, observed)[0], level)
    assert torch.equal(level[:, :8], tokenizer.features(images, observed)[0])


def test_a_prior_hears_only_what_it_was_trained_with(tokenizer: Tokenizer) -> None:
    conditions, labels = torch.rand(3, 2), torch.tensor([0, 1, -1])
    told = conditioning_for(code_spec(tokenizer, []), conditions, labels)
    assert told.values.shape == (3, 0)
    assert told.labels.tolist() == [-1, -1, -1]
    assert not bool(told.dropped.any())
    assert torch.equal(conditioning_for(code_spec(tokenizer, ["metadata"]), conditions, labels).values, conditions)


@pytest.mark.parametrize("told", [True, False])
def test_an_image_and_a_prior_that_completes_belong_together(tokenizer: Tokenizer, told: bool) -> None:
    spec = code_spec(tokenizer, ["observed"] if told else [])
    maps = () if told else observed_maps(tokenizer, *seen(tokenizer))
    with pytest.raises(ConfigError, match="needs an image to complete" if told else "cannot complete images"):
        conditioning_for(spec, torch.empty(2, 0), torch.tensor([-1, -1]), maps)


@pytest.mark.parametrize(("kind", "message"), [("clas", "no condition 'clas'"), ("class", "has no classes")])
def test_what_the_data_do_not_have_cannot_be_told(tokenizer: Tokenizer, kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        code_spec(tokenizer, [kind])
