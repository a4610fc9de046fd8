"""The golden losses: what four tiny runs recorded, so that a change that moves them is noticed.

`make golden` writes tests/golden/losses.json anew; do so only when the change was meant. Its "torch" is the version that drew the
random numbers: another one may draw others from the same seeds.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from small_runs import TINY, tiny, tiny_prior
from vqkit.config import PriorRunConfig, RunConfig
from vqkit.training.run import train
from vqkit.training.tracking import Recorder

FILE = Path(__file__).parent / "golden" / "losses.json"
NAMES = ("vqvae", "vqvae2", "vae", "prior")
LOSSES = ("loss", "recon", "recon_masked", "commit", "commit_top", "commit_bottom", "vq", "kl", "nll", "nll_codes")
"""The names that are kept, after `train/` and `val/`."""

_SMALL = {"hidden": 16, "inner": 16, "blocks": 1}


def torch_version() -> str:
    """The release of torch, such as 2.13."""
    return ".".join(torch.__version__.split(".")[:2])


def golden_losses(name: str, tokenizer: Path, run: Path) -> list[dict[str, float]]:
    """Train one of `NAMES` in `run`; its losses at every recorded step, in full precision (metrics.jsonl keeps 6 digits).

    `tokenizer` is the finished run of "vqvae" that the prior is trained on.
    """
    rows: list[dict[str, float]] = []

    def keep(recorder: Recorder, step: int, epoch: float, values: Mapping[str, float]) -> None:
        losses = {key: value for key, value in values.items() if key.partition("/")[2] in LOSSES}
        rows.append({"step": step, **losses})

    with mock.patch.object(Recorder, "row", keep):
        train(None, _configuration(name, tokenizer), [], run, "auto", PriorRunConfig if name == "prior" else RunConfig)
    return rows


def _configuration(name: str, tokenizer: Path) -> dict[str, Any]:
    if name == "prior":
        return tiny_prior(tokenizer, "metadata", "observed")
    model = {"vqvae2": {**_SMALL, "quantizer": TINY["model"]["quantizer"]}, "vae": _SMALL}
    return {**tiny(), "model": {"name": name, **model[name]}} if name in model else tiny()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        losses = {name: golden_losses(name, Path(directory) / "vqvae", Path(directory) / name) for name in NAMES}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({"torch": torch_version(), **losses}, indent=1) + "\n")
    sys.stdout.write(f"wrote {FILE}\n")
