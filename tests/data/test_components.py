from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.data.components import ComponentDataset
from vqkit.errors import ConfigError, DataError
from vqkit.interfaces import Split

LABELS = torch.randint(4, (6, 8, 4), generator=torch.Generator().manual_seed(0)).numpy()
"""Six images of three components that never overlap."""
NAMES = ("group_nc", "fpu", "wire")


def shape(image: int, component: str) -> np.ndarray:
    return np.where(LABELS[image] == NAMES.index(component) + 1, 255, 0).astype(np.uint8)


def save(root: Path, key: str, image: int, components: tuple[str, ...] = NAMES, mode: str = "L", prefix: str = "") -> None:
    for component in components:
        (root / component).mkdir(parents=True, exist_ok=True)
        Image.fromarray(shape(image, component)).convert(mode).save(root / component / f"{prefix}{key}_{component}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four training and two test images with a table; `full` holds what must be ignored."""
    root = tmp_path / "sections"
    for image in range(4):
        save(root / "train", f"Toy_{image}", image, prefix="mdbk_", mode=("L", "RGB", "RGBA", "1")[image])
    for image in (4, 5):
        save(root / "test", f"toy_{image}", image)
    for folder in ("train", "test"):
        (root / folder / "full").mkdir()
        Image.fromarray(shape(0, "fpu")).save(root / folder / "full" / "toy_0_full.png")
    rows = [f"toy_{image},{image < 4},{image > 3},{40 + image},{image / 10}" for image in range(6)]
    (root / "performances.csv").write_text("\n".join(["matching,train,test,width_px,d_cons", *rows]))
    return root


def build(root: Path, **settings: object) -> ComponentDataset:
    return ComponentDataset(ComponentDataset.Options(path=str(root), **settings))


def content(split: Split) -> dict[str, np.ndarray]:
    """The images of a split by their names."""
    indices = torch.arange(len(split))
    return dict(zip(split.names(indices), split.batch(indices).images.numpy(), strict=True))


def test_pictures_of_every_mode_are_read_in_the_order_of_the_components(root: Path) -> None:
    dataset = build(root, validation_share=0.25)
    images = content(dataset.split("train")) | content(dataset.split("val")) | content(dataset.split("test"))
    assert dataset.spec.components == NAMES
    assert sorted(images) == [*(f"Toy_{image}" for image in range(4)), "toy_4", "toy_5"]
    for image in range(6):
        assert np.array_equal(
            images[f"{'Toy' if image < 4 else 'toy'}_{image}"], np.stack([shape(image, component) for component in NAMES])
        )
    assert (len(dataset.split("train")), len(dataset.split("val")), len(dataset.split("test"))) == (3, 1, 2)


def test_specification_is_detected(root: Path) -> None:
    spec = build(root).spec
    assert (spec.name, spec.height, spec.width) == ("sections", 8, 4)
    assert (spec.value_kind, spec.exclusive, spec.classes) == ("binary", True, ())
    assert spec.condition_names == ("width_px",)


def test_conditions_follow_the_images(root: Path) -> None:
    split = build(root, conditions=("d_cons", "width_px")).split("test")
    assert split.names(torch.arange(2)) == ["toy_4", "toy_5"]
    assert torch.allclose(split.batch(torch.arange(2)).conditions, torch.tensor([[0.4, 44.0], [0.5, 45.0]]))


def test_components_may_be_chosen_and_ordered(root: Path) -> None:
    dataset = build(root, components=("wire", "group_nc"))
    assert dataset.spec.components == ("wire", "group_nc")
    assert np.array_equal(content(dataset.split("test"))["toy_4"], np.stack([shape(4, "wire"), shape(4, "group_nc")]))
    with pytest.raises(DataError, match="has the component fpo") as refused:
        build(root, components=("fpo",))
    assert "Did you mean 'fpu'?" in refused.value.hint


def test_epure_order_with_others_before_gi(tmp_path: Path) -> None:
    for name in ("gi", "tpc", "aaa", "group_nc", "zzz", "group_km"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("L", (4, 8)).save(tmp_path / name / f"{number}_{name}.png")
    assert build(tmp_path).spec.components == ("group_nc", "group_km", "tpc", "aaa", "zzz", "gi")


def test_overlapping_components_are_not_exclusive(root: Path) -> None:
    for image in range(4):
        Image.new("L", (4, 8), 255).save(root / "train" / "fpu" / f"mdbk_Toy_{image}_fpu.png")
    spec = build(root).spec
    assert (spec.value_kind, spec.exclusive) == ("binary", False)


def test_intermediate_values_are_intensities_unless_they_are_cut(root: Path) -> None:
    for image in range(4):
        Image.new("L", (4, 8), 100).save(root / "train" / "fpu" / f"mdbk_Toy_{image}_fpu.png")
    assert build(root).spec.value_kind == "mixed"
    cut = build(root, value_kind="binary")
    images = content(cut.split("train")) | content(cut.split("val"))
    assert cut.spec.value_kind == "binary"
    assert not images["Toy_0"][1].any()


def test_a_flat_folder_is_divided_by_the_flags_of_its_table(root: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    for image in range(6):
        save(flat, f"toy_{image}", image)
    (flat / "performances.csv").write_bytes((root / "performances.csv").read_bytes())
    dataset = build(flat, validation_share=0.25)
    assert sorted(content(dataset.split("test"))) == ["toy_4", "toy_5"]
    assert sorted([*content(dataset.split("train")), *content(dataset.split("val"))]) == ["toy_0", "toy_1", "toy_2", "toy_3"]


def test_a_flat_folder_without_flags_has_no_test_images_of_its_own(tmp_path: Path) -> None:
    for image in range(4):
        save(tmp_path, f"toy_{image}", image)
    dataset = build(tmp_path)
    with pytest.warns(UserWarning, match="no test images"):
        test = dataset.split("test")
    assert content(test).keys() == content(dataset.split("val")).keys()


def test_validation_images_of_their_own_are_used(root: Path) -> None:
    save(root / "val", "toy_9", 5)
    dataset = build(root, conditions=())
    assert (len(dataset.split("train")), list(content(dataset.split("val")))) == (4, ["toy_9"])


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("L", (5, 8)), "they do not show the same area"),
        (None, "1 of 18 files in .* cannot be used.*cannot be read: it is damaged"),
        (Image.new("RGB", (4, 8), (9, 200, 9)), "is in colour, where one component is expected"),
    ],
    ids=["size", "damage", "colour"],
)
def test_a_picture_that_does_not_fit_is_named(root: Path, picture: Image.Image | None, message: str) -> None:
    path = root / "test" / "wire" / "toy_5_wire.png"
    path.write_bytes(b"nothing") if picture is None else picture.save(path)
    with pytest.raises(DataError, match=message) as refused:
        build(root).split("test")
    assert str(path) in refused.value.message


def test_nothing_to_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no images in"):
        build(tmp_path)
    with pytest.raises(DataError, match="is not a directory"):
        build(tmp_path / "nowhere")


def test_images_without_components_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (4, 8), (number, 200, 0)).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"There are no components in .*: one file an image; 3 train images") as refused:
        build(tmp_path)
    assert "data.pattern" in refused.value.hint


def test_conditions_without_a_table_are_refused(root: Path) -> None:
    (root / "performances.csv").unlink()
    assert build(root).spec.conditions == ()
    with pytest.raises(ConfigError, match=r"there is no performances\.csv"):
        build(root, conditions=("width_px",))


def test_a_read_split_is_not_read_again(root: Path) -> None:
    dataset = build(root)
    dataset.split("train")
    for path in (root / "train").rglob("*.png"):
        path.unlink()
    assert len(dataset.split("val")) == 1
