"""`vqkit encode --shard`: shards together are the whole, finished ones are left out, and the index depends on the images alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
import typer

from command_runner import command_runner
from painting import load_blocks, sections, write_components
from vqkit.cli.decode import decode
from vqkit.cli.encode import encode
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.inference import encoding
from vqkit.inference import pipeline as loading
from vqkit.inference.pipeline import Pipeline
from vqkit.storage.code_files import read_codes

IMAGES = sections(5)
app = typer.Typer()
app.command("encode")(encode)
app.command("decode")(decode)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with exported sections, and a model with the blocks; its digest is the name of its run."""

    monkeypatch.setattr(loading, "load_model", load_blocks)
    monkeypatch.chdir(tmp_path)
    write_components(IMAGES, Path("sections"))


def run(*arguments: str) -> str:
    result = command_runner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def encode_shards(*numbers: int, total: int = 3) -> None:
    for number in numbers:
        run("encode", "sections", "--shard", f"{number}/{total}")


def test_shards_are_the_whole() -> None:
    encode_shards(0, 1, 2)
    run("encode", "sections", "--out", "whole.safetensors")
    joined, whole = read_codes(Path("codes.index.json")), read_codes(Path("whole.safetensors"))
    assert joined.names == whole.names == ("s0", "s1", "s2", "s3", "s4")
    assert torch.equal(joined.codes[0], whole.codes[0]) and joined.codes[0].dtype == torch.uint8
    run("decode", "codes.index.json", "--out", "again")
    assert len(list(Path("again").rglob("*.png"))) == 5 * 4


def test_a_finished_shard_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = run("encode", "sections", "--shard", "0/2")
    assert "shard 0/2 (--shard): images 1 to 3 of 5" in said and "the index follows when all 2 are" in said
    kept = Path("codes-00000-of-00002.safetensors").stat()

    def fail(*arguments: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(Pipeline, "encode_batch", fail)
    assert "is finished already" in run("encode", "sections", "--shard", "0/2")
    assert Path("codes-00000-of-00002.safetensors").stat().st_mtime_ns == kept.st_mtime_ns


def failing(images: Iterable[object], size: int) -> Iterator[object]:
    """The first image, and then nothing more."""
    yield [next(iter(images))]
    raise RuntimeError("killed")


def test_the_index_is_a_function_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards in another order, one of them killed and made again, give the same bytes."""
    encode_shards(0, 1, 2)
    expected = {path.name: path.read_bytes() for path in Path().glob("codes*")}
    for path in Path().glob("codes*"):
        path.unlink()
    encode_shards(2)
    with monkeypatch.context() as patch:
        patch.setattr(encoding, "batched", failing)
        with pytest.raises(RuntimeError, match="killed"):
            encode_shards(1)
    assert [path.name for path in sorted(Path().glob("codes*"))] == [name for name in sorted(expected) if "00002-of" in name]
    encode_shards(1, 0)
    assert {path.name: path.read_bytes() for path in Path().glob("codes*")} == expected


def test_more_shards_than_images() -> None:
    encode_shards(*range(7), total=7)
    assert read_codes(Path("codes.index.json")).names == ("s0", "s1", "s2", "s3", "s4")


def test_shards_of_other_images_or_models_are_refused() -> None:
    encode_shards(0)
    with pytest.raises(DataError, match="by another model"):
        run("encode", "sections", "--shard", "1/3", "--run", "other")
    with pytest.raises(DataError, match="is of other shards than 0/2"):
        encode_shards(0, total=2)
    next(Path("sections").rglob("s4_belt.png")).unlink()
    encode_shards(1)  # still all names; the last shard has one file less
    Path("sections/belt/s0_belt.png").write_bytes(Path("sections/belt/s1_belt.png").read_bytes() + b"0")
    with pytest.raises(DataError, match="have changed since"):
        encode_shards(0)


def test_a_shard_alone_is_read_too_and_damage_is_noticed() -> None:
    encode_shards(0, 1, 2)
    assert read_codes(Path("codes-00001-of-00003.safetensors")).names == ("s2", "s3")
    content = bytearray(Path("codes-00001-of-00003.safetensors").read_bytes())
    content[-1] ^= 1
    Path("codes-00001-of-00003.safetensors").write_bytes(content)
    with pytest.raises((CheckpointError, DataError), match="is not the one that"):
        read_codes(Path("codes.index.json"))


def test_a_task_of_an_array_is_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ID": "1", "COUNT": "2", "MIN": "0", "MAX": "1"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert "shard 1/2 (SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT): images 4 to 5 of 5" in run("encode", "sections")
    assert "shard 0/2 (--shard)" in run("encode", "sections", "--shard", "0/2")
    assert read_codes(Path("codes.index.json")).names == ("s0", "s1", "s2", "s3", "s4")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "1")
    with pytest.raises(ConfigError, match="--array=0-63"):
        run("encode", "sections")
