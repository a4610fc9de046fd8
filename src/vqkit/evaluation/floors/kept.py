"""The floors of an evaluation, measured once: they are kept in the run's directory, and found by its neighbours.

<run>/floors/<key>.json

The key is a digest of everything that they depend on: settings of the data, split, scenarios and their floors, ranges of the
components, digests of the images of both splits (of many images: of some), and the version of vqkit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

import vqkit
from vqkit.core import distributed
from vqkit.core.atomic import write_text
from vqkit.data.fingerprints import fingerprint
from vqkit.evaluation.floors.fitting import floor_names
from vqkit.evaluation.floors.measuring import HeldOutImages, measure_floors
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.scenario_metrics import FloorMetrics
from vqkit.evaluation.variance import Variances
from vqkit.interfaces import Split
from vqkit.storage.runs import CONFIG_FILE, run_directory

FloorsOfScenarios = list[tuple[FloorMetrics, ...]]
_FILES = TypeAdapter(FloorsOfScenarios)


def kept_floors(
    checkpoint: Path,
    data: dict[str, Any],
    training: Split,
    images: HeldOutImages,
    variances: Variances,
    device: torch.device = torch.device("cpu"),
    progress: Progress = no_progress,
) -> FloorsOfScenarios:
    """What `measure_floors` gives, read where it is kept beside the run of the `checkpoint`, or else measured now and kept.

    `data`: settings of the data that both splits come from, as plain values.
    """
    run = run_directory(checkpoint)
    key = _key(data, training, images) if distributed.is_main() else ""
    text = distributed.broadcast_text(_read(run, key) if distributed.is_main() else "")
    if text:
        return _FILES.validate_json(text)
    floors = measure_floors(training, images, variances, device, progress)
    if distributed.is_main() and (run / CONFIG_FILE).is_file():  # nothing is written beside a checkpoint outside of a run
        content = json.dumps([[asdict(floor) for floor in row] for row in floors], indent=1, allow_nan=False)
        with contextlib.suppress(OSError):  # a run that cannot be written to is measured again the next time
            write_text(_file(run, key), content + "\n")
    return floors


def _key(data: dict[str, Any], training: Split, images: HeldOutImages) -> str:
    scenarios = [(*scenario, floor_names(scenario, images.spec)) for scenario in images.scenarios]
    contents = [fingerprint(split) for split in (training, images.split)]  # other images under the same names are other data
    positions = images.split.positions(torch.arange(len(images.split))).tolist()  # they decide where holes are
    settings = [vqkit.__version__, data, images.spec.to_json(), scenarios, contents, positions]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _read(run: Path, key: str) -> str:
    """The content of a file with this key, of the run or of one beside it, if it is whole; else nothing."""
    for path in (_file(run, key), *sorted(run.parent.glob(f"*/floors/{key}.json"))):
        try:
            text = path.read_text(encoding="utf-8")
            _FILES.validate_json(text)
        except (OSError, UnicodeDecodeError, ValidationError):
            continue
        return text
    return ""


def _file(run: Path, key: str) -> Path:
    return run / "floors" / f"{key}.json"
