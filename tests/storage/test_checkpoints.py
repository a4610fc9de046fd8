"""Checkpoints describe themselves, are whole or absent, and say what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from vqkit.config import NamedOptions
from vqkit.core.atomic import directory_atomically, write_atomically
from vqkit.errors import CheckpointError
from vqkit.interfaces import fully_observed
from vqkit.storage import runs
from vqkit.storage.checkpoints import digest, load_model, write_model
from vqkit.storage.headers import sealed
from vqkit.storage.runs import locate


@pytest.fixture
def copy(tiny_run: Path, tmp_path: Path) -> Path:
    """A model file of its own, free to be broken."""
    target = tmp_path / "model.safetensors"
    target.write_bytes(locate(tiny_run).read_bytes())
    return target


def test_a_model_file_alone_is_enough(tiny_run: Path, copy: Path) -> None:
    loaded, original = load_model(copy), load_model(tiny_run)
    assert loaded.digest == original.digest
    assert loaded.data.name == "tyre"
    assert loaded.header["code_shapes"] == [[16, 8]]
    assert not loaded.model.training
    images = torch.rand(2, 5, 64, 32)
    arguments = images, fully_observed(images), original.model.spec.unknown_conditions(2)
    assert torch.equal(loaded.model.reconstruct(*arguments), original.model.reconstruct(*arguments))


def test_saving_and_loading_changes_nothing(tiny_run: Path, tmp_path: Path) -> None:
    loaded = load_model(tiny_run)
    write_model(tmp_path / "model.safetensors", loaded.model, loaded.data)
    assert (tmp_path / "model.safetensors").read_bytes() == loaded.path.read_bytes()


def test_a_truncated_file_is_refused(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="cannot be read") as error:
        load_model(copy)
    assert "truncated" in error.value.hint


def test_an_edited_file_is_refused(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    content[-100] ^= 1
    copy.write_bytes(content)
    with pytest.raises(CheckpointError, match="changed after it was written"):
        load_model(copy)


def test_a_file_of_another_program_or_kind_is_refused(copy: Path) -> None:
    save_file({"x": torch.zeros(2)}, copy)
    with pytest.raises(CheckpointError, match="format of another program"):
        load_model(copy)
    save_file({"x": torch.zeros(2)}, copy, metadata={"vqkit": json.dumps({"format": 1, "kind": "codes"})})
    with pytest.raises(CheckpointError, match="holds a codes, not a model"):
        load_model(copy)


def test_tensors_that_do_not_fit_are_refused(copy: Path) -> None:
    tensors = load_file(copy)
    with safe_open(copy, "pt") as file:
        header = json.loads(file.metadata()["vqkit"])
    del header["header_digest"]
    tensors["extra"] = torch.zeros(3)
    save_file(tensors, copy, metadata={"vqkit": sealed(header, digest(tensors))})
    with pytest.raises(CheckpointError, match="does not fit the model it describes"):
        load_model(copy)


def test_what_a_run_may_be(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = tiny_run / str(runs.read_pointer(tiny_run / "best")) / "model.safetensors"
    assert locate(tiny_run) == best
    assert locate(tiny_run.parent / "latest") == best
    assert locate(best.parent) == best
    assert locate(best) == best
    assert locate(None, root=tiny_run.parent) == best
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no trained model in runs/") as error:
        locate(None)
    assert "vqkit train-vqvae" in error.value.hint
    with pytest.raises(CheckpointError, match="no run at runs/nothing"):
        locate("runs/nothing")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        locate(tmp_path)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("kind: prior\nmodel: {name: vqvae}\n", "prior"),
        ("kind: encoder\n", "encoder"),
        ("model: {name: vqvae}\n# kind: prior\n", None),
        ("kind: [prior]\n", None),
        ("kind: nonsense\n", None),
        ("kind: prior: [\n", None),
        ("!!python/object/apply:os.getcwd []\n", None),
    ],
)
def test_the_kind_of_a_run_is_what_its_settings_say(tmp_path: Path, text: str, kind: str | None) -> None:
    assert runs.kind_of(tmp_path) is None
    (tmp_path / "run.yaml").write_text(text)
    assert runs.kind_of(tmp_path) == kind


def test_the_newest_run_is_one_of_the_right_kind(tmp_path: Path, copy: Path) -> None:
    for name, kind in (("a", "model"), ("b", "prior")):
        directory = runs.checkpoint_directory(tmp_path / name, 1)
        directory.mkdir(parents=True)
        (directory / "model.safetensors").write_bytes(copy.read_bytes())
        (tmp_path / name / "run.yaml").write_text(f"# prior: model:\nkind: {kind}\n")
    assert locate(None, root=tmp_path).is_relative_to(tmp_path / "a")
    assert locate(None, kind="prior", root=tmp_path).is_relative_to(tmp_path / "b")
    with pytest.raises(CheckpointError, match=r"no trained encoder .* vqkit pretrain,"):
        locate(None, kind="encoder", root=tmp_path)


def test_without_best_the_newest_checkpoint_counts(tmp_path: Path, copy: Path) -> None:
    for step in (5, 20):
        directory = runs.checkpoint_directory(tmp_path / "run", step)
        directory.mkdir(parents=True)
        (directory / "model.safetensors").write_bytes(copy.read_bytes())
    assert locate(tmp_path / "run").parent.name == "step-00000020"


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("before")

    def fail() -> None:
        with write_atomically(target) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_a_directory_appears_whole_and_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    for content in ("one", "two"):
        with directory_atomically(target) as temporary:
            assert not (target / content).exists()
            (temporary / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_the_digest_depends_on_names_shapes_and_bytes() -> None:
    base = digest({"a": torch.zeros(2, 3)})
    assert base == digest({"a": torch.zeros(2, 3)})
    assert (
        len({base, digest({"b": torch.zeros(2, 3)}), digest({"a": torch.zeros(3, 2)}), digest({"a": torch.full((2, 3), 1e-30)})})
        == 4
    )


def test_data_travels_with_the_model(tiny_run: Path, tmp_path: Path) -> None:
    loaded = load_model(tiny_run)
    write_model(tmp_path / "m.safetensors", loaded.model, NamedOptions(name="images", path="x"))
    assert load_model(tmp_path / "m.safetensors").data.options == {"path": "x"}
