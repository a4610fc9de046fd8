from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor

from vqkit.data.tyre import COMPONENTS, TyreDataset, draw_sections, measure_conditions
from vqkit.errors import ConfigError
from vqkit.image_io.values import one_hot_images
from vqkit.registry import DATASETS

GOLDEN = "8d367e757dd6e041ab5943437e043081660a24baee07bc0360af35ea1879a346"


@pytest.fixture(scope="module")
def label_maps() -> Tensor:
    return draw_sections(600, torch.Generator().manual_seed(0)).label_maps


def small(**settings: int) -> TyreDataset:
    return TyreDataset(TyreDataset.Options(**{"num_train": 40, "num_val": 10, "num_test": 10, **settings}))


def parts(shape: Tensor) -> int:
    """Number of connected parts of a bool [H, W], pixels that touch at a corner being connected."""
    left = {tuple(pixel) for pixel in shape.nonzero().tolist()}
    count = 0
    while left:
        count += 1
        front = [left.pop()]
        while front:
            row, column = front.pop()
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            front.extend(near)
    return count


def test_first_sections_are_the_same_on_every_machine() -> None:
    sections = TyreDataset(TyreDataset.Options(num_train=64)).split("train").batch(torch.arange(64))
    digest = hashlib.sha256(sections.images.numpy().tobytes() + sections.conditions.numpy().tobytes()).hexdigest()
    assert digest == GOLDEN, "Changed sections make every recorded result wrong; change GOLDEN only on purpose."


def test_a_section_depends_on_its_number_and_not_on_how_many_are_drawn() -> None:
    few, many = (draw_sections(count, torch.Generator().manual_seed(3)).label_maps for count in (5, 300))
    assert torch.equal(few, many[:5])


def test_components_are_there_and_never_overlap(label_maps: Tensor) -> None:
    images = one_hot_images(label_maps, len(COMPONENTS))
    assert images.shape == (600, 5, 64, 32)
    assert set(images.unique().tolist()) == {0, 255}
    assert int((images > 0).sum(dim=1).max()) == 1
    assert bool((images > 0).flatten(2).any(dim=2).all())


@pytest.mark.parametrize("component", range(len(COMPONENTS)))
def test_a_component_is_one_connected_part(label_maps: Tensor, component: int) -> None:
    single = sum(parts(each == component + 1) == 1 for each in label_maps[:200])
    assert single >= 195


def test_sections_reach_the_symmetry_axis_and_stay_inside_the_frame(label_maps: Tensor) -> None:
    occupied = label_maps > 0
    assert bool(occupied[:, :, -1].any(dim=1).all())
    assert not occupied[:, :, 0].any()
    assert not occupied[:, 0].any()
    assert not occupied[:, -1].any()


def test_layers_lie_in_order_at_the_axis(label_maps: Tensor) -> None:
    for section in label_maps[:100]:
        from_above = [int(label) for label in section[:, -2].unique_consecutive() if label]
        assert from_above in ([5, 3, 2, 1], [5, 3, 2, 1, 4]), from_above


def test_conditions_measure_the_mirrored_section(label_maps: Tensor) -> None:
    measured = measure_conditions(one_hot_images(label_maps[:50], 5))
    for section, (width, height) in zip(label_maps[:50], measured.tolist(), strict=True):
        mirrored = torch.cat([section, section.flip(1)], dim=1) > 0
        rows, columns = mirrored.any(dim=1).nonzero(), mirrored.any(dim=0).nonzero()
        assert width == int(columns.max() - columns.min()) + 1
        assert height == int(rows.max() - rows.min()) + 1


def test_conditions_of_a_split_are_those_of_its_images() -> None:
    batch = small().split("val").batch(torch.arange(10))
    assert torch.equal(batch.conditions, measure_conditions(batch.images))
    assert torch.equal(batch.conditions, measure_conditions(batch.images.float() / 255))


def test_an_empty_image_measures_nothing() -> None:
    assert measure_conditions(torch.zeros(1, 5, 64, 32)).tolist() == [[0, 0]]


def test_tread_and_crown_are_only_partly_told_by_the_carcass(label_maps: Tensor) -> None:
    carcass = (label_maps == 1).flatten(1).float()
    distance = torch.cdist(carcass, carcass, p=1).fill_diagonal_(float("inf"))
    nearest = distance.argmin(dim=1)

    def overlap(component: int) -> float:
        shapes = (label_maps == component).flatten(1)
        return float(((shapes & shapes[nearest]).sum(1) / (shapes | shapes[nearest]).sum(1)).mean())

    assert overlap(1) > 0.7
    assert 0.2 < overlap(5) < 0.7
    assert 0.2 < overlap(2) < 0.7


def test_splits_and_seeds_draw_different_sections() -> None:
    first = {name: small().split(name).batch(torch.arange(10)).images for name in ("train", "val", "test")}  # type: ignore[arg-type]
    assert not torch.equal(first["train"], first["val"])
    assert not torch.equal(first["val"], first["test"])
    assert not torch.equal(first["train"], small(seed=1).split("train").batch(torch.arange(10)).images)


def test_specification_has_the_ranges_of_the_training_sections() -> None:
    dataset = small()
    spec, values = dataset.spec, dataset.split("train").batch(torch.arange(40)).conditions
    assert (spec.components, spec.height, spec.width) == (COMPONENTS, 64, 32)
    assert (spec.value_kind, spec.exclusive, spec.condition_names) == ("binary", True, ("width_px", "height_px"))
    assert [each.minimum for each in spec.conditions] == values.min(dim=0).values.tolist()
    assert [each.maximum for each in spec.conditions] == values.max(dim=0).values.tolist()
    assert [each.mean for each in spec.conditions] == pytest.approx(values.mean(dim=0).tolist())
    assert [each.std for each in spec.conditions] == pytest.approx(values.std(dim=0, unbiased=False).tolist())


def test_names_carry_the_split() -> None:
    assert small().split("test").names(torch.tensor([0, 7])) == ["test_00000", "test_00007"]


def test_an_unknown_setting_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="num_tran") as refused:
        DATASETS.build("tyre", {"num_tran": 3})
    assert "num_train" in refused.value.hint
