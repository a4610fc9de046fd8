"""What is mutated: small valid files of every kind that vqkit reads, and the command that reads each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mutations import Mutation, any_bytes, any_json, any_safetensors, any_text

from command_runner import command_runner
from small_runs import TINY, tiny, tiny_prior
from vqkit.cli.app import app
from vqkit.config import PriorRunConfig, dump_yaml, load_config
from vqkit.training.run import train

OUT = "out"
_SECTION = "sections/group_nc/test_00000_group_nc.png"
_MODEL = "runs/tiny/checkpoints/step-00000020/model.safetensors"
_PRIOR = "prior/checkpoints/step-00000020/model.safetensors"
_FILLING = ["--keep", "group_nc", "--run", _MODEL, "--out", OUT]


class Subject(NamedTuple):
    """A file to be mutated, of the valid files; how; the command; what else it reads, and where it may write besides out/."""

    kind: str
    file: str
    mutation: Mutation
    command: Sequence[str]
    needs: tuple[str, ...] = ()
    may_write: tuple[str, ...] = ()


def subjects(valid: Path) -> list[Subject]:
    """Every subject, for the valid files that `make_valid_files` has written."""
    found = [
        Subject("model", _MODEL, any_safetensors, ["inpaint", _SECTION, *_FILLING], (_SECTION,)),
        Subject("prior", _PRIOR, any_safetensors, ["sample", "--run", _PRIOR, "--num-samples", "2", "--out", OUT], (_MODEL,)),
        Subject(
            "codes", "codes.safetensors", any_safetensors, ["decode", "codes.safetensors", "--run", _MODEL, "--out", OUT], (_MODEL,)
        ),
        Subject("packed", "set.safetensors", any_safetensors, ["data", "export", "set.safetensors", "--num", "2", "--out", OUT]),
        Subject("packed", "set.safetensors", any_safetensors, ["data", "preview", "set.safetensors", "--out", f"{OUT}/a.png"]),
        Subject(
            "index",
            "parts.index.json",
            any_json,
            ["data", "export", "parts.index.json", "--num", "4", "--out", OUT],
            tuple(f"parts-0000{number}-of-00002.safetensors" for number in range(2)),
        ),
        Subject(
            "compressed", "images.vqk", any_bytes, ["decompress", "images.vqk", "--run", _PRIOR, "--out", OUT], (_MODEL, _PRIOR)
        ),
        Subject("configuration", "run.yaml", any_text, ["train", "--config", "run.yaml", "--out", f"{OUT}/a"]),
        Subject(
            "table", "sections/performances.csv", any_text, ["data", "preview", "sections", "--out", f"{OUT}/a.png"], ("sections",)
        ),
        Subject("mask", "mask.png", any_bytes, ["inpaint", _SECTION, *_FILLING, "--mask", "mask.png"], (_MODEL, _SECTION)),
    ]
    found += [
        Subject("array", f"set.{end}", any_bytes, ["data", "preview", f"set.{end}", "--out", f"{OUT}/a.png"])
        for end in ("npy", "npz")
    ]
    for path in sorted((valid / "images").iterdir()):
        kind = "TIFF" if path.suffix == ".tif" else "array" if path.suffix in (".npy", ".npz") else "picture"
        found.append(Subject(kind, f"images/{path.name}", any_bytes, ["inpaint", f"images/{path.name}", *_FILLING], (_MODEL,)))
    resumed = ["train", "--resume", "runs/tiny"]
    for name in ("latest", "best", "run.yaml", "metrics.jsonl"):
        found.append(Subject("run", f"runs/tiny/{name}", any_text, resumed, ("runs",), ("runs",)))
    found.append(Subject("run", "runs/tiny/data.json", any_json, resumed, ("runs",), ("runs",)))
    folder = Path(_MODEL).parent
    found.append(Subject("run", f"{folder}/training.json", any_json, resumed, ("runs",), ("runs",)))
    found.append(Subject("run", f"{folder}/training.safetensors", any_safetensors, resumed, ("runs",), ("runs",)))
    return found


def make_valid_files(folder: Path) -> None:
    """Write the files that are mutated: a model, a prior, and what the commands make with them. Takes some ten seconds."""
    train(None, tiny(), [], folder / "runs" / "tiny", "auto")
    for name in ("tensorboard", "images", "floors"):
        shutil.rmtree(folder / "runs" / "tiny" / name, ignore_errors=True)
    train(None, tiny_prior(folder / "runs" / "tiny", "metadata"), [], folder / "prior", "auto", PriorRunConfig)
    small = ["tyre", *(part for name in ("train", "val", "test") for part in ("--set", f"data.num_{name}=4"))]
    run = _runner(folder)
    run("data", "export", *small, "--split", "test", "--num", "4", "--out", "sections")
    run("data", "prepare", *small, "--out", "set.safetensors")
    for shard in ("0/2", "1/2"):
        run("data", "prepare", *small, "--shard", shard, "--out", "parts.safetensors")
    run("encode", "--data", "set.safetensors", "--split", "test", "--run", _MODEL, "--out", "codes.safetensors")
    run("compress", "sections", "--run", _PRIOR, "--out", "images.vqk")
    (folder / "run.yaml").write_text(dump_yaml(load_config(None, TINY, [])), encoding="utf-8")
    _write_images(folder)


def _runner(folder: Path) -> Callable[..., None]:
    """A function that runs a command of vqkit in a directory, which must succeed."""

    def run(*arguments: str) -> None:
        os.chdir(folder)
        done = command_runner().invoke(app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output

    return run


def _write_images(folder: Path) -> None:
    """An image of the model in every form: pictures, TIFFs and arrays."""
    import tifffile
    from PIL import Image

    drawn = torch.Generator().manual_seed(0)
    image = torch.randint(0, 2, (5, 64, 32), generator=drawn, dtype=torch.uint8).numpy() * 255
    images = folder / "images"
    images.mkdir()
    for suffix in ("png", "bmp", "gif", "webp", "jpg"):
        Image.fromarray(image[0]).save(images / f"a_group_nc.{suffix}")
    tifffile.imwrite(images / "all.tif", image, photometric="minisblack")
    tifffile.imwrite(images / "packed.tif", image, photometric="minisblack", compression="zlib", tile=(32, 32))
    tifffile.imwrite(images / "ome.tif", image, photometric="minisblack", ome=True, metadata={"axes": "CYX"})
    np.save(images / "all.npy", image)
    np.savez(images / "parts.npz", group_nc=image[0], tpc=image[1])
    Image.fromarray(image[1]).save(folder / "mask.png")
    many = torch.randint(0, 255, (12, 3, 8, 8), generator=drawn, dtype=torch.uint8).numpy()
    np.save(folder / "set.npy", many)
    conditions = torch.randn(12, 2, generator=drawn).numpy()
    np.savez(
        folder / "set.npz", train_images=many, train_conditions=conditions, test_images=many[:4], test_conditions=conditions[:4]
    )
