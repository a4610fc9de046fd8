"""Settings of priors: what they change, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from small_priors import LEVELS, random_codes, small_prior, small_spec
from vqkit.errors import ConfigError
from vqkit.interfaces import CodeSpec
from vqkit.priors.pixelcnn import attention_places
from vqkit.registry import PRIORS


@pytest.mark.parametrize("name", [name for name, levels in LEVELS.items() if levels == 1])
def test_a_tokenizer_of_several_levels_is_refused(name: str) -> None:
    spec = CodeSpec(("top", "bottom"), ((4, 4), (8, 8)), (16, 16))
    with pytest.raises(ConfigError, match=rf"{name} models one level of codes; this tokenizer has 2") as caught:
        PRIORS.build(name, {}, spec)
    assert "--prior hierarchical" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("transformer", {"width": 100}, r"width \(100\) must be a multiple of head_width \(64\)"),
        ("transformer", {"dropout": 1.0}, r"dropout: .*less than 1"),
        ("transformer", {"heads": 4}, r"transformer' has no setting 'heads'"),
        ("pixelcnn", {"kernel": 4}, r"the kernel must be odd, not 4"),
        ("pixelcnn", {"first_kernel": 6}, r"the kernel must be odd, not 6"),
        ("pixelcnn", {"layers": 0}, r"layers: .*greater than or equal to 1"),
        ("pixelcnn", {"layers": 2, "attention": 2}, r"attention \(2 blocks\) must be less than the number of layers \(2\)"),
        ("hierarchical", {"kernel": [3, 4]}, r"level 2, kernel: the kernel must be odd, not 4"),
        ("hierarchical", {"layers": 2, "attention": [0, 2]}, r"level 2: attention \(2 blocks\) must be less than .*layers \(2\)\."),
        ("hierarchical", {"channels": 4}, r"level 1, channels: .*greater than or equal to 8"),
        ("hierarchical", {"channels": []}, r"channels: .*at least 1 item"),
        ("hierarchical", {"blocks": [1, 0]}, r"blocks.1: .*greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PRIORS.options(name, options)


def test_what_is_wrong_with_several_settings_is_a_sentence() -> None:
    with pytest.raises(ConfigError) as caught:
        PRIORS.options("transformer", {"width": 100})
    assert caught.value.message == "In the prior 'transformer': the width (100) must be a multiple of head_width (64)."
    assert caught.value.hint == "vqkit models transformer lists its settings."


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pixelcnn", {"channels": 24}),
        ("pixelcnn", {"layers": 1}),
        ("pixelcnn", {"kernel": 5, "first_kernel": 3}),
        ("pixelcnn", {"attention": 1}),
        ("transformer", {"width": 24}),
        ("transformer", {"layers": 3}),
        ("transformer", {"head_width": 4}),
        ("hierarchical", {"channels": [16, 24]}),
        ("hierarchical", {"layers": [3, 4]}),
        ("hierarchical", {"kernel": [3, 5]}),
        ("hierarchical", {"first_kernel": [7, 3]}),
        ("hierarchical", {"attention": [1, 0]}),
        ("hierarchical", {"blocks": 2}),
    ],
)
def test_every_setting_changes_what_a_prior_makes_of_codes(name: str, options: dict[str, Any]) -> None:
    spec = small_spec(levels=LEVELS[name])
    codes = random_codes(spec, 2)
    usual, other = (small_prior(name, spec, **each).loss_function(*codes)["total_loss"] for each in ({}, options))
    assert float(usual.detach()) != pytest.approx(float(other.detach()), abs=1e-4)


@pytest.mark.parametrize(
    ("layers", "blocks", "places"),
    [(2, 1, [1]), (3, 2, [1, 2]), (15, 0, []), (15, 1, [14]), (15, 2, [7, 14]), (9, 4, [2, 4, 6, 8])],
)
def test_attention_is_spread_over_the_layers_up_to_the_last(layers: int, blocks: int, places: list[int]) -> None:
    assert attention_places(layers, blocks) == places


@pytest.mark.parametrize(
    ("name", "options"), [("pixelcnn", {"channels": 200, "attention": 1}), ("transformer", {"width": 224, "head_width": 32})]
)
def test_any_width_has_heads_that_divide_it(name: str, options: dict[str, Any]) -> None:
    spec = small_spec("observed")
    assert small_prior(name, spec, **options).loss_function(*random_codes(spec, 2))["total_loss"].isfinite()
