"""Synthetic images packed and encoded in shards, some of them killed and made again:
`python benchmarks/shards.py [--images N] [--shards N] [--killed N] [--out FILE]`.

Each shard is a process of its own. Reported are its seconds and its peak memory, and whether the index and the shards of the run
with kills are, byte for byte, those of a run without. Random colour pictures of 32 x 32 pixels, and an untrained model with 8 x 8
codes: what is measured is the way of the images, not the network.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.machine import describe_machine, describe_versions, publish
from vqkit.config import NamedOptions
from vqkit.core.shard_records import Job, ShardedOutput, index_path
from vqkit.core.shards import Shard
from vqkit.data.packed_shards import INDEX_KIND
from vqkit.data.packing import pack
from vqkit.interfaces import Batch, DataSpec, ImageDataset, Split
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import write_model

SPEC = DataSpec.uniform("synthetic", ("r", "g", "b"), 32, 32, "intensity")


class Synthetic(Split):
    """Random pictures: 8 x 8 blocks of one colour, a function of the image's number."""

    in_memory = True

    def __init__(self, count: int) -> None:
        super().__init__(SPEC)
        self._count = count

    def __len__(self) -> int:
        return self._count

    def batch(self, indices: Tensor) -> Batch:
        numbers = indices[:, None] * 192 + torch.arange(192)
        colours = ((numbers * 2654435761) >> 16).remainder(256).to(torch.uint8).view(-1, 3, 8, 8)
        images = colours.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        return Batch(images, torch.empty(len(indices), 0), torch.full((len(indices),), -1))

    def names(self, indices: Tensor) -> list[str]:
        return [f"{index:08d}" for index in indices.tolist()]


class SyntheticDataset(ImageDataset):
    """`count` images to encode, and the least that a data set has beside them."""

    spec = SPEC

    def __init__(self, count: int) -> None:
        self._counts = {"train": count, "val": 1, "test": 1}

    def split(self, name: str) -> Split:
        return Synthetic(self._counts[name])


class Encoded(NamedTuple):
    """A process: its seconds, its peak memory in MB, and whether it was killed."""

    seconds: float
    megabytes: float
    killed: bool


def prepare(folder: Path, images: int, shards: int) -> Path:
    """The packed images, in shards, and the model; returns the index of the images."""
    dataset = SyntheticDataset(images)
    for number in range(shards):
        output = ShardedOutput(folder / "images.safetensors", INDEX_KIND, Shard(number, shards))
        output.finish(Job.of("synthetic", number), pack(dataset, output.file, output.shard))
        output.join()
    torch.manual_seed(0)
    quantizer = {"num_codes": 256, "dim": 8}
    model = MODELS.build("vqvae", {"hidden": 16, "inner": 16, "blocks": 1, "quantizer": quantizer}, SPEC)
    write_model(folder / "model.safetensors", model, NamedOptions(name="synthetic"))
    return output.index


def encode(folder: Path, index: Path, shard: Shard, out: Path, kill_after: float | None = None) -> Encoded:
    """Encode a shard in a process, which is killed after so many seconds."""
    words = ["encode", "--data", str(index), "--split", "train", "--run", str(folder / "model.safetensors")]
    words += ["--out", str(out), "--shard", str(shard), "--batch-size", "256"]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "vqkit", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if kill_after is not None:
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    killed = os.WIFSIGNALED(status)
    if not killed and os.waitstatus_to_exitcode(status):
        raise RuntimeError(process.stderr.read() if process.stderr else "failed")
    return Encoded(time.perf_counter() - started, usage.ru_maxrss / 1024, killed)


def measure(folder: Path, images: int, shards: int, kills: int, seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    index = prepare(folder, images, shards)
    for name in ("straight", "killed"):
        (folder / name).mkdir()
    straight = [encode(folder, index, Shard(n, shards), folder / "straight" / "codes.safetensors") for n in range(shards)]
    usual = statistics.median(each.seconds for each in straight)
    order = chance.sample(range(shards), shards)
    doomed = set(chance.sample(range(shards), kills))
    broken = []
    out = folder / "killed" / "codes.safetensors"
    for number in order:
        if number in doomed:
            # Late enough for it to have begun, early enough for it not to have finished.
            broken.append(encode(folder, index, Shard(number, shards), out, usual * chance.uniform(0.5, 0.95)))
        else:
            encode(folder, index, Shard(number, shards), out)
    for number in sorted(doomed):
        encode(folder, index, Shard(number, shards), out)
    finished = encode(folder, index, Shard(0, shards), out)
    files = {name: {path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ("straight", "killed")}
    joined = index_path(out).name
    return {
        "images": images,
        "shards": shards,
        "killed": sum(each.killed for each in broken),
        "seconds_a_shard": round(usual, 2),
        "images_a_second": round(images / sum(each.seconds for each in straight), 1),
        "seconds_of_a_finished_shard": round(finished.seconds, 2),
        "peak_megabytes": {
            "median": round(statistics.median(each.megabytes for each in straight), 1),
            "most": round(max(each.megabytes for each in straight), 1),
        },
        "index_equal": files["straight"][joined] == files["killed"][joined],
        "all_files_equal": files["straight"] == files["killed"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--killed", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="decides which shards are killed, and when")
    parser.add_argument("--out", type=Path, help="JSON file to write; default: print only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), arguments.images, arguments.shards, arguments.killed, arguments.seed)
    publish({"benchmark": "shards", "machine": describe_machine(), "versions": describe_versions(), **measured}, arguments.out)


if __name__ == "__main__":
    main()
