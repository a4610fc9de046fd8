from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from processes import start
from vqkit.cli.app import main
from vqkit.data.exporting import export
from vqkit.data.opening import open_dataset


def run(arguments: list[str]) -> int:
    """The exit code of the command line in this process."""
    sys.argv = ["vqkit", *arguments]
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def command(rank: int, arguments: list[str]) -> None:
    sys.argv = ["vqkit", *arguments]
    main()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the tiny run's data."""
    folder = tmp_path_factory.mktemp("images")
    export(open_dataset("tyre").split("test"), "test", 12, folder)
    return folder


@pytest.fixture(scope="module")
def compressed(images: Path, tiny_prior_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Them, compressed without loss by another process."""
    file = tmp_path_factory.mktemp("compressed") / "images.vqk"
    start(command, ["compress", str(images), "--run", str(tiny_prior_run), "--out", str(file), "--lossless", "-b", "5"])
    return file


def test_another_process_reads_every_bit(images: Path, compressed: Path, tiny_prior_run: Path, tmp_path: Path) -> None:
    start(command, ["decompress", str(compressed), "--run", str(tiny_prior_run), "--out", str(tmp_path)])
    given = sorted(path.relative_to(images) for path in images.rglob("*.png"))
    assert given == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")) and len(given) == 12 * 6
    for path in given:
        with Image.open(images / path) as one, Image.open(tmp_path / path) as other:
            assert np.array_equal(np.array(one), np.array(other))


def test_a_flipped_bit_anywhere_is_a_message(
    compressed: Path, tiny_prior_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = compressed.read_bytes()
    for position in np.linspace(0, len(whole) - 1, 40).astype(int).tolist():
        broken = bytearray(whole)
        broken[position] ^= 1 << position % 8
        (tmp_path / "x.vqk").write_bytes(broken)
        assert run(["decompress", str(tmp_path / "x.vqk"), "--run", str(tiny_prior_run), "--out", str(tmp_path / "out")]) == 2
        assert "Error: " in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_is_stated(images: Path, tiny_prior_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "images.vqk"
    assert run(["compress", str(images), "-r", str(tiny_prior_run), "-o", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    size = file.stat().st_size
    assert said["bytes"] == size and said["images"] == 12 and said["bits"]["residual"] == 0
    assert said["bits"]["stated"] <= 8 * size <= 1.01 * said["bits"]["stated"]
    assert run(["compress", str(images), "-r", str(tiny_prior_run), "-o", str(file), "--lossless"]) == 0
    printed = capsys.readouterr().out
    assert f"compressed 12 images to {file} ({file.stat().st_size:,} bytes)" in printed
    assert [line.split("  ")[0] for line in printed.splitlines()[2:]] == [
        "codes",
        "residual",
        "directory, digests",
        "stated",
        "file",
    ]


def test_a_wrong_run_is_a_message(
    compressed: Path, tiny_completing_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["decompress", str(compressed), "--run", str(tiny_completing_run), "--out", str(tmp_path)]) == 2
    assert "was compressed with the prior" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_shards_are_joined_by_an_index(
    images: Path, tiny_prior_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compress", str(images), "--run", str(tiny_prior_run), "--out", str(tmp_path / "x.vqk"), "--lossless"]
    assert run([*command, "--shard", "1/2"]) == 0 and "the index follows when all 2 are" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run([*command, "--shard", "0/2"]) == 2 and "torchrun started 2 processes" in capsys.readouterr().err
    assert run(command) == 0 and "shard 0/2 (RANK and WORLD_SIZE): images 1 to 6 of 12" in capsys.readouterr().out
    monkeypatch.undo()
    assert run([*command, "--shard", "1/2"]) == 0 and "is finished already" in capsys.readouterr().out
    assert run(["decompress", str(tmp_path / "x.index.json"), "--run", str(tiny_prior_run), "--out", str(tmp_path / "out")]) == 0
    assert "decompressed 12 images" in capsys.readouterr().out
    for path in images.rglob("*.png"):
        with Image.open(path) as one, Image.open(tmp_path / "out" / path.relative_to(images)) as other:
            assert np.array_equal(np.array(one), np.array(other))


def test_an_image_is_not_replaced_by_its_codes(
    images: Path, tiny_prior_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next(images.glob("composite/*.png")).rename(tmp_path / "x.png")
    content = image.read_bytes()
    (tmp_path / "link.png").symlink_to(image)
    for out in (image, tmp_path / "link.png", next(tiny_prior_run.rglob("model.safetensors"))):
        assert run(["compress", str(image), "--run", str(tiny_prior_run), "--out", str(out)]) == 2
        assert f"Error: Writing to {out} would replace the input" in capsys.readouterr().err
    assert image.read_bytes() == content
