"""From a preset, a data set and names of models to the runs that are to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vqkit.config import EncoderConfig, NamedOptions, PretrainingRunConfig, RunConfig, load_config, merge
from vqkit.data.opening import name_data, open_dataset, resolve_data
from vqkit.errors import ConfigError, DataError
from vqkit.interfaces import DataSpec, ImageDataset
from vqkit.registry import METHODS, MODELS
from vqkit.reproduce.presets import Adaptation, Preset
from vqkit.storage import runs
from vqkit.storage.runs import CONFIG_FILE
from vqkit.training.kinds import resolve

Config = TypeVar("Config", RunConfig, PretrainingRunConfig)

FEWEST_TRAINING = 64
"""Training images without which there is nothing to learn."""
FEWEST_TEST = 8
"""Test images without which there is nothing to compare."""


class Job(NamedTuple):
    """One run to train: its name, its seed, where it is, and its configuration.

    `name`: of a model; MODEL+METHOD of one that starts from an encoder which has learned by itself; and MODEL+METHOD encoder of the
    run in which that learns. `after`: the job that must be finished before, whose encoder it starts from.
    """

    name: str
    seed: int
    run: Path
    config: RunConfig | PretrainingRunConfig
    after: Job | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        assert self.config.training.steps is not None
        return self.config.training.steps


def plan(preset: Preset, data: str, models: Sequence[str], out: Path, device: str = "auto") -> list[Job]:
    """A job for every seed of every model (all that take part if none is named), seed by seed, below `out`/runs.

    Raises `RegistryError` for an unknown model or method, `DataError` for data that are missing or too few, and `ConfigError` for a
    setting of the preset that cannot work.
    """
    chosen = list(dict.fromkeys(models)) or _all_models(preset)
    for name in chosen:
        model, _, method = name.partition("+")
        MODELS.get(model)
        if method:
            METHODS.get(method)
    adaptation = preset.data.get(name_data(data)["name"], Adaptation())
    preset = preset.model_copy(update={"run": merge(preset.run, adaptation.run), "models": merge(preset.models, adaptation.models)})
    base, spec = _resolved_data(preset, data)
    kind = "components-or-boxes" if len(spec.components) > 1 and not spec.is_colour else "boxes"
    shared = merge(base, {"masking": {"kind": kind}, "training": {"device": device}})
    jobs = []
    for seed in preset.seeds:
        for name in chosen:
            model, _, method = name.partition("+")
            encoder = _encoder_job(preset, model, method, shared, seed, out) if method else None
            settings = merge(shared, {"model": _model(preset, model), "training": {"seed": seed}})
            config = _config(settings, RunConfig, "run")
            jobs += [encoder] if encoder else []
            jobs.append(Job(name, seed, out / "runs" / f"{name}-seed{seed}", config, encoder))
    return jobs


def is_finished(job: Job) -> bool:
    """Whether the job was done before. Raises `ConfigError` where its directory holds a run with other settings."""
    if not (job.run / CONFIG_FILE).is_file() or (job.after and not is_finished(job.after)):
        return False
    present = resolve(load_config(job.run / CONFIG_FILE, {}, [], type(job.config)))
    before, now = present.model_dump(mode="json"), resolved_config(job).model_dump(mode="json")
    differing = [group for group in now if before.get(group) != now[group]]
    if differing:
        raise ConfigError(
            f"The run {job.run} was trained with other settings: {', '.join(differing)} differ from what is asked for now.",
            "Choose another --out, or remove that directory to train all anew.",
        )
    saved = runs.checkpoints(job.run)
    return bool(saved) and saved[-1] == runs.checkpoint_directory(job.run, job.steps)


def resolved_config(job: Job) -> RunConfig | PretrainingRunConfig:
    """The whole configuration of a job, with the encoder that it starts from, which must be there."""
    if job.after is None or not isinstance(job.config, RunConfig):
        return job.config
    encoder = EncoderConfig(start_from=str(job.after.run))
    return resolve(job.config.model_copy(update={"encoder": encoder}))


def _all_models(preset: Preset) -> list[str]:
    methods = preset.pretraining.methods or tuple(METHODS.entries())
    return [*MODELS.entries(), *(f"{model}+{method}" for model in preset.pretraining.models for method in methods)]


def _encoder_job(preset: Preset, model: str, method: str, shared: dict[str, Any], seed: int, out: Path) -> Job:
    """The run in which an encoder learns by itself: with the data and the device of the others, and settings of its own."""
    common = {"data": shared["data"], "training": {"device": shared["training"]["device"], "seed": seed}}
    settings = merge(preset.pretraining.run, {**common, "method": {"name": method}, "model": _model(preset, model)})
    config = _config(settings, PretrainingRunConfig, "pretraining.run")
    return Job(f"{model}+{method} encoder", seed, out / "runs" / f"{model}+{method}-encoder-seed{seed}", config)


def _config(settings: dict[str, Any], schema: type[Config], group: str) -> Config:
    config: Config = load_config(None, settings, [], schema)
    if config.training.steps is None:
        raise ConfigError(f"The preset has no {group}.training.steps.", "Give every run the same number of steps there.")
    return resolve(config)


def _resolved_data(preset: Preset, data: str) -> tuple[dict[str, Any], DataSpec]:
    """The run settings that all models share, with the data among them, and what the data are."""
    base = merge(preset.run, {"data": name_data(data)})
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
