"""Train the model that comes with vqkit and write it into the package: `make pretrained`.

    vqkit train --config configs/pretrained_tyre.yaml --out RUNS/tyre

Beside them figures.json records the command, versions, and what the model reaches on test images, which a test measures again.
A run that is there already is not trained again.
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
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.storage.builtin import BUILTIN, FOLDER, builtin_file
from vqkit.storage.checkpoints import load_model, write_model

KEEP_SETS = (("group_nc",), ("group_nc", "bt"), ("fpu", "tpc"))
LIMIT = 100
"""Test images of the recorded figures."""
COMMANDS = {
    "tyre": "vqkit train --config configs/pretrained_tyre.yaml --out {runs}/tyre",
}


def main() -> None:
    """Train, write and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrained"), help="Directory of the run.")
    runs: Path = parser.parse_args().runs
    for name, command in COMMANDS.items():
        if not (runs / name / "best").is_file():
            words = [word.format(runs=runs) for word in command.split()]
            subprocess.run([sys.executable, "-m", *words], check=True)
    write(runs)
    write_text(FOLDER / "figures.json", json.dumps({**about(), **measure()}, indent=2) + "\n")


def write(runs: Path) -> None:
    """The best checkpoint of the run, as a file of the package."""
    trained = load_model(runs / "tyre")
    write_model(builtin_file("builtin:tyre"), trained.model, trained.data)
    builtin_file("builtin:tyre").chmod(0o644)  # safetensors writes files that only their owner can read


def about() -> dict[str, Any]:
    """How the models were made, and how large they are."""
    return {
        "commands": {name: command.format(runs="runs/pretrained") for name, command in COMMANDS.items()},
        "made_by": "make pretrained",
        "versions": {"vqkit": vqkit.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "bytes": {name: builtin_file(f"builtin:{name}").stat().st_size for name in BUILTIN},
        "digests": {"tyre": load_model("builtin:tyre").digest},
    }


def measure() -> dict[str, Any]:
    """What the models reach on test images."""
    request = EvaluationRequest(limit=LIMIT, keep_sets=KEEP_SETS, mask_kind="none", floors=False)
    result = evaluate("builtin:tyre", request)
    return {
        "test_images": result.images,
        "iou_reconstructed": round(result.full.mean_iou or 0, 4),
        "iou_filled_in": {"+".join(part.keep): round(part.mean_iou or 0, 4) for part in result.parts},
    }


if __name__ == "__main__":
    main()
