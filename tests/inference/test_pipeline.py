from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from painting import COLOUR, DIGITS, SHAPES, STAINS, Blocks, noise, pipeline, sections
from vqkit.data.opening import open_dataset
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.image_io.pictures import composite, to_pil
from vqkit.inference import pipeline as generate
from vqkit.inference.pipeline import Pipeline, condition_rows
from vqkit.inference.postprocess import discretize, fill_missing, fill_stored
from vqkit.interfaces import ComponentSpec, DataSpec, fully_observed
from vqkit.interfaces.components import DTYPES

IMAGE = sections(1)[0]
KEPT = [1]


def only_belt() -> torch.Tensor:
    observed = torch.zeros(1, 3, 8, 12, dtype=torch.bool)
    observed[:, KEPT] = True
    return observed


def expected_values(observed: torch.Tensor, images: torch.Tensor = IMAGE[None]) -> torch.Tensor:
    """What `Blocks` expects, block by block and pixel by pixel."""
    batch, components, height, width = images.shape
    values = torch.zeros(images.shape)
    for number in range(batch):
        for top in range(0, height, 4):
            for left in range(0, width, 4):
                block = (number, slice(None), slice(top, top + 4), slice(left, left + 4))
                seen = images[block][observed[block]].float() / 255
                code = int(float(seen.mean()) * 15.9) if len(seen) else 0
                for component in range(components):
                    values[number, component, top : top + 4, left : left + 4] = ((code + component) % 16) / 15
    return values


def final_values(observed: torch.Tensor, images: torch.Tensor = IMAGE[None]) -> torch.Tensor:
    """The exclusive shapes that follow, pixel by pixel."""
    soft, final = expected_values(observed, images), images * observed
    for number, _, row, column in np.ndindex(len(images), 1, 8, 12):
        hidden = [component for component in range(3) if not observed[number, component, row, column]]
        if hidden and not final[number, :, row, column].any():
            best = max(hidden, key=lambda component: soft[number, component, row, column])
            nothing = 1 - sum(soft[number, component, row, column] for component in hidden)
            if soft[number, best, row, column] >= nothing:
                final[number, best, row, column] = 255
    return final


def test_inpainting_bytes_gives_final_shapes_and_keeps_what_is_kept() -> None:
    filled = pipeline(SHAPES).inpaint(IMAGE.numpy(), keep=["belt"])
    assert isinstance(filled, np.ndarray) and filled.dtype == np.uint8
    assert np.array_equal(filled, final_values(only_belt())[0].numpy())
    assert np.array_equal(filled[1], IMAGE[1].numpy())


def test_inpainting_floats_gives_expected_values() -> None:
    soft = (IMAGE.float() / 255 * 0.7).double()
    filled = pipeline(SHAPES).inpaint(soft, keep="belt")
    assert filled.dtype == torch.float64
    observed = only_belt()
    expected = expected_values(observed, soft[None] * 255)[0]
    torch.testing.assert_close(filled[[0, 2]], expected[[0, 2]].double(), rtol=0, atol=1e-6)
    assert torch.equal(filled[1].float(), soft[1].float())


def test_masks_and_components_together() -> None:
    mask = torch.ones(8, 12, dtype=torch.bool)
    mask[2:6, 4:] = False
    observed = only_belt() & mask
    assert torch.equal(pipeline(SHAPES).inpaint(IMAGE, keep=["belt"], observed=mask), final_values(observed)[0])
    everything = torch.ones(1, 3, 8, 12, dtype=torch.bool) & mask
    assert torch.equal(pipeline(SHAPES).inpaint(IMAGE, observed=mask), final_values(everything)[0])


FORMS: dict[str, Any] = {
    "channels first": lambda image: image,
    "channels last": lambda image: image.permute(1, 2, 0),
    "batch": lambda image: image[None],
    "batch, channels last": lambda image: image[None].permute(0, 2, 3, 1),
    "strip": lambda image: torch.cat(list(image), dim=1),
    "booleans": lambda image: image > 0,
    "ones": lambda image: (image > 0).to(torch.int32),
    "floats": lambda image: image.float() / 255,
    "label map": lambda image: ((image > 0) * torch.arange(1, 4)[:, None, None]).sum(dim=0),
    "painted label map": lambda image: composite(SHAPES.to_unit(image[None]), SHAPES)[0].permute(1, 2, 0),
}


@pytest.mark.parametrize("form", FORMS)
def test_results_are_of_the_kind_given(form: str) -> None:
    model, given = pipeline(SHAPES), FORMS[form](IMAGE)
    wanted = FORMS[form](final_values(only_belt())[0])
    filled = model.inpaint(given, keep=["belt"])
    assert filled.dtype == given.dtype and filled.shape == given.shape
    if form == "floats":
        wanted = torch.where(only_belt()[0], given, expected_values(only_belt())[0])
        torch.testing.assert_close(filled, wanted)
    else:
        assert torch.equal(filled, wanted)
    array = model.inpaint(given.numpy(), keep=["belt"])
    assert isinstance(array, np.ndarray) and np.array_equal(array, filled.numpy())


def test_a_single_component_comes_back_as_the_whole_image() -> None:
    final = final_values(only_belt())[0]
    assert torch.equal(pipeline(SHAPES).inpaint(IMAGE[1], keep=["belt"]), final)


@pytest.mark.parametrize("form", ["component", "strip", "label-map"])
def test_pictures_come_back_as_pictures(form: str) -> None:
    final = final_values(only_belt())
    strips = {name: torch.cat(list(values), dim=1) for name, values in (("given", IMAGE), ("filled", final[0]))}
    given = {"component": IMAGE[1], "strip": strips["given"], "label-map": composite(SHAPES.to_unit(IMAGE[None]), SHAPES)[0]}[form]
    wanted = strips["filled"] if form == "strip" else composite(SHAPES.to_unit(final), SHAPES)[0]
    filled = pipeline(SHAPES).inpaint(to_pil(given), keep=["belt"])
    assert isinstance(filled, Image.Image)
    assert np.array_equal(np.asarray(filled), np.asarray(to_pil(wanted)))


def test_colour_pictures_stay_colour_pictures() -> None:
    photo = torch.randint(256, (8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    filled = pipeline(COLOUR).inpaint(Image.fromarray(photo), keep=["r"])
    assert filled.mode == "RGB"
    assert np.array_equal(np.asarray(filled)[..., 0], photo[..., 0])
    array = pipeline(COLOUR).inpaint(photo, keep=["r"])
    assert np.array_equal(array, np.asarray(filled))


def test_pictures_are_turned_as_their_exif_data_say() -> None:
    """A picture of a camera that was held upright, given as it was opened."""
    upright = noise(8, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(stored, "PNG", exif=exif)
    hidden = np.ones((8, 8), bool)
    hidden[:3] = False
    filled = pipeline(COLOUR).inpaint(Image.open(stored), observed=hidden)
    assert np.array_equal(np.asarray(filled)[3:], upright[3:])
    assert np.array_equal(np.asarray(filled), pipeline(COLOUR).inpaint(upright, observed=hidden))


def test_sixteen_bits_of_a_picture_stay_sixteen() -> None:
    spec = DataSpec("cells", (ComponentSpec("dna", "intensity", "uint16", 40, 3000, 20, 3161),), 8, 8)
    given = noise(8, 8, low=503, high=1022, dtype="uint16")
    observed = np.ones((8, 8), bool)
    observed[2:5] = False
    filled = pipeline(spec).inpaint(Image.fromarray(given), observed=observed)
    assert filled.mode.startswith("I;16") and np.array_equal(np.asarray(filled)[observed], given[observed])
    assert np.array_equal(np.asarray(filled), pipeline(spec).inpaint(given, observed=observed)[0])


def test_single_components_and_overlapping_ones_as_pictures() -> None:
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[:4] = False
    digit = Image.new("L", (8, 8), 100)
    assert pipeline(DIGITS).inpaint(digit, observed=mask).mode == "L"
    stains = Image.new("L", (8, 8), 100)
    assert pipeline(STAINS).inpaint(stains, keep=["actin"]).size == (32, 8)


def test_batches_of_digits_keep_their_shape() -> None:
    digits = torch.zeros(5, 8, 8, dtype=torch.uint8)
    assert pipeline(DIGITS).reconstruct(digits).shape == (5, 8, 8)


def test_conditions_reach_the_decoder() -> None:
    soft = IMAGE.float() / 255
    filled = pipeline(SHAPES).inpaint(soft, keep=["belt"], conditions={"width_px": 30})
    torch.testing.assert_close(filled[0], torch.full((8, 12), 0.3))
    both = pipeline(SHAPES).reconstruct(torch.stack([soft, soft]), conditions={"width_px": [30, float("nan")]})
    torch.testing.assert_close(both[0], torch.full((3, 8, 12), 0.3))
    whole = torch.ones(1, 3, 8, 12, dtype=torch.bool)
    torch.testing.assert_close(both[1], expected_values(whole)[0])


def test_reconstruction_pastes_nothing_back() -> None:
    whole = torch.ones(1, 3, 8, 12, dtype=torch.bool)
    torch.testing.assert_close(pipeline(SHAPES).reconstruct(IMAGE.float() / 255), expected_values(whole)[0])


def test_codes_decode_to_the_reconstruction() -> None:
    model, images = pipeline(SHAPES), sections(150)
    codes = model.encode(images)
    assert [tuple(level.shape) for level in codes] == [(150, 2, 3)] and codes[0].dtype == torch.int64
    decoded = model.decode(codes)
    torch.testing.assert_close(decoded, expected_values(fully_observed(images), images))
    assert torch.equal(model.reconstruct(images.float() / 255), decoded)
    assert isinstance(model.model, Blocks) and max(model.model.seen_batches) <= 64
    assert torch.equal(model.encode(IMAGE, keep=["belt"])[0], model.encode(IMAGE[1], keep="belt")[0])


def test_results_take_part_in_autograd() -> None:
    filled = pipeline(SHAPES).inpaint(IMAGE.float() / 255, keep=["belt"])
    weight = torch.ones((), requires_grad=True)
    (filled * weight).sum().backward()
    assert float(weight.grad) == pytest.approx(float(filled.sum()))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"keep": ["carcass", "belt", "tread"]}, DataError, "Everything is kept"),
        ({}, DataError, "Everything is kept"),
        ({"observed": np.zeros((8, 12), bool)}, DataError, "Nothing of the image is observed"),
        ({"keep": ["bealt"]}, ConfigError, "Did you mean 'belt'"),
        ({"keep": ["belt"], "conditions": {"width": 3}}, ConfigError, "no condition 'width'.*width_px"),
        ({"keep": ["belt"], "conditions": {"width_px": [1.0, 2.0]}}, ConfigError, "2 values for 1 images"),
        ({"keep": ["belt"], "conditions": {"width_px": float("inf")}}, ConfigError, "infinite"),
    ],
)
def test_what_cannot_be_filled_in(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pipeline(SHAPES).inpaint(IMAGE, **arguments)


def test_what_is_no_image() -> None:
    with pytest.raises(DataError, match="The image is a list"):
        pipeline(SHAPES).inpaint([[1, 2]], keep=["belt"])  # type: ignore[type-var]
    with pytest.raises(DataError, match=r"an array of shape \(4, 8, 12\)"):
        pipeline(SHAPES).inpaint(np.zeros((4, 8, 12)), keep=["belt"])
    with pytest.raises(DataError, match=r"the shape \(0, 3, 8, 12\), which is no image"):
        pipeline(SHAPES).inpaint(np.zeros((0, 3, 8, 12)), keep=["belt"])
    with pytest.raises(DataError, match=r"holds complex64, which are no numbers"):
        pipeline(SHAPES).inpaint(np.zeros((3, 8, 12), np.complex64), keep=["belt"])


def test_codes_of_another_model_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"shapes \[1, 3, 3\]; the model's are \[B, 2, 3\]"):
        pipeline(SHAPES).decode((torch.zeros(1, 3, 3, dtype=torch.int64),))
    with pytest.raises(CheckpointError, match="codes from 0 to 16; the model's are 0 to 15"):
        pipeline(SHAPES).decode((torch.tensor([[[0, 1, 2], [3, 4, 16]]]),))


def test_filled_in_components_never_overlap_nor_cover_kept_ones() -> None:
    generator = torch.Generator().manual_seed(5)
    images, expected = sections(40, seed=1) / 255, torch.rand(40, 3, 8, 12, generator=generator)
    observed = torch.rand(40, 3, 8, 12, generator=generator) > 0.5
    final = fill_missing(expected, images, observed, SHAPES)
    assert torch.equal(final[observed], images[observed])
    assert int((final > 0).sum(dim=1).max()) == 1
    free = ~(images * observed > 0).any(dim=1, keepdim=True)
    hidden = expected.masked_fill(observed, 0)
    likely = (hidden == hidden.amax(dim=1, keepdim=True)) & (hidden >= 1 - hidden.sum(dim=1, keepdim=True))
    assert torch.equal((final > 0) & ~observed, likely & free & ~observed)


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_kept_values_are_pasted_bit_for_bit(dtype: str) -> None:
    generator = torch.Generator().manual_seed(6)
    spec = DataSpec("stains", tuple(ComponentSpec(name, dtype=dtype, high=100.0) for name in "abc"), 8, 8)
    images = (torch.rand(3, 3, 8, 8, generator=generator) * 127).to(spec.stored_dtype)
    observed = torch.rand(3, 3, 8, 8, generator=generator) > 0.5
    expected = torch.rand(3, 3, 8, 8, generator=generator)
    pasted = fill_stored(expected, images, observed, spec)
    assert pasted.dtype == images.dtype == DTYPES[dtype]
    assert torch.equal(pasted[observed], images[observed])
    assert torch.equal(pasted[~observed], spec.from_unit(expected)[~observed])


def test_two_components_that_may_both_claim_a_pixel_leave_no_speck() -> None:
    expected = torch.zeros(1, 3, 8, 12)
    expected[:, 1], expected[:, 2] = 0.42, 0.4  # one of them is there, most probably
    expected[:, :, 0] = 0.2  # the first row: none of them is
    final = discretize(expected, SHAPES)
    assert bool((final[:, 1, 1:] == 1).all())
    assert int(final.sum()) == 7 * 12


def test_filled_in_intensities_are_rounded() -> None:
    images = torch.full((1, 3, 8, 8), 7, dtype=torch.uint8)
    observed = torch.zeros(1, 3, 8, 8, dtype=torch.bool)
    observed[:, 0] = True
    final = fill_stored(torch.full((1, 3, 8, 8), 0.5), images, observed, COLOUR)
    assert (final[:, 0] == 7).all() and (final[:, 1:] == 128).all()


def test_conditions_as_rows() -> None:
    rows = condition_rows(SHAPES, {"width_px": 40}, 2)
    assert rows.tolist() == [[40.0], [40.0]]
    assert condition_rows(SHAPES, None, 2).isnan().all()
    assert condition_rows(COLOUR, None, 2).shape == (2, 0)


def test_load_uses_the_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    ready = pipeline(SHAPES)

    def load_model(run: str | Path | None, device: torch.device) -> Any:
        asked.append((run, device))
        return generate.Loaded(ready.model, Path("x"), "digest", None, {})  # type: ignore[arg-type]

    monkeypatch.setattr(generate, "load_model", load_model)
    model = generate.load("runs/one", "cpu")
    assert isinstance(model, Pipeline) and asked == [("runs/one", torch.device("cpu"))] and model.spec == SHAPES
    with pytest.raises(ConfigError, match="no device 'tpu'"):
        generate.load(None, "tpu")


def test_a_trained_run_from_load_to_codes(tiny_run: Path) -> None:
    model = generate.load(tiny_run, "cpu", precision="fp32")
    images = open_dataset("tyre").split("test").batch(torch.arange(3)).images
    filled = model.inpaint(images, keep=["group_nc"])
    assert torch.equal(filled[:, 0], images[:, 0]) and int((filled > 0).sum(dim=1).max()) == 1
    # Through the codes or in one pass: the same images.
    whole = model.reconstruct(images.float() / 255)
    torch.testing.assert_close(model.decode(model.encode(images)), whole, rtol=0, atol=1e-5)
    rounded = generate.load(tiny_run, "cpu", precision="bf16").reconstruct(images.float() / 255)
    assert rounded.dtype == torch.float32 and 0 < float((rounded - whole).abs().mean()) < 0.02
