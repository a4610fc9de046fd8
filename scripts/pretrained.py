"""Train the models that come with vqkit and write them into the package: `make pretrained`.

    vqkit train --config configs/pretrained_tyre.yaml --out RUNS/tyre
    vqkit train-prior --config configs/pretrained_tyre_prior.yaml --tokenizer RUNS/tyre --out RUNS/tyre-prior

Beside them figures.json records these commands, versions, and what the models reach on test images, which a test measures again.
Runs that are there already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import vqkit
from vqkit.core.atomic import write_text
from vqkit.evaluation.autoencoder import evaluate
from vqkit.evaluation.code_rates import RateMeter, conditioning_cases
from vqkit.evaluation.held_out import batches_with_positions, open_split
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.inference.sampler import load_sampler
from vqkit.storage.builtin import BUILTIN, FOLDER, builtin_file
from vqkit.storage.checkpoints import load_model, load_prior, write_model, write_prior

KEEP_SETS = (("group_nc",), ("group_nc", "bt"), ("fpu", "tpc"))
LIMIT = 100
"""Test images of the recorded figures."""
COMMANDS = {
    "tyre": "vqkit train --config configs/pretrained_tyre.yaml --out {runs}/tyre",
    "tyre-prior": "vqkit train-prior --config configs/pretrained_tyre_prior.yaml --tokenizer {runs}/tyre --out {runs}/tyre-prior",
}


def main() -> None:
    """Train, write and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrained"), help="Directory of the two runs.")
    runs: Path = parser.parse_args().runs
    for name, command in COMMANDS.items():
        if not (runs / name / "best").is_file():
            words = [word.format(runs=runs) for word in command.split()]
            subprocess.run([sys.executable, "-m", *words], check=True)
    write(runs)
    write_text(FOLDER / "figures.json", json.dumps({**about(), **measure()}, indent=2) + "\n")


def write(runs: Path) -> None:
    """The best checkpoints of the runs, as files of the package; the prior names the tokenizer beside it."""
    trained = load_model(runs / "tyre")
    write_model(builtin_file("builtin:tyre"), trained.model, trained.data)
    prior = load_prior(runs / "tyre-prior")
    write_prior(builtin_file("builtin:tyre-prior"), prior.prior, prior.data, load_model("builtin:tyre"))
    for name in BUILTIN:
        builtin_file(f"builtin:{name}").chmod(0o644)  # safetensors writes files that only their owner can read


def about() -> dict[str, Any]:
    """How the models were made, and how large they are."""
    return {
        "commands": {name: command.format(runs="runs/pretrained") for name, command in COMMANDS.items()},
        "made_by": "make pretrained",
        "versions": {"vqkit": vqkit.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "bytes": {name: builtin_file(f"builtin:{name}").stat().st_size for name in BUILTIN},
        "digests": {"tyre": load_model("builtin:tyre").digest, "tyre-prior": load_prior("builtin:tyre-prior").digest},
    }


def measure() -> dict[str, Any]:
    """What the models reach on test images."""
    request = EvaluationRequest(limit=LIMIT, keep_sets=KEEP_SETS, mask_kind="none", floors=False)
    result = evaluate("builtin:tyre", request)
    sampler = load_sampler("builtin:tyre-prior", device="cpu")
    cases = conditioning_cases(sampler.prior.spec, sampler.spec, KEEP_SETS[:1], "none", with_conditions=False)
    meter = RateMeter(sampler, cases, with_conditions=False)
    for positions, batch in batches_with_positions(open_split(load_model("builtin:tyre"), None, "test", LIMIT), LIMIT, "measured"):
        meter.add(positions, batch.to(sampler.device, sampler.spec), batch.images)
    return {
        "test_images": result.images,
        "iou_reconstructed": round(result.full.mean_iou or 0, 4),
        "iou_filled_in": {"+".join(part.keep): round(part.mean_iou or 0, 4) for part in result.parts},
        "nats_per_code": {rate.name: round(rate.nll_per_code, 4) for rate in meter.rates()},
    }


if __name__ == "__main__":
    main()
