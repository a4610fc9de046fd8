"""The README of a published model: what it fills in, of what, how well, and how it was trained.

How well it does is in what `vqkit evaluate --out evaluation.json` writes, where that file is beside the run's run.yaml and is about
this model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vqkit.config import NamedOptions, read_config_file
from vqkit.errors import VQKitError
from vqkit.interfaces import DataSpec
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded
from vqkit.storage.runs import CONFIG_FILE, run_directory

EVALUATION_FILE = "evaluation.json"
_NOT_MEASURED = (
    "Not measured. `vqkit evaluate --run RUN --out RUN/evaluation.json` measures it beside simple predictors, and the next card "
    "has the table."
)


def card_metadata(loaded: Loaded, licence: str | None) -> dict[str, Any]:
    """The head of the card, as the Hub knows it; without a licence unless its owner has named one."""
    name = MODELS.name_of(loaded.model)
    head = {"library_name": "vqkit", "pipeline_tag": "image-to-image", "tags": ["vqkit", "inpainting", "vector-quantization", name]}
    return head if licence is None else {**head, "license": licence}


def card_text(loaded: Loaded, repository: str | None, licence: str | None) -> str:
    """The card below its head, in Markdown."""
    spec = loaded.model.spec
    parts = {
        "": _summary(loaded, spec),
        "Use": _use(spec, repository),
        "Images": _images(spec),
        "How well it fills in": _figures(kept_evaluation(loaded)),
        "Training": _training(loaded),
        "Licence": licence
        or "Not stated: whoever publishes this model names one, in the field `license` of the head of this file.",
    }
    sections = [f"## {title}\n\n{text}" if title else text for title, text in parts.items()]
    return "\n\n".join(sections) + "\n"


def kept_evaluation(loaded: Loaded) -> Mapping[str, Any] | None:
    """The measured errors of this model beside its run, if there are some."""
    try:
        content = json.loads((run_directory(loaded.path) / EVALUATION_FILE).read_text(encoding="utf-8"))
        return next((each for each in content["evaluations"] if each["digest"] == loaded.digest), None)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def public_data(data: NamedOptions) -> NamedOptions:
    """The data that a model was trained on, without the folders in which they lie on the owner's machine."""
    return NamedOptions(name=_public(data.name), **{name: _public(value) for name, value in data.options.items()})


def _public(value: Any) -> Any:
    """A setting without folders, the last part of every path, and numbers as Python writes them."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, str):
        return Path(value).name if "/" in value or "\\" in value else value
    if isinstance(value, Mapping):
        return {name: _public(each) for name, each in value.items()}
    return [_public(each) for each in value] if isinstance(value, (list, tuple)) else value


def _summary(loaded: Loaded, spec: DataSpec) -> str:
    size = f"{len(spec.components)} components, {spec.width} x {spec.height} pixels (width x height)"
    count = sum(each.numel() for each in loaded.model.parameters())
    return (
        f"# {MODELS.name_of(loaded.model)} of {_public(spec.name)}\n\n"
        f"Given any of the components of an image, or a part of them, this model fills in the rest in one pass: {size}, "
        f"{count:,} parameters. It is a model of vqkit; the file is safetensors, and nothing in it is executed."
    )


def _use(spec: DataSpec, repository: str | None) -> str:
    name = repository or "FOLDER"
    lines = ["import vqkit", f'model = vqkit.load("{name}")', f'filled = model.inpaint(image, keep=["{spec.components[0]}"])']
    return "\n".join(["```python", *lines, "```"])


def _images(spec: DataSpec) -> str:
    rows = [
        (each.name, each.kind, each.dtype, f"{each.low:g} to {each.high:g}", f"{each.minimum:g} to {each.maximum:g}", each.unit)
        for each in spec.component_specs
    ]
    text = _table(("component", "kind", "type", "range", "extremes in training", "unit"), rows)
    if spec.conditions:
        numbers = [(each.name, f"{each.minimum:g} to {each.maximum:g}") for each in spec.conditions]
        text += "\n\n" + _table(("condition", "in training"), numbers)
    return text


def _figures(evaluation: Mapping[str, Any] | None) -> str:
    if evaluation is None:
        return _NOT_MEASURED
    rows = []
    for part in evaluation["parts"]:
        # As `vqkit evaluate` says which is better: averaged decibels reward what is very good in the easiest images.
        shapes = part["mean_iou"] is not None and len(part["iou"]) == len(part["components"])
        figure, unit = ("mean_iou", "IoU") if shapes else ("pooled_psnr", "pooled PSNR, dB")
        floors = [(each[figure], each["name"]) for each in part["floors"] if each[figure] is not None]
        best = max(floors, default=None)
        simple = "" if best is None else f"{best[0]:.3g} ({best[1]})"
        own = part[figure]
        rows.append((part["name"], part["images"], unit, "" if own is None else f"{own:.3g}", simple))
    head = ("known", "images", "measure", "this model", "best simple predictor")
    return f"On {evaluation['images']} {evaluation['split']} images, on what was missing:\n\n{_table(head, rows)}"


def _training(loaded: Loaded) -> str:
    named = json.dumps(public_data(loaded.data).model_dump(mode="json"))
    file = run_directory(loaded.path) / CONFIG_FILE
    try:
        config = _public(read_config_file(file))
    except (VQKitError, OSError):
        return f"Data: `{named}`."
    text = yaml.safe_dump(config, sort_keys=False, default_flow_style=False)
    return f"`vqkit train --config run.yaml`, where run.yaml is\n\n```yaml\n{text}```"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
