from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from painting import COLOUR, DIGITS, SHAPES, STAINS, noise, sections
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.forms import Array, Source, array_source, match_channels, read_form
from vqkit.image_io.pictures import composite
from vqkit.interfaces import DataSpec


def picture(page: Array, component: str | None = None) -> Source:
    """A picture file, greyscale [h, w] or in colour [h, w, 3 or 4]."""
    if page.ndim == 2:
        return Source("x.png", page[None], component=component)
    channels = np.moveaxis(page, -1, 0)
    return Source("x.png", channels[:3], channels[3:] > 0 if len(channels) == 4 else None, (), True, component=component)


def channels(values: Array, *names: str) -> Source:
    """A file with the channels [K, h, w]."""
    return Source("x.tif", values, None, names)


def strip(image: Array) -> Array:
    return np.concatenate(list(image), axis=1)


def painted(image: Array) -> Array:
    unit = SHAPES.to_unit(torch.from_numpy(image)[None])
    return composite(unit, SHAPES)[0].permute(1, 2, 0).numpy()


IMAGE = sections(1)[0].numpy()
NUMBERS = ((IMAGE > 0) * np.arange(1, 4)[:, None, None]).sum(axis=0)
PHOTO = noise(8, 8, 3, seed=3)
SHAPES_THAT_OVERLAP = DataSpec.uniform("layers", SHAPES.components, 8, 12, "intensity")


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (picture(strip(IMAGE)), "strip"),
        (picture(painted(IMAGE)), "label-map"),
        (channels(IMAGE), "channels"),
        (picture(NUMBERS.astype(np.uint8)), "label-map"),
        (array_source(IMAGE, "array"), "channels-first"),
        (array_source(np.moveaxis(IMAGE, 0, -1), "array"), "channels-last"),
        (array_source(IMAGE[None], "array"), "channels-first"),
        (array_source(IMAGE > 0, "array"), "channels-first"),
        (array_source((IMAGE > 0).astype(np.int64), "array"), "channels-first"),
        (array_source(NUMBERS, "array"), "label-map"),
        (array_source(strip(IMAGE), "array"), "strip"),
        (array_source(painted(IMAGE), "array"), "label-map"),
    ],
)
def test_whole_images_are_recognised_in_every_form(source: Source, form: str) -> None:
    for reading in (read_form(source, SHAPES), read_form(source, SHAPES, form=form)):
        assert reading.form == form
        assert np.array_equal(reading.images > 0, IMAGE[None] > 0)
        assert bool(reading.present.all()) and reading.present.shape == reading.images.shape
    given = source.array if source.array is not None else source.pixels
    assert form == "label-map" or reading.images.dtype == given.dtype


def test_values_stay_as_they_are() -> None:
    values = noise(3, 8, 12, high=1, dtype="float64")
    assert np.array_equal(read_form(array_source(values, "array"), SHAPES_THAT_OVERLAP).images[0], values)


@pytest.mark.parametrize(("keep", "named"), [(("belt",), None), ((), "belt"), (("belt",), "belt"), (("belt", "tread"), "belt")])
def test_a_greyscale_picture_is_the_one_component_kept_or_named(keep: tuple[str, ...], named: str | None) -> None:
    reading = read_form(picture(IMAGE[1], named), SHAPES, keep)
    assert reading.form == "component"
    assert reading.present[0].all(axis=(1, 2)).tolist() == [False, True, False]
    assert np.array_equal(reading.images[0, 1], IMAGE[1])
    assert not bool(reading.images[0, [0, 2]].any())


def test_components_saved_as_colour_pictures_are_still_greyscale() -> None:
    colour = np.repeat(IMAGE[1][..., None], 3, axis=2)
    opaque = np.concatenate([colour, np.full((8, 12, 1), 255, np.uint8)], axis=2)
    for page in (colour, opaque):
        assert np.array_equal(read_form(picture(page, component="belt"), SHAPES).images[0, 1], IMAGE[1])


def test_a_greyscale_picture_of_no_known_component_is_asked_for() -> None:
    with pytest.raises(DataError, match="--keep must name the one component that it shows"):
        read_form(picture(IMAGE[1]), SHAPES)
    with pytest.raises(DataError, match=r"does not show the model's components.*--keep must name"):
        read_form(picture(IMAGE[1]), SHAPES, ("belt", "tread"))


def test_a_name_against_keep_is_asked_for_and_settled_by_form() -> None:
    source = picture(IMAGE[1], component="belt")
    with pytest.raises(DataError, match="its name says belt and --keep says tread"):
        read_form(source, SHAPES, ("tread",))
    assert np.array_equal(read_form(source, SHAPES, ("tread",), "component").images[0, 2], IMAGE[1])


def test_what_fits_twice_is_refused_with_the_list_and_settled_by_form() -> None:
    source = array_source((IMAGE[1] > 0).astype(np.int64), "x.npy")
    with pytest.raises(DataError, match=r"x.npy can be read in 2 ways: component, label-map. .*--form component\|label-map"):
        read_form(source, SHAPES, ("belt",))
    assert np.array_equal(read_form(source, SHAPES, ("belt",), "component").images[0, 1], IMAGE[1] > 0)
    assert np.array_equal(read_form(source, SHAPES, ("belt",), "label-map").images[0, 0], IMAGE[1])


def test_a_cube_is_asked_for() -> None:
    cube = DataSpec.uniform("cube", ("a", "b", "c"), 3, 3, "intensity")
    values = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    with pytest.raises(DataError, match="channels-first, channels-last"):
        read_form(array_source(values, "array"), cube)
    assert np.array_equal(
        read_form(array_source(values, "array"), cube, form="channels-last").images[0], np.moveaxis(values, -1, 0)
    )


def test_a_white_colour_picture_may_be_a_full_component_or_an_empty_map() -> None:
    with pytest.raises(DataError, match="component, label-map"):
        read_form(picture(np.full((8, 12, 3), 255, np.uint8), "belt"), SHAPES)


def test_a_label_map_in_other_colours_names_one_of_them() -> None:
    page = painted(IMAGE).copy()
    page[2, 3] = (1, 2, 3)
    with pytest.raises(DataError, match="As label-map: 1 of its pixels have colours outside the palette, such as #010203"):
        read_form(picture(page), SHAPES)


def test_a_label_map_in_colours_may_have_any_number_of_components() -> None:
    for count in (2, 5):
        spec = DataSpec.uniform("layers", tuple(f"part{number}" for number in range(count)), 8, 12, "binary", exclusive=True)
        numbers = torch.randint(count + 1, (8, 12), generator=torch.Generator().manual_seed(count))
        image = (numbers == torch.arange(1, count + 1)[:, None, None]).to(torch.uint8) * 255
        page = composite(spec.to_unit(image[None]), spec)[0].permute(1, 2, 0).numpy()
        reading = read_form(picture(page), spec)
        assert reading.form == "label-map"
        assert np.array_equal(reading.images[0], image.numpy()) and bool(reading.present.all())


def test_transparent_pixels_of_a_label_map_are_background() -> None:
    page = np.concatenate([painted(IMAGE), np.full((8, 12, 1), 255, np.uint8)], axis=2)
    page[0, 0] = (9, 9, 9, 0)
    expected = IMAGE.copy()
    expected[:, 0, 0] = 0
    assert np.array_equal(read_form(picture(page), SHAPES).images[0], expected)


def test_colour_pictures() -> None:
    reading = read_form(picture(PHOTO), COLOUR)
    assert reading.form == "colour"
    assert np.array_equal(reading.images[0], np.moveaxis(PHOTO, -1, 0))
    alone = read_form(picture(PHOTO[..., 0]), COLOUR, ("r",))
    assert alone.form == "component"
    assert alone.present[0].all(axis=(1, 2)).tolist() == [True, False, False]
    shades = read_form(picture(np.repeat(PHOTO[..., :1], 3, axis=2)), COLOUR, ("r",))
    assert shades.form == "colour", "a colour picture without colours is still one"


def test_greyscale_is_no_colour_picture_unless_it_is_said_to_be_one() -> None:
    grey = picture(PHOTO[..., 0])
    for keep in ((), ("r", "g")):
        with pytest.raises(DataError, match=r"is greyscale; the model's images are colour pictures") as refused:
            read_form(grey, COLOUR, keep)
        assert "--form colour" in str(refused.value.hint) and "--keep r" in str(refused.value.hint)
    asked = read_form(grey, COLOUR, (), "colour")
    assert np.array_equal(asked.images[0], np.repeat(PHOTO[None, ..., 0], 3, axis=0)) and bool(asked.present.all())
    with pytest.raises(DataError, match="does not show the model's components"):
        read_form(array_source(PHOTO[..., 0], "array"), COLOUR)


def test_transparent_pixels_of_a_colour_picture_are_missing() -> None:
    opacity = np.full((8, 8, 1), 255, np.uint8)
    opacity[:3] = 0
    transparent = np.concatenate([PHOTO, opacity], axis=2)
    for source in (picture(transparent), array_source(transparent, "array")):
        reading = read_form(source, COLOUR)
        assert not bool(reading.present[0, :, :3].any()) and bool(reading.present[0, :, 3:].all())
        assert np.array_equal(reading.images[0], np.moveaxis(PHOTO, -1, 0))


def test_channels_that_overlap_are_no_exclusive_image() -> None:
    overlapping = np.full((3, 8, 12), 255, np.uint8)
    with pytest.raises(DataError, match="its channels overlap"):
        read_form(array_source(overlapping, "array"), SHAPES)


def test_single_components_need_no_name() -> None:
    digits = noise(5, 8, 8)
    assert np.array_equal(read_form(picture(digits[0]), DIGITS).images, digits[None, :1])
    assert np.array_equal(read_form(array_source(digits[0], "array"), DIGITS).images, digits[None, :1])
    assert np.array_equal(read_form(array_source(digits[:1], "array"), DIGITS).images, digits[None, :1])
    assert np.array_equal(read_form(array_source(digits, "array"), DIGITS).images, digits[:, None])
    assert np.array_equal(read_form(array_source(digits[..., None], "array"), DIGITS).images, digits[:, None])


def test_a_photograph_is_no_batch_of_narrow_greyscale_images() -> None:
    with pytest.raises(DataError, match=r"\(64, 48, 3\)"):
        read_form(array_source(np.zeros((64, 48, 3), np.uint8), "array"), DIGITS)


def test_four_channels_with_opacity_are_no_four_components() -> None:
    page = noise(8, 8, 4)
    with pytest.raises(DataError, match="in colour"):
        read_form(picture(page), STAINS)
    assert np.array_equal(read_form(array_source(page, "array"), STAINS).images[0], np.moveaxis(page, -1, 0))


def test_channels_are_matched_by_name_and_otherwise_in_order() -> None:
    values = noise(4, 8, 8, dtype="uint16")
    assert read_form(channels(values), STAINS).places == (0, 1, 2, 3)
    assert read_form(channels(values, "w", "x", "y", "z"), STAINS).places == (0, 1, 2, 3), "no name is known: in order"
    named = read_form(channels(values, "golgi", "Actin", "DNA ", "phase"), STAINS)
    assert named.places == (2, 1, None, 0)
    assert np.array_equal(named.images[0, [0, 1, 3]], values[[2, 1, 0]]) and named.images.dtype == np.uint16
    assert named.present[0].all(axis=(1, 2)).tolist() == [True, True, False, True]
    assert match_channels(5, ("a", "b", "c", "d", "e"), STAINS) is None
    assert match_channels(4, ("dna", "dna", "x", "golgi"), STAINS) == (0, None, None, 3)


def test_another_number_of_channels_is_refused_with_their_names() -> None:
    with pytest.raises(DataError, match=r"As channels: it has 3 channels \(a, b, c\), not 4"):
        read_form(channels(np.zeros((3, 8, 8), np.uint16), "a", "b", "c"), STAINS)
    with pytest.raises(DataError, match=r"As channels: it has 2 channels, not 3"):
        read_form(channels(np.zeros((2, 8, 12), np.uint8)), SHAPES)


def test_images_may_be_of_any_size_except_as_a_strip() -> None:
    for height, width in ((20, 31), (5, 4)):
        values = noise(height, width, high=4)
        image = (values == np.arange(1, 4)[:, None, None]).astype(np.uint8) * 255
        assert np.array_equal(read_form(array_source(image, "array"), SHAPES).images[0], image)
        assert np.array_equal(read_form(array_source(np.moveaxis(image, 0, -1), "array"), SHAPES).images[0], image)
        assert np.array_equal(read_form(array_source(np.stack([image, image]), "array"), SHAPES).images[1], image)
        assert np.array_equal(read_form(channels(image), SHAPES).images[0], image)
        assert np.array_equal(read_form(picture(painted(image)), SHAPES).images[0], image)
        assert np.array_equal(read_form(picture(image[1], "belt"), SHAPES).images[0, 1], image[1])
    assert read_form(array_source(np.zeros((3, 30, 40), np.uint8), "array"), DIGITS).images.shape == (3, 1, 30, 40)


@pytest.mark.parametrize("shape", [(2, 8, 12), (8, 12, 2), (5,), (1, 1, 3, 8, 12), (24, 12), (4, 2, 8, 12)])
def test_wrong_shapes_are_refused_with_what_is_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"12 wide and 8 high, with the components carcass, belt, tread"):
        read_form(array_source(np.zeros(shape), "array"), SHAPES)


def test_an_asked_form_that_does_not_fit_says_why() -> None:
    with pytest.raises(DataError, match="cannot be read as strip: it is 12 wide and 8 high, not 36 and 8"):
        read_form(picture(IMAGE[0]), SHAPES, form="strip")
    with pytest.raises(ConfigError, match="Did you mean 'strip'"):
        read_form(picture(IMAGE[0]), SHAPES, form="stripe")


def test_what_used_to_be_called_pages_is_said() -> None:
    with pytest.raises(ConfigError, match=r"no form 'pages'\. It is called channels"):
        read_form(channels(IMAGE), SHAPES, form="pages")


def test_nan_is_not_present() -> None:
    values = noise(4, 8, 8, high=1, dtype="float32")
    values[2, 3:5] = np.nan
    for source in (channels(values), array_source(values, "array")):
        reading = read_form(source, STAINS)
        assert np.array_equal(reading.present[0], ~np.isnan(values))


def test_label_maps_hold_the_models_values() -> None:
    ones = replace(SHAPES, component_specs=tuple(replace(each, high=1.0, maximum=1.0) for each in SHAPES.component_specs))
    reading = read_form(picture(NUMBERS.astype(np.uint8)), ones)
    assert np.array_equal(reading.images[0], IMAGE // 255) and reading.spec == ones
