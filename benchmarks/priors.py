"""Priors after equal processor time: `python benchmarks/priors.py TOKENIZER CONFIG... --minutes M [--keep a,b] [--out FILE]`.

Trains the prior of each configuration on the codes of one tokenizer, for as many steps as take M minutes of processor time: the
time of a step is that of runs of 8 and 40 steps. Runs are kept under `--runs` and not trained again. Reports of each prior

nats          of a code on test images in each case of `vqkit evaluate`, exact; for a prior in any order in the Halton order, one
              code at a time, beside the bound over random orders and the exact cost in `--draw-steps` steps
completions   of the questions `--keep` (several) or `--holes`: figures of one pass, of the answer that is best by consensus, and of
              the best of 16; diversity
samples       of `--drawn` new images without conditions: the share whose components have a usual number of parts
seconds       processor time of 64 samples

and for a prior in any order a table of the same for each number of steps of `--draw-steps`, and for other orders at the first of
them (nats in raster order only: random orders have a bound, and confidence has no likelihood that a few passes give).
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from common.commands import vqkit
from common.machine import describe_machine, describe_versions, publish
from vqkit.inference.sampler import load_sampler
from vqkit.interfaces.priors import Sampling

SAMPLES = 64
SHORT, LONG = 8, 40
OTHER_ORDERS = ("random", "confidence", "raster")
FIGURES = ("one_pass", "consensus", "best_per_component", "diversity")


def processor_seconds() -> float:
    """Processor time of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def train(config: Path, tokenizer: str, steps: int, out: Path, extra: list[str]) -> float:
    """Train a prior for a number of steps; processor seconds."""
    before = processor_seconds()
    vqkit("train-prior", "--config", str(config), "--tokenizer", tokenizer, "--steps", str(steps), "--out", str(out), *extra)
    return processor_seconds() - before


def trained(config: Path, run: Path, minutes: float, tokenizer: str, extra: list[str]) -> dict[str, Any]:
    """Train a prior for so many minutes, unless it is: its steps and minutes, as noted beside the run."""
    note = run / "benchmark.json"
    if not note.is_file():
        with tempfile.TemporaryDirectory() as folder:
            train(config, tokenizer, 1, Path(folder) / "first", extra)  # the codes are cached, for all that follow
            short, long = (train(config, tokenizer, steps, Path(folder) / str(steps), extra) for steps in (SHORT, LONG))
        steps = round(60 * minutes * (LONG - SHORT) / (long - short))
        seconds = train(config, tokenizer, steps, run, extra)
        note.write_text(json.dumps({"steps": steps, "minutes": round(seconds / 60, 1)}))
    content: dict[str, Any] = json.loads(note.read_text())
    return content


def evaluated(run: Path, typed: list[str]) -> dict[str, Any]:
    """Nats of a code in each case, and figures of samples and completions, of `vqkit evaluate` with further options."""
    printed = vqkit("evaluate", "--run", str(run), "--json", "--floors", "none", *typed)
    found = json.loads(printed)["priors"][0]
    rates = found["rates"] + found["order_rates"]
    plausible = found["samples"]["plausibility"] if found["samples"] else []
    completions = {
        each["name"]: {name: each[name]["components"] | {"pooled_psnr": each[name]["pooled_psnr"]} for name in FIGURES}
        for each in found["completions"]
    }
    return {
        "nats": {each["name"]: each["nll_per_code"] for each in rates},
        "samples": {each["name"]: each["usual_parts"] for each in plausible},
        "completions": completions,
    }


def sampling_seconds(run: Path, sampling: Sampling) -> float:
    """Processor seconds of a batch of codes without conditions, the least of three."""
    sampler = load_sampler(run, device="cpu")
    times = []
    for _ in range(3):
        before = time.process_time()
        sampler.prior.sample(SAMPLES, sampling=sampling)
        times.append(time.process_time() - before)
    return round(min(times), 3)


def ways_of_drawing(run: Path, steps: list[int], typed: list[str]) -> list[dict[str, Any]]:
    """A row for each number of steps in the Halton order, and for each other order."""
    rows = []
    for order, count in [*(("halton", count) for count in steps), *((order, steps[0]) for order in OTHER_ORDERS)]:
        seconds = sampling_seconds(run, Sampling(draw_steps=count, order=order))
        figures = evaluated(run, [*typed, "--draw-steps", str(count), "--order", order])
        if order in ("random", "confidence"):
            del figures["nats"]
        rows.append({"order": order, "draw_steps": count, "seconds": seconds, **figures})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer")
    parser.add_argument("configs", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, required=True, help="processor time of each training")
    parser.add_argument("--keep", action="append", default=[], help="components of a question, such as a,b; may be repeated")
    parser.add_argument("--holes", help="boxes, free-form or half")
    parser.add_argument("--images", type=int, default=200, help="test images of all figures; default: 200")
    parser.add_argument("--drawn", type=int, default=0, help="new images to draw; default: none")
    parser.add_argument("--draw-steps", type=int, nargs="*", default=[12], help="default: 12; the first is that of other orders")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="a setting of every run")
    parser.add_argument("--runs", type=Path, default=Path("runs/priors"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    typed = ["--limit", str(arguments.images), "--num-samples", str(arguments.drawn)]
    typed += [part for keep in arguments.keep for part in ("--keep", keep)]
    typed += ["--mask-kind", arguments.holes] if arguments.holes else []
    extra = [part for setting in arguments.settings for part in ("--set", setting)]
    rows = []
    for config in arguments.configs:
        run = arguments.runs / config.stem
        row = {"config": config.name, **trained(config, run, arguments.minutes, arguments.tokenizer, extra)}
        row |= {"seconds": sampling_seconds(run, Sampling()), **evaluated(run, typed)}
        if any("random orders" in case for case in row["nats"]):
            row["ways"] = ways_of_drawing(run, arguments.draw_steps, typed)
        rows.append(row)
    content = {"tokenizer": Path(arguments.tokenizer).name, "images": arguments.images, "samples": SAMPLES}
    publish({**content, "machine": describe_machine(), "versions": describe_versions(), "priors": rows}, arguments.out)


if __name__ == "__main__":
    main()
