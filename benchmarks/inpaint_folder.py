"""Filling in a folder of tyre sections: `python benchmarks/inpaint_folder.py [--count N] [--run RUN] [--threads N] [--out FILE]`.

Sections of the data set `tyre` are written in the component layout (five PNG files each), and filled in from one component as
`vqkit inpaint` does: everything but the start of Python and the loading of the model. Images per second of the whole, of each part
alone (reading, the model, writing), and what memory was added after the first quarter. Without `--run`, the default model with
untrained weights, which is as fast as a trained one.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

# Threads that busy-wait at a barrier lose whole time slices when another process uses their core. Set before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

import vqkit
from common.machine import describe_machine, describe_versions, publish
from inpaint import untrained
from vqkit.data.opening import open_dataset
from vqkit.image_io.background import BackgroundWriter
from vqkit.image_io.inputs import Item, find_inputs
from vqkit.image_io.originals import Filled, Output, plain_outputs
from vqkit.image_io.reading import InputImage, ReadOptions, check_not_whole, read_images
from vqkit.inference.inpaint import filled_images, inpaint_items
from vqkit.inference.pipeline import Pipeline

KEEP = ReadOptions(("group_nc",))
BATCH = 64


def write_sections(count: int, folder: Path) -> None:
    """The first test sections, repeated as needed, as files of components, without composites."""
    split = open_dataset("tyre").split("test")
    spec = split.spec
    images = split.batch(torch.arange(count) % len(split)).images
    outputs: list[Output] = []
    for number, image in enumerate(images):
        filled = Filled(spec.to_unit(image[None])[0], image, None, spec)
        outputs += plain_outputs(f"section_{number:05d}", filled, folder)
    write_all(outputs, folder)


def write_all(outputs: list[Output], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with BackgroundWriter[None](folder) as writer:
        for start in range(0, len(outputs), 6 * BATCH):
            writer.submit(outputs[start : start + 6 * BATCH], None)
            list(writer.finished())
        list(writer.finished(wait=True))


def read(items: list[Item], pipeline: Pipeline) -> list[InputImage]:
    return list(read_images(items, pipeline.spec, KEEP, lambda path, reason: None, check_not_whole))


def fill(images: list[InputImage], pipeline: Pipeline) -> None:
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        pipeline.fill(torch.stack([each.image for each in part]), torch.stack([each.observed for each in part]))


def write(images: list[InputImage], pipeline: Pipeline, out: Path) -> None:
    outputs: list[Output] = []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        stored, observed = torch.stack([each.image for each in batch]), torch.stack([each.observed for each in batch])
        filled = filled_images(pipeline.spec.to_unit(stored), stored, observed, batch, pipeline.spec)
        for image, result in zip(batch, filled, strict=True):
            outputs += image.original.outputs(image.name, result, image.observed, out)
    write_all(outputs, out)


def megabytes() -> float:
    """Most memory that the process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(pipeline: Pipeline, count: int, folder: Path) -> dict[str, object]:
    items = find_inputs(folder / "in", pipeline.spec).items
    list(inpaint_items(pipeline, items[:BATCH], folder / "warm-up", KEEP, lambda path, reason: None))
    quarter = 0.0
    started, used = time.perf_counter(), time.process_time()
    found = find_inputs(folder / "in", pipeline.spec).items
    for number, _ in enumerate(inpaint_items(pipeline, found, folder / "out", KEEP, lambda path, reason: None)):
        if number == count // 4:
            quarter = megabytes()
    wall, processor, growth = time.perf_counter() - started, time.process_time() - used, megabytes() - quarter
    parts = {}
    images: list[InputImage] = []
    for name, call in (
        ("finding files", lambda: find_inputs(folder / "in", pipeline.spec)),
        ("reading", lambda: images.extend(read(items, pipeline))),
        ("model", lambda: fill(images, pipeline)),
        ("writing", lambda: write(images, pipeline, folder / "again")),
    ):
        begun = time.perf_counter()
        call()
        parts[name] = round(count / (time.perf_counter() - begun), 1)
    return {
        "images": count,
        "images_per_second": round(count / wall, 1),
        "processor_milliseconds_an_image": round(1e3 * processor / count, 3),
        "images_per_second_of_each_part_alone": parts,
        "memory_added_after_the_first_quarter_mib": round(growth, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--run", help="a trained run; default: the default model, untrained")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file to write; default: print only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pipeline = vqkit.load(arguments.run, "cpu") if arguments.run else untrained()
    with tempfile.TemporaryDirectory() as folder:
        write_sections(arguments.count, Path(folder, "in"))
        measured = measure(pipeline, arguments.count, Path(folder))
    report = {"benchmark": "inpaint_folder", "machine": describe_machine(), "versions": describe_versions(), **measured}
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
