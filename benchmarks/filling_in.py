"""How well models fill in: `python benchmarks/filling_in.py CONFIG DATA [--seeds N ...] [--variants NAME ...] [--out FILE]`.

Trains a configuration on a data set in its three variants, once for each seed, and evaluates every run on the test images:

context     as it is
codes       with model.context=false: the decoder sees the codes alone, so that the difference is the context's
unet        a plain U-Net with the same masks, steps and batches

Reported of each run: minutes of training, and of each question (a keep-set, or holes) the pooled PSNR, the averaged PSNR, MSE, SSIM
or mean IoU, with the floors on the same pixels; and those of whole images from codes alone. Questions are `--keep a,b` (several),
by default those of `vqkit evaluate`; `--holes boxes` for holes. Runs are kept under `--runs` and not trained again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from common.commands import vqkit
from common.machine import describe_machine, describe_versions, publish

VARIANTS: dict[str, list[str]] = {"context": [], "codes": ["--set", "model.context=false"], "unet": ["--model", "unet"]}


def trained(config: Path, data: str, seed: int, variant: str, run: Path, extra: list[str]) -> float:
    """Train a run unless it is finished; minutes that it took, as noted beside it."""
    note = run / "minutes.json"
    if not note.is_file():
        start = time.perf_counter()
        typed = ["train-vqvae", "--config", str(config), "--data", data, "--seed", str(seed), "--out", str(run)]
        vqkit(*typed, *VARIANTS[variant], *extra)
        note.write_text(json.dumps((time.perf_counter() - start) / 60))
    minutes: float = json.loads(note.read_text())
    return minutes


def evaluated(run: Path, questions: list[str]) -> dict[str, Any]:
    """The figures of `vqkit evaluate --json`: of whole images, and of each question with its floors."""
    result = json.loads(vqkit("evaluate", "--run", str(run), "--floors", "all", "--json", *questions))["evaluations"][0]
    keys = ("name", "mse", "psnr", "pooled_psnr", "ssim", "mean_iou")
    parts = [{**_chosen(part, keys), "floors": [_chosen(floor, keys) for floor in part["floors"]]} for part in result["parts"]]
    return {"full": _chosen(result["full"], keys), "parts": parts, "notes": result["notes"]}


def _chosen(figures: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: figures[key] for key in keys if figures.get(key) is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--keep", action="append", default=[], help="components of a question, such as a,b; may be repeated")
    parser.add_argument("--holes", help="boxes, free-form or half")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="a setting of every run")
    parser.add_argument("--runs", type=Path, default=Path("runs/filling_in"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    questions = [part for keep in arguments.keep for part in ("--keep", keep)]
    questions += ["--mask-kind", arguments.holes] if arguments.holes else []
    extra = [part for setting in arguments.settings for part in ("--set", setting)]
    rows = []
    for seed in arguments.seeds:
        for variant in arguments.variants:
            run = arguments.runs / f"{arguments.config.stem}-{variant}-{seed}"
            minutes = trained(arguments.config, arguments.data, seed, variant, run, extra)
            rows.append({"variant": variant, "seed": seed, "minutes": minutes, **evaluated(run, questions)})
    content = {"config": arguments.config.name, "machine": describe_machine(), "versions": describe_versions(), "runs": rows}
    publish(content, arguments.out)


if __name__ == "__main__":
    main()
