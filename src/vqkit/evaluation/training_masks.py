"""Whether a model was trained to fill in what is missing in an evaluation, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vqkit.config import read_config_file
from vqkit.errors import ConfigError
from vqkit.evaluation.mask_scenarios import MaskScenario
from vqkit.storage.runs import CONFIG_FILE, run_directory

_COVERED = {
    "components": {"components"},
    "components-or-boxes": {"components", "boxes"},
    "boxes": {"boxes"},
    "free-form": {"free-form"},
    "half": {"half"},
    "mixed": {"boxes", "free-form", "half"},
}
"""What was missing in training, by `masking.kind`."""


def unfamiliar_masks(checkpoint: Path, components: int, scenarios: Sequence[MaskScenario]) -> Iterator[str]:
    """A sentence for each kind of masks in the scenarios that the model has not seen in training; none outside of a run.

    `components`: how many the images have, on which `masking.kind=auto` depends.
    """
    try:
        masking = read_config_file(run_directory(checkpoint) / CONFIG_FILE).get("masking")
    except ConfigError:
        return
    kind = masking.get("kind") if isinstance(masking, dict) else None
    if kind == "auto":
        kind = "components" if components > 1 else "boxes"
    if kind not in _COVERED:
        return
    measured = {each.mask_kind or ("components" if len(each.keep) < components else None) for each in scenarios}
    for name in sorted(each for each in measured - _COVERED[kind] if each is not None):
        yield f"{name} missing: the model was not trained to fill in these, but with masking.kind={kind}."
