"""The plan of a comparison: a preset, a data set and names of models become a list of runs to train."""

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
from vqkit.training.resuming import keep_fitted

Config = TypeVar("Config", RunConfig, PretrainingRunConfig)

MIN_TRAINING_IMAGES = 64
"""Least number of training images."""
MIN_TEST_IMAGES = 8
"""Least number of test images."""


class Job(NamedTuple):
    """One run to train: its name, seed, run directory and configuration.

    `name`: the name of a model; MODEL+METHOD for a model that starts from a pretrained encoder; "MODEL+METHOD encoder" for the
    pretraining run of that encoder. `after`: the pretraining job whose encoder this one starts from, which must finish first.
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
    """One job per model and seed, in the order of seeds, with run directories below `out`/runs. No `models`: all of the preset's.

    Raises `RegistryError` for an unknown model or method, `DataError` for missing or too few images, and `ConfigError` for
    an invalid setting of the preset.
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
    """Whether the run is complete. Raises `ConfigError` if its directory contains a run with other settings."""
    if not (job.run / CONFIG_FILE).is_file() or (job.after and not is_finished(job.after)):
        return False
    present = resolve(load_config(job.run / CONFIG_FILE, {}, [], type(job.config)))
    # What the run found out about its data and the processor is no setting that was asked for.
    wanted = keep_fitted(job.run, resolved_config(job))
    before, now = present.model_dump(mode="json"), wanted.model_dump(mode="json")
    differing = [group for group in now if before.get(group) != now[group]]
    if differing:
        raise ConfigError(
            f"The run {job.run} was trained with other settings: {', '.join(differing)} differ from those requested now.",
            "Choose another --out, or remove that directory to train again.",
        )
    saved = runs.checkpoints(job.run)
    return bool(saved) and saved[-1] == runs.checkpoint_directory(job.run, job.steps)


def resolved_config(job: Job) -> RunConfig | PretrainingRunConfig:
    """The complete configuration of a job, including the pretrained encoder that it starts from, which must exist."""
    if job.after is None or not isinstance(job.config, RunConfig):
        return job.config
    encoder = EncoderConfig(start_from=str(job.after.run))
    return resolve(job.config.model_copy(update={"encoder": encoder}))


def _all_models(preset: Preset) -> list[str]:
    methods = preset.pretraining.methods or tuple(METHODS.entries())
    return [*MODELS.entries(), *(f"{model}+{method}" for model in preset.pretraining.models for method in methods)]


def _encoder_job(preset: Preset, model: str, method: str, shared: dict[str, Any], seed: int, out: Path) -> Job:
    """The pretraining run of an encoder: data and device as for the other runs, everything else from `preset.pretraining`."""
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
    """The run settings that all models share, with the resolved data, and the specification of the data."""
    base = merge(preset.run, {"data": name_data(data)})
    resolved = resolve_data(NamedOptions(**base["data"]))
    dataset = open_dataset(resolved)
    _check_size(dataset, data)
    return {**base, "data": resolved.model_dump(mode="json")}, dataset.spec


def _check_size(dataset: ImageDataset, data: str) -> None:
    counts = {name: len(dataset.split(name)) for name in ("train", "test")}
    if counts["train"] < MIN_TRAINING_IMAGES or counts["test"] < MIN_TEST_IMAGES:
        raise DataError(
            f"{data} has {counts['train']} training images and {counts['test']} test images; a comparison needs at least "
            f"{MIN_TRAINING_IMAGES} and {MIN_TEST_IMAGES}.",
            "Choose a larger data set with --data.",
        )


def _model(preset: Preset, name: str) -> dict[str, Any]:
    """A model's settings: those of `preset.network` that it has, updated by its own."""
    known = MODELS.get(name).Options.model_fields
    common = {key: value for key, value in preset.network.items() if key in known}
    return {"name": name, **merge(common, preset.models.get(name, {}))}
