from __future__ import annotations

import pytest
import torch
from torch import Tensor

from painting import COLOUR, DIGITS, SHAPES, STAINS, sections
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.forms import Source, array_source, checked_values, read_form
from vqkit.image_io.pictures import composite
from vqkit.interfaces import DataSpec


def picture(*pages: Tensor, component: str | None = None) -> Source:
    """A picture file with greyscale pages [h, w] or colour ones [h, w, 3 or 4]."""
    return Source("x.png", tuple(page[..., None] if page.ndim == 2 else page for page in pages), len(pages), component=component)


def strip(image: Tensor) -> Tensor:
    return torch.cat(list(image), dim=1)


def painted(image: Tensor) -> Tensor:
    return composite(SHAPES.to_unit(image[None]), SHAPES)[0].permute(1, 2, 0)


IMAGE = sections(1)[0]
NUMBERS = ((IMAGE > 0) * torch.arange(1, 4)[:, None, None]).sum(dim=0)
PHOTO = torch.randint(256, (8, 8, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (picture(strip(IMAGE)), "strip"),
        (picture(painted(IMAGE)), "label-map"),
        (picture(*IMAGE), "pages"),
        (picture(NUMBERS.to(torch.uint8)), "label-map"),
        (array_source(IMAGE, "array"), "channels-first"),
        (array_source(IMAGE.permute(1, 2, 0), "array"), "channels-last"),
        (array_source(IMAGE[None], "array"), "channels-first"),
        (array_source(IMAGE > 0, "array"), "channels-first"),
        (array_source((IMAGE > 0).long(), "array"), "channels-first"),
        (array_source(NUMBERS, "array"), "label-map"),
        (array_source(strip(IMAGE), "array"), "strip"),
        (array_source(painted(IMAGE), "array"), "label-map"),
    ],
)
def test_whole_images_are_recognised_in_every_form(source: Source, form: str) -> None:
    reading = read_form(source, SHAPES)
    assert reading.form == form
    assert torch.equal(reading.images, IMAGE[None])
    assert bool(reading.present.all()) and reading.present.shape == reading.images.shape
    assert torch.equal(read_form(source, SHAPES, form=form).images, IMAGE[None])


def test_floats_stay_as_precise_as_they_are() -> None:
    values = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    reading = read_form(array_source(values, "array"), SHAPES_THAT_OVERLAP)
    assert reading.images.dtype == torch.float32
    assert torch.equal(reading.images[0], values.float())


SHAPES_THAT_OVERLAP = DataSpec.uniform("layers", SHAPES.components, 8, 12, "intensity")


@pytest.mark.parametrize(("keep", "named"), [(("belt",), None), ((), "belt"), (("belt",), "belt"), (("belt", "tread"), "belt")])
def test_a_greyscale_picture_is_the_one_component_kept_or_named(keep: tuple[str, ...], named: str | None) -> None:
    reading = read_form(picture(IMAGE[1], component=named), SHAPES, keep)
    assert reading.form == "component"
    assert reading.present[0].flatten(1).all(dim=1).tolist() == [False, True, False]
    assert torch.equal(reading.images[0, 1], IMAGE[1])
    assert not bool(reading.images[0, [0, 2]].any())


def test_components_saved_as_colour_pictures_are_still_greyscale() -> None:
    colour = IMAGE[1][..., None].expand(8, 12, 3)
    opaque = torch.cat([colour, torch.full((8, 12, 1), 255, dtype=torch.uint8)], dim=2)
    for page in (colour, opaque):
        assert torch.equal(read_form(picture(page, component="belt"), SHAPES).images[0, 1], IMAGE[1])


def test_a_greyscale_picture_of_no_known_component_is_asked_for() -> None:
    with pytest.raises(DataError, match="--keep must name the one component that it shows"):
        read_form(picture(IMAGE[1]), SHAPES)
    with pytest.raises(DataError, match=r"does not show the model's components.*--keep must name"):
        read_form(picture(IMAGE[1]), SHAPES, ("belt", "tread"))


def test_a_name_against_keep_is_asked_for_and_settled_by_form() -> None:
    source = picture(IMAGE[1], component="belt")
    with pytest.raises(DataError, match="its name says belt and --keep says tread"):
        read_form(source, SHAPES, ("tread",))
    assert torch.equal(read_form(source, SHAPES, ("tread",), "component").images[0, 2], IMAGE[1])


def test_what_fits_twice_is_refused_with_the_list_and_settled_by_form() -> None:
    source = array_source((IMAGE[1] > 0).long(), "x.npy")
    with pytest.raises(DataError, match=r"x.npy can be read in 2 ways: component, label-map. .*--form component\|label-map"):
        read_form(source, SHAPES, ("belt",))
    assert torch.equal(read_form(source, SHAPES, ("belt",), "component").images[0, 1], IMAGE[1])
    assert torch.equal(read_form(source, SHAPES, ("belt",), "label-map").images[0, 0], IMAGE[1])


def test_a_cube_is_asked_for() -> None:
    cube = DataSpec.uniform("cube", ("a", "b", "c"), 3, 3, "intensity")
    values = torch.arange(27, dtype=torch.uint8).reshape(3, 3, 3)
    with pytest.raises(DataError, match="channels-first, channels-last"):
        read_form(array_source(values, "array"), cube)
    assert torch.equal(read_form(array_source(values, "array"), cube, form="channels-last").images[0], values.permute(2, 0, 1))


def test_a_white_colour_picture_may_be_a_full_component_or_an_empty_map() -> None:
    with pytest.raises(DataError, match="component, label-map"):
        read_form(picture(torch.full((8, 12, 3), 255, dtype=torch.uint8), component="belt"), SHAPES)


def test_a_label_map_in_other_colours_names_one_of_them() -> None:
    page = painted(IMAGE).clone()
    page[2, 3] = torch.tensor([1, 2, 3], dtype=torch.uint8)
    with pytest.raises(DataError, match="As label-map: 1 of its pixels have colours outside the palette, such as #010203"):
        read_form(picture(page), SHAPES)


def test_transparent_pixels_of_a_label_map_are_background() -> None:
    opacity = torch.full((8, 12, 1), 255, dtype=torch.uint8)
    page = torch.cat([painted(IMAGE), opacity], dim=2)
    page[0, 0] = torch.tensor([9, 9, 9, 0], dtype=torch.uint8)
    expected = IMAGE.clone()
    expected[:, 0, 0] = 0
    assert torch.equal(read_form(picture(page), SHAPES).images[0], expected)


def test_colour_pictures() -> None:
    reading = read_form(picture(PHOTO), COLOUR)
    assert reading.form == "colour"
    assert torch.equal(reading.images[0], PHOTO.permute(2, 0, 1))
    alone = read_form(picture(PHOTO[..., 0]), COLOUR, ("r",))
    assert alone.form == "component"
    assert alone.present[0].flatten(1).all(dim=1).tolist() == [True, False, False]
    shades = read_form(picture(PHOTO[..., :1].expand(-1, -1, 3)), COLOUR, ("r",))
    assert shades.form == "colour", "a colour picture without colours is still one"


def test_greyscale_is_no_colour_picture_unless_it_is_said_to_be_one() -> None:
    grey = picture(PHOTO[..., 0])
    for keep in ((), ("r", "g")):
        with pytest.raises(DataError, match=r"is greyscale; the model's images are colour pictures") as refused:
            read_form(grey, COLOUR, keep)
        assert "--form colour" in str(refused.value.hint) and "--keep r" in str(refused.value.hint)
    asked = read_form(grey, COLOUR, (), "colour")
    assert torch.equal(asked.images[0], PHOTO[..., 0].expand(3, -1, -1)) and bool(asked.present.all())
    with pytest.raises(DataError, match="does not show the model's components"):
        read_form(array_source(PHOTO[..., 0], "array"), COLOUR)


def test_transparent_pixels_of_a_colour_picture_are_missing() -> None:
    opacity = torch.full((8, 8, 1), 255, dtype=torch.uint8)
    opacity[:3] = 0
    for source in (picture(torch.cat([PHOTO, opacity], dim=2)), array_source(torch.cat([PHOTO, opacity], dim=2), "array")):
        reading = read_form(source, COLOUR)
        assert not bool(reading.present[0, :, :3].any()) and bool(reading.present[0, :, 3:].all())
        assert torch.equal(reading.images[0], PHOTO.permute(2, 0, 1))


def test_channels_that_overlap_are_no_exclusive_image() -> None:
    overlapping = torch.full((3, 8, 12), 255, dtype=torch.uint8)
    with pytest.raises(DataError, match="its channels overlap"):
        read_form(array_source(overlapping, "array"), SHAPES)


def test_single_components_need_no_name() -> None:
    digits = torch.randint(256, (5, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(read_form(picture(digits[0]), DIGITS).images, digits[None, :1])
    assert torch.equal(read_form(array_source(digits[0], "array"), DIGITS).images, digits[None, :1])
    assert torch.equal(read_form(array_source(digits[:1], "array"), DIGITS).images, digits[None, :1])
    assert torch.equal(read_form(array_source(digits, "array"), DIGITS).images, digits[:, None])
    assert torch.equal(read_form(array_source(digits[..., None], "array"), DIGITS).images, digits[:, None])


def test_four_components_are_no_colour_picture() -> None:
    page = torch.randint(256, (8, 8, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with pytest.raises(DataError, match="in colour with opacity"):
        read_form(picture(page), STAINS)
    assert torch.equal(read_form(array_source(page, "array"), STAINS).images[0], page.permute(2, 0, 1))


def test_a_wrong_number_of_pages_is_told() -> None:
    source = Source("x.tif", (IMAGE[0][..., None],), 2)
    with pytest.raises(DataError, match="As pages: it has 2 pages, not 3"):
        read_form(source, SHAPES)


@pytest.mark.parametrize("shape", [(3, 8, 13), (2, 8, 12), (8, 12, 2), (5,), (1, 1, 3, 8, 12), (24, 12)])
def test_wrong_shapes_are_refused_with_what_is_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"12 wide and 8 high, with the components carcass, belt, tread"):
        read_form(array_source(torch.zeros(shape), "array"), SHAPES)


def test_an_asked_form_that_does_not_fit_says_why() -> None:
    with pytest.raises(DataError, match="cannot be read as strip: it is 12 wide and 8 high, not 36 and 8"):
        read_form(picture(IMAGE[0]), SHAPES, form="strip")
    with pytest.raises(ConfigError, match="Did you mean 'strip'"):
        read_form(picture(IMAGE[0]), SHAPES, form="stripe")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.tensor([0.0, float("nan")]), "holds NaN"),
        (torch.tensor([0.0, 255.0]), "from 0 to 255 where numbers from 0 to 1"),
        (torch.tensor([-1.0, 1.0]), "from -1 to 1 where numbers from 0 to 1"),
        (torch.tensor([0.0, float("inf")]), "from 0 to inf"),
        (torch.tensor([0, 256]), "from 0 to 256 where 0 to 255"),
        (torch.tensor([-1, 3]), "from -1 to 3"),
    ],
)
def test_values_out_of_range_are_refused(values: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        checked_values(values, SHAPES, "the array")


def test_ones_are_full_in_binary_data_only() -> None:
    ones = torch.tensor([0, 1])
    assert checked_values(ones, SHAPES, "x").tolist() == [0, 255]
    assert checked_values(ones, COLOUR, "x").tolist() == [0, 1]
    assert checked_values(torch.tensor([True, False]), COLOUR, "x").tolist() == [255, 0]
