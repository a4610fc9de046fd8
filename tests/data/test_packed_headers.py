"""What a packed data set says of itself is compared with its arrays, whatever it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.data.opening import open_dataset
from vqkit.data.packing import CONTENTS_KEY, pack
from vqkit.errors import DataError

WRONG: list[Any] = [None, True, -1, 0, 10**9, 10**30, 1.5, float("nan"), "", "x" * 5000, [], [[]], {}, {"a": [{}]}, [1, "a", None]]
MISSING = object()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "set.safetensors"
    pack(open_dataset(NamedOptions(name="tyre", num_train=6, num_val=2, num_test=2)), path)
    return path


def opened(path: Path) -> Any:
    return open_dataset(NamedOptions(name="arrays", path=str(path))).split("test").batch(torch.arange(1))


def metadata(path: Path, digests: bool = True) -> dict[str, str]:
    """What the header says, with or without the digests of the tensors, which files of earlier versions have not."""
    with safe_open(path, "pt") as file:
        return {name: value for name, value in file.metadata().items() if digests or name != CONTENTS_KEY}


def with_spec(packed: Path, change: Callable[[Any], Any], target: Path) -> Path:
    """The file with another specification, whose digest is right."""
    text = json.dumps(change(json.loads(metadata(packed)["vqkit_spec"])))
    digest = hashlib.sha256(text.encode()).hexdigest()
    save_file(load_file(packed), target, {**metadata(packed), "vqkit_spec": text, "vqkit_spec_digest": digest})
    return target


def refused(path: Path) -> bool:
    try:
        opened(path)
    except DataError as error:
        assert error.hint and len(str(error)) < 1000
        return True
    return False


def test_a_packed_set_is_opened(packed: Path) -> None:
    assert opened(packed).images.shape == (1, 5, 64, 32)


@pytest.mark.parametrize(
    "place", [("name",), ("height",), ("width",), ("component_specs",), ("conditions",), ("classes",), ("display",)]
)
def test_a_wrong_specification_is_refused(packed: Path, tmp_path: Path, place: tuple[str]) -> None:
    def change(value: Any) -> Callable[[Any], Any]:
        return lambda spec: {key: each for key, each in {**spec, place[0]: value}.items() if each is not MISSING}

    outcomes = [refused(with_spec(packed, change(value), tmp_path / "x.safetensors")) for value in (*WRONG, MISSING)]
    assert sum(outcomes) >= len(outcomes) // 2


@pytest.mark.parametrize("key", ["name", "kind", "dtype", "low", "high", "minimum", "transform", "unit", "nodata"])
def test_a_wrong_component_is_refused(packed: Path, tmp_path: Path, key: str) -> None:
    def change(value: Any) -> Callable[[Any], Any]:
        return lambda spec: {**spec, "component_specs": [{**spec["component_specs"][0], key: value}, *spec["component_specs"][1:]]}

    outcomes = [refused(with_spec(packed, change(value), tmp_path / "x.safetensors")) for value in WRONG]
    assert sum(outcomes) >= 5


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\0", "x" * 300])
def test_names_that_lead_elsewhere_are_refused(packed: Path, tmp_path: Path, name: str) -> None:
    def change(spec: Any) -> Any:
        return {**spec, "component_specs": [{**spec["component_specs"][0], "name": name}, *spec["component_specs"][1:]]}

    assert refused(with_spec(packed, change, tmp_path / "x.safetensors"))
    tensors = load_file(packed)
    tensors["test_names"] = torch.tensor(list(f"{name}\nb".encode()), dtype=torch.uint8)
    save_file(tensors, tmp_path / "x.safetensors", metadata(packed, digests=False))
    assert refused(tmp_path / "x.safetensors")


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "3", "null", "{}"])
def test_a_specification_that_is_none_is_refused(packed: Path, tmp_path: Path, text: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    save_file(load_file(packed), tmp_path / "x.safetensors", {**metadata(packed), "vqkit_spec": text, "vqkit_spec_digest": digest})
    assert refused(tmp_path / "x.safetensors")
    without = {key: value for key, value in metadata(packed).items() if key != "vqkit_spec"}
    save_file(load_file(packed), tmp_path / "x.safetensors", without)
    assert refused(tmp_path / "x.safetensors")


def test_an_edited_specification_is_refused(packed: Path, tmp_path: Path) -> None:
    edited = {**metadata(packed), "vqkit_spec": metadata(packed)["vqkit_spec"].replace("255.0", "254.0", 1)}
    save_file(load_file(packed), tmp_path / "x.safetensors", edited)
    with pytest.raises(DataError, match="does not match its digest"):
        opened(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("test_names", lambda rows: rows[:-1] * 0 + 255),
        ("test_names", lambda rows: rows * 0 + 10),
        ("test_images", lambda rows: rows[:, :3]),
        ("test_images", lambda rows: rows[:, :, :8]),
        ("test_conditions", lambda rows: rows[:, :0]),
        ("test_conditions", lambda rows: rows[:1]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(packed: Path, tmp_path: Path, name: str, change: Callable[[Tensor], Tensor]) -> None:
    tensors = load_file(packed)
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, tmp_path / "x.safetensors", metadata(packed, digests=False))
    assert refused(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["train_images", "val_names", "test_conditions"])
def test_a_flipped_bit_is_noticed(packed: Path, tmp_path: Path, name: str) -> None:
    tensors = load_file(packed)
    tensors[name].view(torch.uint8).flatten()[3] ^= 1
    save_file(tensors, tmp_path / "x.safetensors", metadata(packed))
    with pytest.raises(DataError, match=f"its {name} do not match their digest"):
        opened(tmp_path / "x.safetensors")
    save_file(tensors, tmp_path / "x.safetensors", metadata(packed, digests=False))
    opened(tmp_path / "x.safetensors")


@pytest.mark.parametrize("digests", ["", "[]", "{}", "[" * 100_000, '{"train_images": 1}'])
def test_digests_of_other_tensors_are_refused(packed: Path, tmp_path: Path, digests: str) -> None:
    save_file(load_file(packed), tmp_path / "x.safetensors", {**metadata(packed), CONTENTS_KEY: digests})
    with pytest.raises(DataError, match="not those that its digests name"):
        opened(tmp_path / "x.safetensors")


def test_the_digest_is_that_of_the_bytes(packed: Path) -> None:
    digests = json.loads(metadata(packed)[CONTENTS_KEY])
    tensors = load_file(packed)
    assert digests == {name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest() for name, tensor in tensors.items()}
