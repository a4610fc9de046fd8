from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import counts, everything, save_components

from vqkit.data.components import ComponentDataset
from vqkit.data.images import ImageFolderDataset
from vqkit.data.splits import ArraySplit
from vqkit.data.tiled import TiledSplit
from vqkit.errors import DataError
from vqkit.interfaces import Split


def numbered(height: int, width: int, image: int) -> np.ndarray:
    """An image whose values say where they are: image, row and column, in decimal digits."""
    return (image * 10000 + np.arange(height)[:, None] * 100 + np.arange(width)).astype(np.uint16)


def build(root: Path, sizes: list[tuple[int, int]], **settings: Any) -> ComponentDataset:
    images = [numbered(*size, number) for number, size in enumerate(sizes)]
    save_components(root, {"dna": images, "actin": images})
    return ComponentDataset(ComponentDataset.Options(path=str(root), **settings))


def places(split: Split) -> list[tuple[int, int, int]]:
    """Image, top and left of every tile."""
    corners = everything(split)[0][:, 0, 0, 0].astype(int)
    return [(corner // 10000, corner // 100 % 100, corner % 100) for corner in corners.tolist()]


@pytest.mark.parametrize("memory", [0, 10])
def test_validation_tiles_cover_each_image_once_the_last_at_the_border(tmp_path: Path, memory: int) -> None:
    images = [numbered(20, 16, 0), numbered(8, 30, 1)]
    save_components(tmp_path, {"dna": images, "actin": images}, "val")
    split = build(tmp_path, [(32, 32)] * 3, height=8, memory_mb=memory).split("val")
    expected = [(0, top, left) for top in (0, 8, 12) for left in (0, 8)] + [(1, 0, left) for left in (0, 8, 16, 22)]
    assert places(split) == expected
    stored, present = everything(split)
    assert present is None
    for tile, (image, top, left) in zip(stored, expected, strict=True):
        assert np.array_equal(tile, np.stack([images[image][top : top + 8, left : left + 8]] * 2))
    assert split.names(torch.arange(len(split)))[4:8] == ["cell0_tile5", "cell0_tile6", "cell1_tile1", "cell1_tile2"]


@pytest.mark.parametrize("memory", [0, 10])
def test_training_tiles_move_from_epoch_to_epoch_and_only_there(tmp_path: Path, memory: int) -> None:
    split = build(tmp_path, [(32, 40), (8, 8), (20, 9), (40, 40)], height=8, memory_mb=memory, validation_share=0.01).split("train")
    first, again, later = (places(split.epoch(number)) for number in (3, 3, 4))
    assert places(split) == places(split.epoch(0))
    assert first == again
    assert first != later
    images = [place[0] for place in first]
    areas = {0: 32 * 40 // 64, 1: 1, 2: 20 * 9 // 64, 3: 40 * 40 // 64}
    assert {number: images.count(number) for number in set(images)} == {number: areas[number] for number in set(images)}
    assert [place[0] for place in later] == images
    assert len(split.epoch(3)) == len(split)
    assert split.in_memory is (memory > 0)


def test_random_places_reach_every_pixel_with_equal_probability(tmp_path: Path) -> None:
    split = build(tmp_path, [(12, 10)] * 4, height=8, memory_mb=10).split("train")
    drawn = [place[1:] for number in range(300) for place in places(split.epoch(number))]
    seen = {corner: drawn.count(corner) for corner in set(drawn)}
    assert seen.keys() == {(top, left) for top in range(5) for left in range(3)}
    assert min(seen.values()) > 0.5 * len(drawn) / 15


def test_images_of_the_tile_size_are_not_cut(tmp_path: Path) -> None:
    dataset = build(tmp_path, [(8, 8)] * 4, height=8)
    assert isinstance(dataset.split("train"), ArraySplit)
    streamed = build(tmp_path, [(8, 8)] * 4, height=8, memory_mb=0).split("train")
    assert isinstance(streamed, TiledSplit)
    assert streamed.epoch(1) is streamed
    assert streamed.names(torch.tensor([0])) == dataset.split("train").names(torch.tensor([0]))


@pytest.mark.parametrize("memory", [0, 10])
def test_tiles_say_what_is_present(tmp_path: Path, memory: int) -> None:
    images = [numbered(16, 16, number).astype(np.float32) for number in range(6)]
    for image in images[1:]:
        image[:8] = np.nan
    save_components(tmp_path, {"dna": images, "actin": [*images[:3], None, *images[4:]]})
    dataset = ComponentDataset(ComponentDataset.Options(path=str(tmp_path), height=8, memory_mb=memory, validation_share=0.01))
    split = dataset.split("train")
    for number in range(20):
        stored, present = everything(split.epoch(number))
        assert present is not None
        expected = ~np.isnan(stored)
        gap = np.array([name.startswith("cell3") for name in split.names(torch.arange(len(split)))])
        expected[gap, 0] = False
        assert np.array_equal(present.numpy(), expected)
        # A place without any data is drawn again, up to 7 times: that all are is rare.
        assert present.flatten(1).any(dim=1).float().mean() > 0.9


def test_the_default_tile_of_large_measurements(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="are 100 x 90 to 100 x 300; the model sees tiles of 64 x 64"):
        dataset = build(tmp_path, [(100, 300), (100, 90), (100, 300)])
    assert (dataset.spec.height, dataset.spec.width) == (64, 64)
    assert "Tiles of 64 x 64 (height x width) are cut out of 3 images." in dataset.notes


def test_a_size_that_was_set_is_kept_by_what_is_fitted(tmp_path: Path) -> None:
    first = build(tmp_path, [(16, 16)] * 4)
    again = build(tmp_path, [(32, 40)] * 4, **first.fitted_settings)
    assert (again.spec.height, again.spec.width) == (16, 16)


def test_a_damaged_image_in_a_stream_is_replaced_by_the_next(tmp_path: Path) -> None:
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", np.stack([numbered(16, 12, number)] * 2))
    settings = ImageFolderDataset.Options(path=str(tmp_path), height=8, memory_mb=0, validation_share=0.01)
    split = ImageFolderDataset(settings).split("train")
    names = split.names(torch.arange(len(split)))
    first = names[0].partition("_")[0]
    (tmp_path / f"{first}.npy").write_bytes((tmp_path / f"{first}.npy").read_bytes()[:200])
    with pytest.warns(UserWarning, match=rf"{first}\.npy cannot be read.*It is replaced by another one"):
        batch = split.batch(torch.tensor([0]))
    assert int(batch.images[0, 0, 0, 0]) // 10000 != int(first)
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(b"nothing")
    with pytest.warns(UserWarning), pytest.raises(DataError, match="None of the 3 images can be read"):
        split.batch(torch.tensor([0]))


def test_components_of_other_resolutions_are_resampled_alike_whole_and_by_windows(tmp_path: Path) -> None:
    fine, coarse = counts(6, (32, 24)), counts(6, (16, 12), seed=1)
    shapes = counts(6, (8, 6), "uint8", 0, 2, seed=2) * np.uint8(255)
    save_components(tmp_path, {"fine": fine, "coarse": coarse, "shape": shapes})
    whole = ComponentDataset(ComponentDataset.Options(path=str(tmp_path), validation_share=0.01))
    assert any("differ in resolution" in note for note in whole.notes)
    assert [each.name for each in whole.spec.component_specs] == ["coarse", "fine", "shape"]
    assert whole.spec.value_kind == "mixed"
    # Ranges are those of the pixels in the files, and shapes stay shapes.
    names = whole.split("train").names(torch.arange(5))
    numbers = [int(name.removeprefix("cell")) for name in names]
    assert whole.spec.component_specs[0].maximum == coarse[numbers].max()
    stored = everything(whole.split("train"))[0]
    assert np.array_equal(stored[:, 1], fine[numbers])
    assert np.array_equal(stored[:, 2], shapes[numbers].repeat(4, axis=1).repeat(4, axis=2))
    assert np.abs(stored[:, 0].astype(int).reshape(5, 16, 2, 12, 2).mean(axis=(2, 4)) - coarse[numbers]).max() < 2100
    streamed = ComponentDataset(
        ComponentDataset.Options(path=str(tmp_path), validation_share=0.01, height=8, memory_mb=0, **ranges(whole))
    )
    for epoch in range(3):
        split = streamed.split("train").epoch(epoch)
        tiles = everything(split)[0]
        for tile, name in zip(tiles, split.names(torch.arange(len(split))), strict=True):
            image = stored[names.index(name.partition("_")[0])]
            windows = np.lib.stride_tricks.sliding_window_view(image, (8, 8), axis=(1, 2))
            assert (windows == tile[:, None, None]).all(axis=(0, 3, 4)).any()


def ranges(dataset: ComponentDataset) -> dict[str, Any]:
    """What was fitted, except for the size."""
    return {key: value for key, value in dataset.fitted_settings.items() if key not in ("height", "width")}
