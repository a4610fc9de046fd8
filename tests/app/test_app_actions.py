"""What happens on the page, as HTML and files: no browser is needed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from pages import CELLS, Few, Given, session
from PIL import Image

from painting import COLOUR, SHAPES, noise, pipeline, sampler, sections
from vqkit.app.actions import Actions
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.reading import ReadOptions
from vqkit.inference.inpaint import inpaint_items


@pytest.fixture
def actions(tmp_path: Path) -> Actions:
    return Actions(session(), tmp_path / "results")


def test_a_third_of_a_test_image_is_known_to_begin_with(actions: Actions) -> None:
    opened = actions.open_test(2)
    assert opened.image is not None and opened.image.name == "c1"
    assert opened.held == ("dna", "actin", "golgi") and opened.ticked == ("dna",)
    assert actions.open_test(1, ["golgi", "dna"]).ticked == ("dna", "golgi")


def test_of_an_image_that_lacks_a_component_all_others_are_known(actions: Actions, tmp_path: Path) -> None:
    Image.fromarray(Given().numbers()[0]).save(tmp_path / "a_dna.png")
    Image.fromarray(Given().numbers()[1]).save(tmp_path / "a_actin.png")
    opened = actions.open_files([tmp_path / "a_dna.png", tmp_path / "a_actin.png"])
    assert opened.held == opened.ticked == ("dna", "actin")
    shown = actions.fill(opened.image, opened.ticked, "none")
    assert "the true values are not known" in shown.results


def test_a_colour_picture_begins_with_a_hole(tmp_path: Path) -> None:
    work = session(COLOUR, images=Few(COLOUR, torch.from_numpy(noise(1, 3, 8, 8))))
    actions = Actions(work, tmp_path)
    assert actions.first_hole == "middle"
    opened = actions.open_test(1)
    assert opened.ticked == ("r", "g", "b")
    shown = actions.fill(opened.image, opened.ticked, "middle")
    assert shown.filling is not None and shown.filling.image.observed.sum() == 3 * (64 - 16)


def test_a_wrong_file_gives_the_sentences_of_the_command_line(actions: Actions, tmp_path: Path) -> None:
    (tmp_path / "broken.tif").write_bytes(b"II*\0 and then nothing that belongs here")
    opened = actions.open_files([tmp_path / "broken.tif"])
    assert opened.image is None
    assert "broken.tif" in opened.notice and 'role="alert"' in opened.notice
    assert str(tmp_path) not in opened.notice and "Traceback" not in opened.notice


def test_greyscale_shows_the_one_component_that_is_ticked(actions: Actions, tmp_path: Path) -> None:
    Image.fromarray(Given().numbers()[0]).save(tmp_path / "scan.png")
    assert "--keep must name the one component that it shows" in actions.open_files([tmp_path / "scan.png"]).notice
    assert "--keep must name" in actions.open_files([tmp_path / "scan.png"], ["dna", "golgi"]).notice
    opened = actions.open_files([tmp_path / "scan.png"], ["golgi"])
    assert opened.held == opened.ticked == ("golgi",)


def test_the_download_is_the_file_that_inpaint_writes(actions: Actions, tmp_path: Path) -> None:
    source = tmp_path / "cells.tif"
    tifffile.imwrite(source, Given().numbers(), photometric="minisblack", compression="zlib")
    opened = actions.open_files([source])
    shown = actions.fill(opened.image, ["actin"], "none")
    assert shown.file is not None and shown.file.name == "cells.tif" and not shown.notice
    items = find_inputs(source, CELLS).items
    (written,) = inpaint_items(pipeline(CELLS), items, tmp_path / "out", ReadOptions(("actin",)), lambda path, why: None)
    assert shown.file.read_bytes() == written.files[0].read_bytes()


def test_several_files_are_one_archive(actions: Actions) -> None:
    shown = actions.fill(actions.open_test(1).image, ["dna"], "none")
    assert shown.file is not None and shown.file.suffix == ".zip" and shown.filling is not None
    with zipfile.ZipFile(shown.file) as packed:
        assert sorted(packed.namelist()) == ["actin/c0_actin.png", "composite/c0.png", "dna/c0_dna.png", "golgi/c0_golgi.png"]
        values = np.array(Image.open(io.BytesIO(packed.read("golgi/c0_golgi.png"))))
    assert np.array_equal(values, shown.filling.filled.stored[2].numpy())


def test_the_file_of_the_last_result_is_removed(actions: Actions) -> None:
    image = actions.open_test(1).image
    first = actions.fill(image, ["dna"], "none")
    second = actions.fill(image, ["actin"], "none", before=first)
    assert first.file is not None and second.file is not None
    assert not first.file.exists() and second.file.exists()
    assert actions.fill(None, ["actin"], "none", before=second).file is None
    assert not second.file.exists()


@pytest.mark.parametrize(
    ("ticked", "hole", "message"),
    [
        ([], "none", "No component is known"),
        (["dna", "actin", "golgi"], "none", "Untick a component, or add a hole."),
        (["dna"], "painted", "Nothing is painted"),
    ],
)
def test_what_can_be_mended_is_a_notice(actions: Actions, ticked: list[str], hole: str, message: str) -> None:
    shown = actions.fill(actions.open_test(1).image, ticked, hole)  # type: ignore[arg-type]
    assert message in shown.notice and shown.filling is None and not shown.results and shown.file is None


def test_a_painted_hole_is_filled_in(actions: Actions) -> None:
    opened = actions.open_test(1)
    assert opened.canvas is not None
    layer = Image.new("RGBA", opened.canvas.size)
    layer.paste((255, 0, 0, 255), (0, 0, layer.width // 2, layer.height // 4))
    shown = actions.fill(opened.image, ["dna", "actin", "golgi"], "painted", [layer])
    assert shown.filling is not None
    assert torch.equal(
        shown.filling.image.observed,
        ~(torch.arange(64).view(8, 8) % 8 < 4).logical_and(torch.arange(8)[:, None] < 2).expand(3, -1, -1),
    )


def test_sizes_say_the_height_first(tmp_path: Path) -> None:
    work = session(SHAPES, None, Few(SHAPES, sections(1)))
    shown = Actions(work, tmp_path).fill(work.test_image(0), [SHAPES.components[0]], "none")
    assert "(8 x 12 pixels, height x width)" in shown.results


def test_a_number_without_an_image_is_a_notice(actions: Actions) -> None:
    assert "There is no test image 9: there are 3." in actions.open_test(9).notice


def test_answers_and_advice(tmp_path: Path) -> None:
    actions = Actions(session(SHAPES, sampler("observed"), Few(SHAPES, sections(1))), tmp_path)
    assert "Nothing was filled in yet" in actions.answers(None, 2, 0)
    opened = actions.open_test(1)
    shown = actions.fill(opened.image, ["carcass"], "none")
    assert "3 answers for c0" in actions.answers(shown, 3, 0)
    assert "Measure " in actions.advise(opened.image, ["carcass"])
    assert "All 3 components are known" in actions.advise(opened.image, list(SHAPES.components))


def test_answers_without_a_prior_are_a_notice(actions: Actions) -> None:
    shown = actions.fill(actions.open_test(1).image, ["dna"], "none")
    assert "There is no prior" in actions.answers(shown, 2, 0)
