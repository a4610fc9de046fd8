"""Every check of a tokenizer passes a correct one and fails for the defect that it looks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from painting import COLOUR, DIGITS, SHAPES, Blocks, Steps, sections
from vqkit.config import NamedOptions
from vqkit.doctor import tokenizers
from vqkit.doctor.checks import Outcome
from vqkit.doctor.images import observed_mask, random_images
from vqkit.errors import CheckpointError
from vqkit.evaluation.codebook_usage import level_statistics
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import Batch, Codes, DataSpec, Quantized, Quantizer
from vqkit.registry import QUANTIZERS
from vqkit.storage.checkpoints import Loaded, digest, load_model

IMAGES = sections(5)


def pipeline(model: Blocks, kind: type[Pipeline] = Pipeline) -> Pipeline:
    loaded = Loaded(model, Path("blocks"), "d" * 64, NamedOptions(name="sections"), {})
    return kind(loaded, torch.device("cpu"), "fp32")


def codebook() -> Quantizer:
    quantizer: Quantizer = QUANTIZERS.build("ema", {"num_codes": 40, "dim": 6}).eval()
    quantizer.get_buffer("codes").copy_(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)))
    return quantizer


def features() -> Tensor:
    return torch.randn(2, 6, 5, 3, generator=torch.Generator().manual_seed(1)) + 3


def test_the_nearest_codes_pass() -> None:
    outcome = tokenizers.nearest_code((codebook(),), (features(),))
    assert outcome == Outcome("ok", "30 features: each has the nearest code, compared with brute force")


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_the_nearest_codes_of_simvq_pass(distance: str) -> None:
    quantizer = QUANTIZERS.build("simvq", {"num_codes": 40, "dim": 6, "distance": distance}).eval()
    outcome = tokenizers.nearest_code((quantizer,), (features(),))
    assert outcome == Outcome("ok", "30 features: each has the nearest code, compared with brute force")


def test_fixed_codes_have_no_codebook_to_search() -> None:
    outcome = tokenizers.nearest_code((Steps(),), (torch.rand(2, 1, 5, 3, generator=torch.Generator().manual_seed(0)),))
    assert outcome == Outcome("ok", "decoded codes equal the forward pass; there is no single codebook to search")


@pytest.mark.parametrize(("name", "dim"), [("residual", 6), ("grouped", 3)])
def test_several_codes_a_position_have_no_single_codebook_to_search(name: str, dim: int) -> None:
    quantizer = QUANTIZERS.build(name, {"inner": {"name": "ema", "num_codes": 40, "dim": dim}}).eval()
    outcome = tokenizers.nearest_code((quantizer,), (features(),))
    assert outcome == Outcome("ok", "decoded codes equal the forward pass; there is no single codebook to search")


def test_a_code_that_is_not_the_nearest_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer = codebook()
    right = quantizer.encode(features())
    wrong = right.clone()
    wrong[1, 2, 0] = (right[1, 2, 0] + 1) % 40
    monkeypatch.setattr(quantizer, "encode", lambda level: wrong)
    result = Quantized(quantizer.decode(wrong), wrong, torch.zeros(()), torch.zeros(()))
    monkeypatch.setattr(quantizer, "forward", lambda level: result)
    outcome = tokenizers.nearest_code((quantizer,), (features(),))
    assert outcome == Outcome("failed", "1 of 30 features got a code that is not the nearest one")


def test_codes_that_decode_to_something_else_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer = codebook()
    decode = quantizer.decode
    monkeypatch.setattr(quantizer, "decode", lambda indices: decode(indices) * 1.0001)
    outcome = tokenizers.nearest_code((quantizer,), (features(),))
    assert outcome == Outcome("failed", "decoded codes differ from the result of the forward pass")


class Moody(Blocks):
    """Its codes grow by one each time."""

    def encode(self, images: Tensor, observed: Tensor) -> Codes:
        codes = super().encode(images, observed)[0]
        return ((codes + len(self.seen_batches)) % 16,)


class Embellishing(Blocks):
    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor, shown: Tensor | None = None) -> Tensor:
        return super().reconstruct(images, observed, conditions, shown) + 1e-4


class Overflowing(Blocks):
    def encode(self, images: Tensor, observed: Tensor) -> Codes:
        return (super().encode(images, observed)[0] + 16,)


def stored(images: Tensor) -> Batch:
    return Batch(images, torch.empty(len(images), 1), torch.full((len(images),), -1))


def test_a_round_trip() -> None:
    outcome = tokenizers.round_trip(pipeline(Blocks(SHAPES)), stored(IMAGES))
    assert outcome == Outcome("ok", "5 images: decode(encode(x)) equals reconstruct(x) bit for bit; grid 2 x 3")
    moody = tokenizers.round_trip(pipeline(Moody(SHAPES)), stored(IMAGES))
    assert moody == Outcome("failed", "encoding the same images twice gives different codes")
    embellished = tokenizers.round_trip(pipeline(Embellishing(SHAPES)), stored(IMAGES))
    assert embellished == Outcome("failed", "decode(encode(images)) differs from reconstruct(images) by up to 1.0e-04")
    with pytest.raises(CheckpointError, match="has codes from 18 to 21"):
        tokenizers.round_trip(pipeline(Overflowing(SHAPES)), stored(IMAGES))


class Overpainting(Pipeline):
    """Gives out everything as the model made it."""

    def inpaint(self, image: Any, *rest: Any, form: str | None = None, **known: Any) -> Any:
        return self.reconstruct(image, form=form)


class Rounding(Pipeline):
    """Is careful with integers only."""

    def inpaint(self, image: Any, *rest: Any, **known: Any) -> Any:
        finished = super().inpaint(image, *rest, **known)
        return finished * 0.999 if image.is_floating_point() else finished


@pytest.mark.parametrize("spec", [SHAPES, COLOUR, DIGITS], ids=lambda spec: spec.name)
def test_kept_pixels_are_returned_unchanged(spec: DataSpec) -> None:
    images = random_images(spec, 4)
    outcome = tokenizers.kept_pixels(pipeline(Blocks(spec)), stored(images))
    kept = int(observed_mask(stored(images), spec).sum())
    assert outcome == Outcome("ok", f"4 images, {kept} kept pixels: all unchanged")
    assert 0 < kept < images.numel()


@pytest.mark.parametrize(("kind", "number"), [(Overpainting, "torch.uint8"), (Rounding, "torch.float32")])
def test_kept_pixels_that_change_fail(kind: type[Pipeline], number: str) -> None:
    outcome = tokenizers.kept_pixels(pipeline(Blocks(SHAPES), kind), stored(IMAGES))
    assert outcome.status == "failed"
    assert outcome.message.endswith(f"kept pixels were changed ({number})")


def health(codes: list[int], num_codes: int) -> Outcome:
    return tokenizers.codebook_health([level_statistics("codes", torch.tensor(codes).view(-1, 1, 1), num_codes)])


def test_a_codebook_in_use_is_healthy() -> None:
    outcome = health([*range(20)] * 4, 20)
    assert outcome == Outcome("ok", "codes: 20 of 20 codes used (100%), 0 dead, perplexity 20.0 (100% of K)")


def test_a_codebook_of_dead_codes_fails() -> None:
    outcome = health([0] * 100, 20)
    assert outcome.status == "failed"
    assert "1 of 20 codes used (5%), 19 dead" in outcome.message
    assert "the codebook has collapsed" in outcome.message


def test_a_codebook_with_one_code_for_almost_everything_fails() -> None:
    outcome = health([0] * 200_000 + [*range(200)], 200)
    assert outcome.status == "failed"
    assert "200 of 200 codes used (100%), 0 dead, perplexity 1.0 (1% of K)" in outcome.message


@pytest.mark.parametrize("codes", [[0, 1, 2, 3, 4, 5, 6] * 20, [*range(20)] + [0] * 1000], ids=["usage", "perplexity"])
def test_a_poorly_used_codebook_is_a_warning(codes: list[int]) -> None:
    outcome = health(codes, 20)
    assert outcome.status == "warning"
    assert "much of the codebook is unused" in outcome.message


def test_a_few_codes_say_nothing_about_a_large_codebook() -> None:
    outcome = health([0] * 79, 20)
    assert outcome.status == "skipped"
    assert "79 codes are too few to assess it" in outcome.message


def test_the_worst_level_decides() -> None:
    good = level_statistics("bottom", torch.arange(80).view(-1, 1, 1) % 20, 20)
    bad = level_statistics("top", torch.zeros(80, 1, 1, dtype=torch.int64), 20)
    outcome = tokenizers.codebook_health([good, bad])
    assert outcome.status == "failed"
    assert "bottom: 20 of 20" in outcome.message
    assert "top: 1 of 20" in outcome.message


def test_a_model_is_what_its_header_says(tiny_run: Path) -> None:
    loaded = load_model(tiny_run)
    assert tokenizers.specification(loaded) == Outcome("ok", "vqvae: 5 binary components of 64 x 32, data set tyre, K = 32")
    wrong = loaded._replace(header={**loaded.header, "code_shapes": [[8, 16]]})
    outcome = tokenizers.specification(wrong)
    assert outcome.status == "failed"
    assert "the header states grids ((8, 16),)" in outcome.message


def test_saving_and_loading(tiny_run: Path, tmp_path: Path) -> None:
    loaded = load_model(tiny_run)
    assert tokenizers.saved_and_loaded(loaded, tmp_path) == Outcome("ok", f"digest {loaded.digest[:12]} before and after")
    other = load_model(tiny_run).model
    next(other.parameters()).data[0] += 1e-3
    outcome = tokenizers.same_weights(loaded.model, other)
    assert outcome.status == "failed"
    assert outcome.message == f"the digest was {loaded.digest[:12]} before, and is now {digest(other.state_dict())[:12]}"


def test_random_images_fit_any_specification() -> None:
    wide = replace(SHAPES, height=4, width=20)
    images = random_images(wide, 3)
    assert (images.shape, images.dtype) == ((3, 3, 4, 20), torch.uint8)
    assert set(images.unique().tolist()) == {0, 255}
    assert torch.equal(images, random_images(wide, 3))
    assert int((images > 0).sum(dim=1).max()) == 1
    overlapping = random_images(replace(wide, exclusive=False), 3)
    assert int((overlapping > 0).sum(dim=1).max()) > 1
