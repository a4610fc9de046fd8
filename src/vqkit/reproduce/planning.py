"""From a preset, a data set and names of models to the runs that are to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vqkit import runs
from vqkit.config import NamedOptions, RunConfig, load_config, merge
from vqkit.data.opening import open_dataset, resolve_data
from vqkit.errors import ConfigError, DataError
from vqkit.interfaces import DataSpec, ImageDataset
from vqkit.registry import MODELS
from vqkit.reproduce.presets import Preset
from vqkit.training import CONFIG_FILE, resolve

FEWEST_TRAINING = 64
"""Training images without which there is nothing to learn."""
FEWEST_TEST = 8
"""Test images without which there is nothing to compare."""


class Job(NamedTuple):
    """One run to train: of which model, with which seed, where, and its whole configuration."""

    model: str
    seed: int
    run: Path
    config: RunConfig

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        assert self.config.training.steps is not None
        return self.config.training.steps


def plan(preset: Preset, data: str, models: Sequence[str], out: Path, device: str = "auto") -> list[Job]:
    """A job for every seed of every model (all that are registered if none is named), seed by seed, below `out`/runs.

    Raises `RegistryError` for an unknown model, `DataError` for data that are missing or too few, and `ConfigError` for a setting
    of the preset that cannot work.
    """
    for name in models:
        MODELS.get(name)
    chosen = list(dict.fromkeys(models)) or list(MODELS.entries())
    base, spec = _settled_data(preset, data)
    kind = "components-or-boxes" if len(spec.components) > 1 and not spec.is_colour else "boxes"
    shared = merge(base, {"masking": {"kind": kind}, "training": {"device": device}})
    jobs = []
    for seed in preset.seeds:
        for name in chosen:
            settings = merge(shared, {"model": _model(preset, name), "training": {"seed": seed}})
            config = load_config(None, settings, [], RunConfig)
            assert isinstance(config, RunConfig)
            if config.training.steps is None:
                raise ConfigError("The preset has no run.training.steps.", "Give every run the same number of steps there.")
            jobs.append(Job(name, seed, out / "runs" / f"{name}-seed{seed}", resolve(config)))
    return jobs


def is_finished(job: Job) -> bool:
    """Whether the job was done before. Raises `ConfigError` where its directory holds a run with other settings."""
    if not (job.run / CONFIG_FILE).is_file():
        return False
    present = resolve(load_config(job.run / CONFIG_FILE, {}, [], RunConfig))
    before, now = present.model_dump(mode="json"), job.config.model_dump(mode="json")
    differing = [group for group in now if before.get(group) != now[group]]
    if differing:
        raise ConfigError(
            f"The run {job.run} was trained with other settings: {', '.join(differing)} differ from what is asked for now.",
            "Choose another --out, or remove that directory to train all anew.",
        )
    saved = runs.checkpoints(job.run)
    return bool(saved) and saved[-1] == runs.checkpoint_directory(job.run, job.steps)


def _settled_data(preset: Preset, data: str) -> tuple[dict[str, Any], DataSpec]:
    """The run settings that all models share, with the data among them, and what the data are."""
    named = resolve_data(data)
    further = preset.data.get(named.name, {})
    given: dict[str, Any] = {"name": named.name, **{key: named.options[key] for key in ("path", "paths") if key in named.options}}
    base = merge(merge(preset.run, further), {"data": given})
    resolved = resolve_data(NamedOptions(**base["data"]))
    dataset = open_dataset(resolved)
    _check_size(dataset, data)
    return {**base, "data": resolved.model_dump(mode="json")}, dataset.spec


def _check_size(dataset: ImageDataset, data: str) -> None:
    counts = {name: len(dataset.split(name)) for name in ("train", "test")}
    if counts["train"] < FEWEST_TRAINING or counts["test"] < FEWEST_TEST:
        raise DataError(
            f"{data} has {counts['train']} training images and {counts['test']} test images; a comparison needs at least "
            f"{FEWEST_TRAINING} and {FEWEST_TEST}.",
            "Name a larger set with --data.",
        )


def _model(preset: Preset, name: str) -> dict[str, Any]:
    """A model's settings: those of every network that it knows, and its own."""
    known = MODELS.get(name).Options.model_fields
    common = {key: value for key, value in preset.network.items() if key in known}
    return {"name": name, **merge(common, preset.models.get(name, {}))}
