"""Cards, holes, codes and HTML of the page."""

from __future__ import annotations

import re

import pytest
import torch
from pages import BANDS, CELLS, Few, Given, session
from PIL import Image, ImageDraw

from painting import COLOUR, SHAPES, noise, sampler, sections
from vqkit.app import html
from vqkit.app.cards import answer_cards, cards_of
from vqkit.app.codes_used import code_colour, codes_used
from vqkit.app.holes import CANVAS, canvas, centre_hole, painted_hole
from vqkit.errors import DataError
from vqkit.evaluation.next_component import Choice, Step
from vqkit.image_io.panels import columns, shown_range, views
from vqkit.interfaces import ShownImages

BAND_SESSION = session(BANDS, images=Few(BANDS, torch.from_numpy(Given(13).numbers())[None]))


def test_a_card_for_each_of_thirteen_bands() -> None:
    filling = BAND_SESSION.fill(BAND_SESSION.test_image(0), ("B02", "B08"))
    cards = cards_of(filling, BANDS)
    # Bands B04, B03 and B02 are shown together as red, green and blue.
    assert [card.title for card in cards.filled] == ["All components", *(n for n in BANDS.components if n not in ("B02", "B08"))]
    assert cards.filled[0].state == "shown: B04 B03 B02"
    assert [card.title for card in cards.given] == ["B02", "B08"]
    assert {tuple(picture.caption for picture in card.pictures) for card in cards.filled[1:]} == {
        ("filled in", "truth", "difference")
    }


def test_display_ranges_are_those_of_every_figure() -> None:
    work = session()
    filling = work.fill(work.test_image(0), ("actin",))
    image = filling.image
    unit, result = CELLS.to_unit(torch.stack([image.image, filling.filled.stored]))
    shown = [ShownImages(unit[None], image.observed), ShownImages(result[None]), ShownImages(unit[None], image.present)]
    ends = shown_range(shown, CELLS)
    cards = cards_of(filling, CELLS)
    assert torch.equal(cards.filled[0].pictures[0].pixels, views(result, CELLS, None, ends)[0])
    assert torch.equal(cards.given[0].pictures[0].pixels, views(unit, CELLS, image.observed, ends)[1])
    bar, wanted = dict(cards.filled[0].bars)["values"], columns(CELLS, ends)[0].bar
    assert wanted is not None and (bar.low, bar.high) == (wanted.low, wanted.high) and torch.equal(bar.colours, wanted.colours)


def test_a_hole_in_everything_is_partly_given() -> None:
    work = session()
    cards = cards_of(work.fill(work.test_image(0), CELLS.components, centre_hole(8, 8)), CELLS)
    assert [card.state for card in cards.filled] == ["partly given"] * 3 and not cards.given
    assert [picture.caption for picture in cards.filled[0].pictures] == ["given", "filled in", "truth", "difference"]
    assert re.fullmatch(r"RMSE [\d.e+]+ counts, PSNR -?[\d.]+ dB, SSIM -?[\d.]+", cards.filled[0].error)


def test_what_is_not_known_has_no_truth_and_no_error() -> None:
    stored = torch.from_numpy(Given().numbers())[None]
    present = torch.tensor([True, True, False]).view(1, 3, 1, 1)
    work = session(images=Few(CELLS, stored, present))
    (card,) = cards_of(work.fill(work.test_image(0), ("dna", "actin")), CELLS).filled
    assert (card.title, card.error) == ("golgi", "")
    assert [picture.caption for picture in card.pictures] == ["filled in"]


def test_a_colour_picture_with_a_hole_is_one_card() -> None:
    work = session(COLOUR, images=Few(COLOUR, torch.from_numpy(noise(1, 3, 8, 8))))
    cards = cards_of(work.fill(work.test_image(0), COLOUR.components, centre_hole(8, 8)), COLOUR)
    assert [card.title for card in cards.filled] == ["Picture"] and not cards.given
    assert cards.filled[0].error.startswith("PSNR ")


def test_answers_are_beside_their_uncertainty() -> None:
    work = session(SHAPES, sampler("observed"), Few(SHAPES, sections(1)))
    filling = work.fill(work.test_image(0), ("belt",))
    cards = answer_cards(filling, work.complete(filling, 3, 0), SHAPES)
    assert [card.title for card in cards] == ["All components", "carcass", "tread"]
    assert [picture.caption for picture in cards[1].pictures][3:] == ["uncertainty"]
    assert all(picture.caption.endswith(" nats") for picture in cards[1].pictures[:3])


def test_the_middle() -> None:
    hole = centre_hole(8, 12)
    assert hole.sum() == 4 * 6 and hole[2:6, 3:9].all()


@pytest.mark.parametrize(("height", "width"), [(8, 12), (900, 700)])
def test_what_is_painted_is_a_hole_where_it_was_painted(height: int, width: int) -> None:
    numbers = torch.from_numpy(noise(1, 3, height, width))
    picture = canvas(session(COLOUR, images=Few(COLOUR, numbers)).test_image(0), COLOUR)
    assert CANVAS / 2 < max(picture.size) <= CANVAS
    layer = Image.new("RGBA", picture.size)
    ImageDraw.Draw(layer).rectangle((0, 0, picture.width // 2 - 1, picture.height - 1), fill=(255, 0, 0, 255))
    hole = painted_hole([layer], height, width)
    assert hole[:, : width // 2 - 1].all() and not hole[:, width // 2 + 1 :].any()


def test_nothing_painted() -> None:
    with pytest.raises(DataError, match="Nothing is painted"):
        painted_hole([Image.new("RGBA", (80, 80))], 8, 8)
    with pytest.raises(DataError, match="Nothing is painted"):
        painted_hole([], 8, 8)


def test_codes_are_counted() -> None:
    work = session()
    used = codes_used(work.pipeline, work.test_image(0))
    (level,) = used.levels
    expected = work.pipeline.encode(Given().numbers())[0][0]
    assert torch.equal(level.codes, expected) and not used.is_part
    _, counts = expected.unique(return_counts=True)
    shares = counts / counts.sum()
    assert level.distinct == len(counts) and level.num_codes == 16
    assert level.perplexity == pytest.approx(float((-(shares * shares.log()).sum()).exp()))


def test_of_a_large_image_the_codes_of_its_middle() -> None:
    numbers = torch.from_numpy(Given(3, 16, 24).numbers())
    work = session(images=Few(CELLS, numbers[None]))
    used = codes_used(work.pipeline, work.test_image(0))
    assert used.is_part
    assert torch.equal(used.levels[0].codes, work.pipeline.encode(numbers[:, 4:12, 8:16].numpy())[0][0])


def test_of_a_small_image_there_are_none() -> None:
    work = session(images=Few(CELLS, torch.from_numpy(Given(3, 6, 8).numbers())[None]))
    with pytest.raises(DataError, match=r"6 x 8 pixels \(height x width\); codes are those of 8 x 8"):
        codes_used(work.pipeline, work.test_image(0))


def test_codes_have_colours_of_their_own() -> None:
    colours = [code_colour(code) for code in range(64)]
    assert len(set(colours)) == 64 and all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)


def test_a_cell_for_each_code() -> None:
    work = session()
    page = html.codes(codes_used(work.pipeline, work.test_image(0)))
    assert page.count("<rect") == 4 and "different codes of 16; perplexity" in page


def test_names_from_files_are_escaped() -> None:
    bad = "<script>alert(1)</script>"
    work = session()
    filling = work.fill(work.test_image(0), ("dna",))
    pages = [
        html.notice(DataError(bad, bad)),
        html.note(bad),
        html.heading(bad, [bad], [bad]),
        html.results(cards_of(filling, CELLS), bad),
        html.answers((), bad),
    ]
    assert all("<script" not in page and "&lt;script&gt;" in page for page in pages)


def test_advice_names_the_best_candidate_first() -> None:
    step = Step("golgi", 0.5, 0.125, {"actin": 0.25, "golgi": 0.125})
    choice = Choice("run", "d", "images of cells", {}, 64, "MSE / variance", ("dna",), (), None, (step,), None, (), ("A note.",))
    page = html.advice(choice)
    assert "Measure golgi next: the error falls from 0.5000 to 0.1250" in page
    assert page.index("0.1250</td>") < page.index("0.2500</td>") and "width: 25.0%" in page and "A note." in page
