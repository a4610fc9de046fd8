"""A run behind the page: what is opened, filled in and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from pages import BANDS, CELLS, Few, Given, session
from PIL import Image

from painting import SHAPES, pipeline, sampler, sections
from vqkit.app.holes import centre_hole
from vqkit.app.session import open_session
from vqkit.errors import DataError


def test_a_test_image_holds_what_the_split_holds() -> None:
    image = session().test_image(1)
    assert image.name == "c1"
    assert torch.equal(image.image, torch.from_numpy(Given().numbers(1)))
    assert bool(image.present.all())


@pytest.mark.parametrize("number", [-1, 3])
def test_a_number_that_there_is_not(number: int) -> None:
    with pytest.raises(DataError, match=rf"no test image {number + 1}: there are 3"):
        session().test_image(number)


def test_gaps_of_a_test_image_are_not_given() -> None:
    stored = torch.from_numpy(Given().numbers())[None]
    present = torch.ones(1, 3, 1, 1, dtype=torch.bool)
    present[0, 2] = False
    opened = session(images=Few(CELLS, stored, present)).test_image(0)
    assert opened.present[:2].all() and not opened.present[2].any()
    assert not opened.image[2].any()


def test_it_is_filled_in_as_in_python() -> None:
    work = session()
    image = work.test_image(0)
    filling = work.fill(image, ("actin",))
    expected = pipeline(CELLS).inpaint(Given().numbers(), keep=["actin"])
    assert np.array_equal(filling.filled.stored.numpy(), expected)
    assert torch.equal(filling.filled.stored[1], image.image[1])


def test_a_hole_is_filled_in_and_the_rest_is_kept_bit_for_bit() -> None:
    work, hole = session(), centre_hole(8, 8)
    image = work.test_image(0)
    stored = work.fill(image, CELLS.components, hole).filled.stored
    assert torch.equal(stored[:, ~hole], image.image[:, ~hole])
    assert not torch.equal(stored[:, hole], image.image[:, hole])


def test_errors_are_those_of_the_hidden_pixels() -> None:
    work, hole = session(), centre_hole(8, 8)
    image = work.test_image(0)
    filling = work.fill(image, ("actin", "golgi"), hole)
    truth, filled = (each.double() for each in (image.image, filling.filled.stored))
    for position, hidden in enumerate((torch.ones_like(hole), hole, hole)):
        errors = filling.errors[position]
        assert errors is not None
        wanted = (truth - filled)[position][hidden].square().mean().sqrt()
        assert errors.rmse == pytest.approx(float(wanted), rel=1e-6)


def test_nothing_known_and_nothing_to_fill_in() -> None:
    work = session()
    with pytest.raises(DataError, match="No component is known"):
        work.fill(work.test_image(0), ())
    with pytest.raises(DataError, match="The whole image is kept, so there is nothing to fill in"):
        work.fill(work.test_image(0), CELLS.components)


def test_a_tiff_of_16_bits_and_an_array_are_opened_as_they_are(tmp_path: Path) -> None:
    numbers = Given(13).numbers()
    tifffile.imwrite(tmp_path / "p.tif", numbers, photometric="minisblack")
    np.save(tmp_path / "p.npy", numbers)
    for name in ("p.tif", "p.npy"):
        image, notes = session(BANDS).open_files([tmp_path / name])
        assert torch.equal(image.image, torch.from_numpy(numbers)) and not notes


def test_a_file_for_each_component_and_one_that_is_missing(tmp_path: Path) -> None:
    numbers = Given().numbers()
    files = [tmp_path / str(place) / f"a_{name}.png" for place, name in enumerate(("dna", "golgi"))]
    for file, values in zip(files, numbers[[0, 2]], strict=True):
        file.parent.mkdir()
        Image.fromarray(values).save(file)
    image, _ = session().open_files(files)
    assert image.present.flatten(1).any(1).tolist() == [True, False, True]
    assert torch.equal(image.image[[0, 2]], torch.from_numpy(numbers[[0, 2]]))


def test_files_of_one_name(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"Two files are called a\.png"):
        session().open_files([tmp_path / "one" / "a.png", tmp_path / "two" / "a.png"])


def test_messages_name_files_without_the_folder_they_were_put_in(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError) as caught:
        session().open_files([tmp_path / "notes.txt"])
    assert caught.value.message == "notes.txt is neither a picture nor an array."
    assert "Files that can be read end in" in caught.value.hint


def test_several_images_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", np.stack([Given().numbers(seed) for seed in range(2)]))
    with pytest.raises(DataError, match=r"^many.npy holds several images, and one is expected"):
        session().open_files([tmp_path / "many.npy"])


def test_an_image_that_is_read_by_rows_is_left_to_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.image_io.large_images.LARGEST_IN_MEMORY", 100)
    tifffile.imwrite(tmp_path / "large.tif", Given().numbers(), photometric="minisblack")
    with pytest.raises(DataError, match=r"large.tif is too large for this page\. Fill it in from the command line"):
        session().open_files([tmp_path / "large.tif"])


def test_answers_keep_what_was_given() -> None:
    drawn = sampler("observed")
    work = session(SHAPES, drawn, Few(SHAPES, sections(1)))
    image = work.test_image(0)
    filling = work.fill(image, ("carcass",))
    completions = work.complete(filling, 5, seed=3)
    assert completions.images.shape == (1, 5, 3, 8, 12)
    assert torch.equal(completions.images[0, :, 0], image.image[0].expand(5, -1, -1))
    assert not torch.equal(completions.images, work.complete(filling, 5, seed=4).images)


def test_several_answers_need_a_prior() -> None:
    work = session()
    with pytest.raises(DataError, match=r"There is no prior.*--prior RUN"):
        work.complete(work.fill(work.test_image(0), ("dna",)), 2, 0)


def test_advice_for_one_image() -> None:
    work = session(SHAPES, sampler("observed"), Few(SHAPES, sections(1)))
    choice = work.advise(work.test_image(0), ("carcass",))
    assert choice.known == ("carcass",) and len(choice.steps) == 1
    assert choice.steps[0].after == min(choice.steps[0].candidates.values())
    assert "completions of c0" in choice.source


def test_a_session_over_a_run_and_advice_for_images_like_its(tiny_run: Path) -> None:
    work = open_session(str(tiny_run))
    assert work.images is not None and len(work.images) == 16 and work.sampler is None and not work.notes
    choice = work.advise(None, ())
    assert set(choice.steps[0].candidates) == set(work.spec.components)


def test_test_images_that_are_gone_are_a_note(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: object) -> None:
        raise DataError("The folder is gone.", "Look for it.")

    monkeypatch.setattr("vqkit.app.session.open_split", gone)
    work = open_session(str(tiny_run))
    assert work.images is None
    assert work.notes == ("The test images cannot be opened: The folder is gone. Look for it.",)
    with pytest.raises(DataError, match="The folder is gone"):
        open_session(str(tiny_run), data="elsewhere")


def test_the_built_in_model_has_the_built_in_prior() -> None:
    work = open_session("builtin:tyre")
    assert work.sampler is not None and work.sampler.pipeline.digest == work.pipeline.digest
