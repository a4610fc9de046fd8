"""A header that is wrong in any value is refused with one sentence and a hint, before anything that it states is built."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from painting import SHAPES, pipeline, sections
from vqkit.errors import CheckpointError
from vqkit.storage import checkpoints, headers
from vqkit.storage.checkpoints import load_encoder, load_model, load_prior, read_header, read_tensors, write_tensors
from vqkit.storage.code_files import CodesFile, read_codes, write_codes
from vqkit.storage.runs import locate

ANY = object()
"""Removal of a value."""
WRONG: list[Any] = [
    ANY,
    None,
    True,
    -1,
    0,
    10**9,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "\0",
    "../x",
    "x" * 10_000,
    [],
    [[]],
]
WRONG += [{}, {"a": {"b": [{}]}}, [1, "a", None], [["a", 1]], [-1, -1], [10**9] * 2]


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        header: dict[str, Any] = json.loads(file.metadata()["vqkit"])
    return header


def forged(path: Path, header: dict[str, Any], target: Path) -> Path:
    """The file with another header, whose digest is right."""
    content = {key: value for key, value in header.items() if key != "header_digest"}
    save_file(load_file(path), target, {"vqkit": json.dumps({**content, "header_digest": headers._digest(content)})})
    return target


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested lists and objects; of lists, the first entry."""
    if place:
        yield place
    entries = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*place, key))


def changed(header: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy of the header with another value at a place."""
    copy: dict[str, Any] = json.loads(json.dumps(header))
    inner: Any = copy
    for key in place[:-1]:
        inner = inner[key]
    if value is ANY:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return copy


def refused_or_read(load: Callable[[Path], Any], path: Path) -> bool:
    """Whether a file is refused, as it has to be if it is."""
    try:
        load(path)
    except CheckpointError as error:
        right = error.message.endswith(".") and bool(error.hint) and len(str(error)) < 1000
        assert right, str(error)[:1000]
        return True
    return False


@pytest.fixture(scope="module")
def codes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, model = tmp_path_factory.mktemp("codes") / "codes.safetensors", pipeline(SHAPES)
    content = CodesFile(model.encode(sections(2)), ("a", "b"), torch.tensor([0, -1]), torch.ones(2, 1), model.digest, ("cat",))
    write_codes(path, content, model.tokenizer)
    return path


def mutations(path: Path, load: Callable[[Path], Any], target: Path, least: float) -> None:
    """Every wrong value at every place of the header: refused, or harmless."""
    header = header_of(path)
    outcomes = [
        refused_or_read(load, forged(path, changed(header, place, value), target)) for place in places(header) for value in WRONG
    ]
    assert sum(outcomes) / len(outcomes) > least


def test_headers_of_models(tiny_run: Path, tmp_path: Path) -> None:
    mutations(locate(tiny_run), load_model, tmp_path / "x.safetensors", 0.6)


def test_headers_of_models_as_encoders(tiny_run: Path, tmp_path: Path) -> None:
    header = {**header_of(locate(tiny_run)), "spec": []}
    assert refused_or_read(load_encoder, forged(locate(tiny_run), header, tmp_path / "x.safetensors"))


def test_headers_of_priors(tiny_prior_run: Path, tmp_path: Path) -> None:
    mutations(locate(tiny_prior_run), load_prior, tmp_path / "x.safetensors", 0.6)


def test_headers_of_codes(codes_file: Path, tmp_path: Path) -> None:
    mutations(codes_file, read_codes, tmp_path / "x.safetensors", 0.5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("height", 10**9),
        ("height", -4),
        ("width", "64"),
        ("component_specs", []),
        ("conditions", [{}]),
        ("name", 3),
        ("display", ["x"]),
    ],
)
def test_wrong_specifications_are_refused(tiny_run: Path, tmp_path: Path, key: str, value: Any) -> None:
    header = changed(header_of(locate(tiny_run)), ("spec", key), value)
    assert refused_or_read(load_model, forged(locate(tiny_run), header, tmp_path / "x.safetensors"))


@pytest.mark.parametrize("name", ["../../etc", "/etc", "a/../../b", "..", "a\0b", "x" * 300, ""])
def test_components_that_lead_elsewhere_are_refused(tiny_run: Path, tmp_path: Path, name: str) -> None:
    header = changed(header_of(locate(tiny_run)), ("spec", "component_specs", 0, "name"), name)
    with pytest.raises(CheckpointError, match="name of the component"):
        load_model(forged(locate(tiny_run), header, tmp_path / "x.safetensors"))


def test_an_edited_header_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    path, header = locate(tiny_run), header_of(locate(tiny_run))
    header["spec"]["component_specs"][0]["high"] = 254.0
    save_file(load_file(path), tmp_path / "x.safetensors", {"vqkit": json.dumps(header)})
    for read in (load_model, read_header):
        with pytest.raises(CheckpointError, match="its header does not match its digest"):
            read(tmp_path / "x.safetensors")


@pytest.mark.parametrize("removed", [("header_digest",), ("digest",), ("digest", "header_digest")])
def test_a_header_without_digests_is_refused(tiny_run: Path, tmp_path: Path, removed: tuple[str, ...]) -> None:
    path = locate(tiny_run)
    header = {key: value for key, value in header_of(path).items() if key not in removed}
    save_file(load_file(path), tmp_path / "x.safetensors", {"vqkit": json.dumps(header)})
    assert refused_or_read(load_model, tmp_path / "x.safetensors")


def test_files_of_format_1_are_read(tiny_run: Path, codes_file: Path, tmp_path: Path) -> None:
    for path, load, without in ((locate(tiny_run), load_model, ()), (codes_file, read_codes, ("digest",))):
        header = {key: value for key, value in header_of(path).items() if key not in ("header_digest", *without)}
        save_file(load_file(path), tmp_path / "x.safetensors", {"vqkit": json.dumps({**header, "format": 1})})
        load(tmp_path / "x.safetensors")  # type: ignore[operator]


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '"x"', "{", "[" * 100_000, '{"format": true}', '{"format": [1]}', "\0"])
def test_headers_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors", {"vqkit": text})
    for read in (load_model, read_codes, read_header):
        assert refused_or_read(read, tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", ["codes", "training"])
def test_changed_tensors_are_refused_in_every_kind(codes_file: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"x": torch.zeros(2)}, {"kind": kind})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="its tensors do not match its header"):
        read_tensors(path, torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("vqvae", "hidden", 10**6),
        ("vqvae", "hidden", 2**40),
        ("vqvae", "blocks", 10**9),
        ("vqvae", "inner", 10**9),
        ("vqvae", "stride", 2**40),
        ("vqvae2", "levels", 10**9),
        ("vqvae2", "factor", 2**40),
        ("unet", "hidden", 10**7),
        ("vqvae2", "hidden", 10**6),
        ("vae", "latent_dim", 10**9),
    ],
)
def test_networks_beyond_the_file_are_not_built(
    tiny_run: Path, tmp_path: Path, name: str, option: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_fill", lambda *_: pytest.fail("it was built"))
    header = {**header_of(locate(tiny_run)), "name": name, "options": {option: value}}
    with pytest.raises(CheckpointError, match="describes what cannot be built: "):
        load_model(forged(locate(tiny_run), header, tmp_path / "x.safetensors"))
