"""Folders of pictures encoded, beside the decoding of the files alone: `python benchmarks/folder_encoding.py [--seconds N]`.

Two kinds of folders:

- sections of `tyre`, five PNG files each, as `vqkit data export` writes them, and the default model for them;
- photographs, JPEG files of 256 x 256, and the default model at that size with a stride of 16 (16 x 16 codes).

The time of everything that `vqkit encode FOLDER` does after the start of Python and the loading of the model, beside that of Pillow
and torchvision, which only decode the same files, in one thread. Untrained weights: as fast as trained ones. Then the growth with
the number of images, in time and in memory.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Threads that busy-wait at a barrier lose whole time slices when another process uses their core. Set before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from PIL import Image

from common.memory import can_reset_peak, reset_peak, resident_mib
from common.peers import peer
from common.report import Report, Table, Target, arguments
from common.timing import interleaved, ratio
from configurations import synthetic_images
from inpaint import untrained
from inpaint_folder import write_sections
from vqkit.config import NamedOptions
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.reading import ReadOptions
from vqkit.image_io.values import channel_names
from vqkit.inference.encoding import encode_items
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import DataSpec
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded
from vqkit.storage.code_joining import joined_codes_writer

TORCHVISION = peer("torchvision.io", "torchvision")
SECTIONS, PHOTOGRAPHS = 400, 64
GROWTH = (100, 200, 400)


def photograph_model() -> Pipeline:
    """The default model with a stride of 16, untrained, for photographs of 256 x 256."""
    spec = DataSpec.uniform("photographs", channel_names(3), 256, 256, "intensity")
    model = MODELS.build("vqvae", {"stride": 16}, spec).to(memory_format=torch.channels_last).eval()
    return Pipeline(Loaded(model, Path("untrained"), "", NamedOptions(name="photographs"), {}), torch.device("cpu"))


def write_photographs(count: int, folder: Path) -> None:
    """Smooth random fields with noise, as JPEG files of quality 90."""
    folder.mkdir(parents=True)
    spec = DataSpec.uniform("photographs", channel_names(3), 256, 256, "intensity")
    fields = synthetic_images(spec, count)
    noisy = (fields + 0.03 * torch.randn(fields.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    for number, pixels in enumerate(noisy.mul(255).to(torch.uint8).permute(0, 2, 3, 1).numpy()):
        Image.fromarray(pixels).save(folder / f"photograph_{number:05d}.jpg", quality=90)


def encode(pipeline: Pipeline, folder: Path, out: Path) -> int:
    """What `vqkit encode FOLDER` does; returns the number of images."""
    items = find_inputs(folder, pipeline.spec).items
    parts = encode_items(pipeline, items, ReadOptions(), lambda path, reason: None, lambda count: None)
    with joined_codes_writer(out, pipeline.tokenizer, pipeline.digest, ()) as writer:
        for part in parts:
            writer.add(part)
    return len(items)


def decode_with_pillow(files: list[Path]) -> None:
    for file in files:
        with Image.open(file) as picture:
            picture.load()


def decode_with_torchvision(files: list[Path]) -> None:
    for file in files:
        TORCHVISION.decode_image(str(file))


def compare(pipeline: Pipeline, folder: Path, out: Path, seconds: float) -> dict[str, float]:
    """Milliseconds for the whole folder."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    calls: dict[str, Callable[[], object]] = {
        "encode": lambda: encode(pipeline, folder, out),
        "pillow": lambda: decode_with_pillow(files),
    }
    if TORCHVISION is not None:
        calls["torchvision"] = lambda: decode_with_torchvision(files)
    return interleaved(calls, seconds)


def growth_rows(pipeline: Pipeline, folder: Path) -> list[list[Any]]:
    """Time and memory of more and more sections."""
    rows: list[list[Any]] = []
    for count in GROWTH:
        write_sections(count, folder / f"in_{count}")
        before = resident_mib("VmRSS")
        reset_peak()
        times = interleaved(
            {"encode": lambda size=count: encode(pipeline, folder / f"in_{size}", folder / "codes.safetensors")}, 0, 1, 1
        )
        rows.append(
            [count, round(times["encode"] / 1e3, 2), round(times["encode"] / count, 2), round(resident_mib("VmHWM") - before)]
        )
        print(rows[-1], file=sys.stderr)
    return rows


def main() -> None:
    given = arguments(__doc__, 15).parse_args()
    about = "Everything that `vqkit encode FOLDER` does after the start, beside the decoding of the same files alone by Pillow and "
    about += "torchvision. Sections are five PNG files of 64 x 32 pixels each, photographs one JPEG file of 256 x 256 (stride 16)."
    report = Report("folder_encoding", "Folders", about, given, ["pillow", "torchvision"])
    sections = untrained()
    kinds = {
        "tyre sections": (sections, SECTIONS, write_sections),
        "photographs": (photograph_model(), PHOTOGRAPHS, write_photographs),
    }
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, (pipeline, count, write) in kinds.items():
            write(count, folder / kind)
            times = compare(pipeline, folder / kind, folder / "codes.safetensors", given.seconds)
            each = {call: round(value / count, 3) for call, value in times.items()}
            relative = ratio(times, "encode", "pillow")
            rows.append([kind, count, each["encode"], each["pillow"], each.get("torchvision"), relative])
            report.targets.append(Target(f"encoding a folder of {kind}: time over Pillow's decoding", 4, relative, at_most=True))
            print(rows[-1], file=sys.stderr)
        columns = ("folder", "images", "encode, ms an image", "Pillow, ms an image", "torchvision, ms an image", "encode / Pillow")
        report.tables.append(Table("Encoding beside decoding the files alone", columns, rows))
        if can_reset_peak():
            grown = growth_rows(sections, folder)
            columns = ("tyre sections", "seconds", "ms a section", "memory added, MiB")
            report.tables.append(Table("Growth with the number of images", columns, grown))
    report.write()


if __name__ == "__main__":
    main()
