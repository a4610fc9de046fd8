"""From a command line to a finished run: settle the configuration and the directory, train, say where things are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.console import Console

from vqkit import distributed, runs
from vqkit.atomic import write_text
from vqkit.checkpoint import read_header, tokenizer_of
from vqkit.config import (
    DEFAULT_EPOCHS,
    AnyRunConfig,
    EncoderConfig,
    LossConfig,
    NamedOptions,
    PretrainingRunConfig,
    PriorRunConfig,
    RunConfig,
    TokenizerConfig,
    dump_yaml,
    load_config,
    merge,
    read_config_file,
)
from vqkit.data.opening import resolve_data, typed_as
from vqkit.errors import CheckpointError, ConfigError
from vqkit.precision import choose_device
from vqkit.registry import METHODS, MODELS, PRIORS, Registry
from vqkit.tasks.pretraining import EMBEDDING
from vqkit.trainer import Outcome, Trainer

CONFIG_FILE = "run.yaml"
_FIXED_GROUPS = ("model", "prior", "method", "encoder", "levels", "tokenizer", "data", "views", "condition", "loss")
"""Groups of settings that may not change when a run goes on."""
Config = TypeVar("Config", RunConfig, PriorRunConfig, PretrainingRunConfig)


def train(
    file: Path | None,
    flags: Mapping[str, Any],
    assignments: Sequence[str],
    out: Path | None,
    resume: str,
    schema: type[AnyRunConfig] = RunConfig,
) -> Outcome:
    """Train as the command line says; see `vqkit train-vqvae --help` for the arguments. `schema`: of what is trained.

    Raises `ConfigError`, `DataError`, `CheckpointError` or `TrainingError` with what to do about it.
    """
    run: Path | None
    continued = None if resume in ("auto", "never") else Path(resume)
    if continued is not None:
        config, run = _continued(continued, flags, assignments, out, schema)
    else:
        config, run = resolve(load_config(file, flags, assignments, schema)), out
    with distributed.process_group(choose_device(config.training.device)):
        return _train_together(config, run, resume)


def resolve(config: Config) -> Config:
    """The configuration with the defaults of its parts and the data filled in, checked against their own settings."""
    training = config.training
    if training.steps is None and training.epochs is None:
        training = training.model_copy(update={"epochs": DEFAULT_EPOCHS})
    return config.model_copy(update={**_resolve_parts(config, training.epochs), "training": training})


def _train_together(config: AnyRunConfig, run: Path | None, resume: str) -> Outcome:
    """Train in each of the processes that there are; the first one writes and speaks."""
    console = Console(stderr=True, quiet=not distributed.is_main())
    directory = Path(distributed.broadcast_text(str(run or runs.fresh_directory(config.subject.name, config.data.name))))
    going_on = _may_continue(directory, config, resume)
    trainer = Trainer.from_config(config, directory, going_on)
    if distributed.is_main():
        write_text(directory / CONFIG_FILE, dump_yaml(config))
        runs.point(directory.parent / "latest", directory.name)
    _announce(console, trainer, directory, going_on)
    outcome = trainer.fit()
    if distributed.is_main():
        _report(console, outcome, config)
    return outcome


def _resolve_parts(config: AnyRunConfig, epochs: int | None) -> dict[str, Any]:
    if isinstance(config, PriorRunConfig):
        return _resolve_prior(config)
    if isinstance(config, RunConfig):
        return _resolve_model(config, epochs)
    parts = {"method": _complete(METHODS, config.method), "model": _complete(MODELS, config.model)}
    return {**parts, "data": resolve_data(config.data)}


def _resolve_model(config: RunConfig, epochs: int | None) -> dict[str, Any]:
    if epochs is not None and config.masking.max > 0 and epochs < config.masking.warmup_epochs:
        reached = config.masking.max * epochs / config.masking.warmup_epochs
        warnings.warn(
            f"{epochs} epochs end before masking.warmup_epochs = {config.masking.warmup_epochs:g}: "
            f"at most {reached:.2f} of the samples will be masked. Shorten it with --mask-warmup.",
            stacklevel=4,
        )
    _warn_of_idle_losses(config.loss, epochs)
    parts = {"model": _complete(MODELS, config.model), "data": resolve_data(config.data)}
    return {**parts, "encoder": _resolve_encoder(config.encoder)}


def _resolve_encoder(encoder: EncoderConfig) -> EncoderConfig:
    """With the file of the encoder that training starts from, and its fingerprint."""
    if encoder.start_from is None:
        if encoder.freeze:
            raise ConfigError(
                "The encoder is to be frozen, but none is given: it would stay as random as it begins.",
                "Name a run of pretrain or train-vqvae with --init-encoder, or leave --freeze-encoder out.",
            )
        return encoder
    path = runs.locate(encoder.start_from)
    header = read_header(path)
    if header.get("kind") not in ("encoder", "model"):
        raise CheckpointError(f"{path} holds no encoder.", "Name a run of pretrain or train-vqvae with --init-encoder.")
    if encoder.digest not in (None, header["digest"]):
        raise CheckpointError(
            f"The encoder {path} has changed: it was {str(encoder.digest)[:12]} and is {header['digest'][:12]} now.",
            "Name the right one with --init-encoder, in another --out.",
        )
    return encoder.model_copy(update={"start_from": str(path), "digest": header["digest"]})


def _warn_of_idle_losses(loss: LossConfig, epochs: int | None) -> None:
    """Say which settings of the losses on pictures do nothing."""
    for name in loss.without_effect():
        owner = "perceptual" if name.startswith("perceptual") else "adversarial"
        warnings.warn(f"loss.{name} has no effect while loss.{owner} is 0.", stacklevel=5)
    if loss.adversarial and epochs is not None and epochs <= loss.adversarial_after_epochs:
        warnings.warn(
            f"{epochs} epochs end before loss.adversarial_after_epochs = {loss.adversarial_after_epochs:g}: "
            "the model will never be told what the discriminator thinks.",
            stacklevel=5,
        )


def _resolve_prior(config: PriorRunConfig) -> dict[str, Any]:
    """The file of the tokenizer that is meant and its fingerprint, and the data it was trained on where no others are named."""
    start = None if config.levels.start_from is None else _start(config)
    path = start.tokenizer if start and config.tokenizer.run is None else runs.locate(config.tokenizer.run)
    header = read_header(path)
    if header.get("kind") != "model" or not header["code_shapes"]:
        raise CheckpointError(f"{path} holds no model with codes.", "Name a run of a VQ model, such as vqvae, with --tokenizer.")
    digest = config.tokenizer.digest
    if digest not in (None, header["digest"]):
        raise CheckpointError(
            f"The tokenizer {path} has changed: it was {str(digest)[:12]} and is {header['digest'][:12]} now.",
            "Name the right one with --tokenizer, or train a new prior on this one in another --out.",
        )
    data = config.data
    if data.name == "tokenizer":
        data = NamedOptions(**{**header["data"], **data.options})
    tokenizer = TokenizerConfig(run=str(path), digest=header["digest"])
    if start and start.tokenizer_digest != header["digest"]:
        raise CheckpointError(
            f"The prior {start.path} models the codes of the tokenizer {start.tokenizer_digest[:12]}; {path} is another one, "
            f"{header['digest'][:12]}.",
            "Leave --tokenizer out, or leave --start-from out.",
        )
    prior = start.settings if start else _complete(PRIORS, config.prior)
    return {"prior": prior, "tokenizer": tokenizer, "data": resolve_data(data)}


class _Start(NamedTuple):
    """The prior that another one starts with: its file, its settings, its tokenizer and that one's fingerprint."""

    path: Path
    settings: NamedOptions
    tokenizer: Path
    tokenizer_digest: str


def _start(config: PriorRunConfig) -> _Start:
    """What `start_from` names. Raises `ConfigError` when settings of the prior were given that differ from its own."""
    path = runs.locate(config.levels.start_from, kind="prior")
    header = read_header(path)
    if header.get("kind") != "prior":
        raise CheckpointError(f"{path} holds a {header.get('kind')}, not a prior.", "Name a run of train-prior with --start-from.")
    settings = NamedOptions(name=header["name"], **header["options"])
    typed = {} if config.prior == PriorRunConfig().prior else config.prior.model_dump()
    known, wanted = settings.model_dump(), _complete(PRIORS, config.prior).model_dump()
    for key in typed:
        if known.get(key) != wanted[key]:
            raise ConfigError(
                f"The prior {path} that training starts from has prior.{key} = {known.get(key)}, not {wanted[key]}.",
                "Leave that setting out, or leave --start-from out.",
            )
    return _Start(path, settings, tokenizer_of(path, header), header["tokenizer_digest"])


def _complete(registry: Registry[Any], part: NamedOptions) -> NamedOptions:
    """A part with its own defaults filled in."""
    return NamedOptions(name=part.name, **registry.options(part.name, part.options).model_dump(mode="json"))


def _continued(
    run: Path, flags: Mapping[str, Any], assignments: Sequence[str], out: Path | None, schema: type[AnyRunConfig]
) -> tuple[AnyRunConfig, Path]:
    """The configuration of a run to go on with, and its directory; flags may change only how and how long it goes on."""
    if out is not None and out != run:
        raise ConfigError(f"--resume {run} and --out {out} name two runs.", "Give only --resume.")
    run = _directory_of(run)
    base = read_config_file(run / CONFIG_FILE)
    trained_by = _schema_of(base)
    if trained_by is not schema:
        raise ConfigError(f"{run} is not a run of {schema.command}.", f"Go on with: vqkit {trained_by.command} --resume {run}")
    training = dict(base.get("training", {}))
    typed = flags.get("training", {})
    for length, other in (("epochs", "steps"), ("steps", "epochs")):
        if length in typed:
            training.pop(other, None)
    config = resolve(load_config(None, merge({**base, "training": training}, flags), assignments, schema))
    _same_configuration(run, config, groups=_FIXED_GROUPS)
    return config, run


def _schema_of(settings: Mapping[str, Any]) -> type[AnyRunConfig]:
    """By the group of settings that only a configuration of this kind has."""
    schemas: dict[str, type[AnyRunConfig]] = {"prior": PriorRunConfig, "method": PretrainingRunConfig}
    return next((schema for group, schema in schemas.items() if group in settings), RunConfig)


def _directory_of(run: Path) -> Path:
    """The run directory that `run` names: itself, one below runs/, or what a file such as runs/latest points to."""
    target = runs.pointed(run) if run.is_file() else None
    for candidate in (run.parent / target if target else run, runs.RUNS / run):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    raise CheckpointError(f"There is no run to go on with at {run}.", "Give a run directory: one that holds run.yaml.")


def _may_continue(run: Path, config: AnyRunConfig, resume: str) -> bool:
    """Whether to go on from a checkpoint. Raises `ConfigError` when the directory holds something that must not be lost."""
    if not run.exists() or not any(run.iterdir()):
        return False
    if resume == "never" or not (run / CONFIG_FILE).is_file():
        raise ConfigError(f"The run directory {run} exists.", "Choose another --out, or go on with it: --resume auto.")
    if resume == "auto":
        _same_configuration(run, config)
    return bool(runs.checkpoints(run))


def _same_configuration(run: Path, config: AnyRunConfig, groups: tuple[str, ...] = ()) -> None:
    """Raise `ConfigError` naming the first setting of these groups (of all, by default) in which the run on disk differs."""
    schema = _schema_of(read_config_file(run / CONFIG_FILE))
    if not isinstance(config, schema):
        raise ConfigError(f"The run directory {run} holds a run of {schema.command}.", "Choose another --out.")
    before = _flat(resolve(load_config(run / CONFIG_FILE, {}, [], schema)).model_dump(mode="json"))
    after = _flat(config.model_dump(mode="json"))
    for key in sorted(before.keys() | after.keys()):
        if (not groups or key.split(".")[0] in groups) and before.get(key) != after.get(key):
            raise ConfigError(
                f"The run directory {run} exists and was trained with {key} = {before.get(key)}, not {after.get(key)}.",
                f"Choose another --out, or go on with the run as it was: --resume {run}",
            )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _announce(console: Console, trainer: Trainer, run: Path, going_on: bool) -> None:
    """What is about to be trained, in one line."""
    spec = trainer.task.spec
    parameters = sum(parameter.numel() for parameter in trainer.task.model.parameters())
    verb = f"Going on from step {trainer.step} of" if going_on else "Training"
    console.print(
        f"{verb} {trainer.config.subject.name} ({parameters / 1e6:.2f} M parameters) on {spec.name}: {trainer.loader.size} images "
        f"of {len(spec.components)} x {spec.height} x {spec.width}, {trainer.total_steps} steps, on {trainer.device}; into {run}",
        highlight=False,
        soft_wrap=True,
    )


def _report(console: Console, outcome: Outcome, config: AnyRunConfig) -> None:
    """Where things are, and what to type next."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in outcome.validation.items() if name != "loss")
    lines = [
        "",
        f"Done: {outcome.steps} steps. Validation: {figures}",
        f"  checkpoints, numbers, pictures: {outcome.run}/",
        f"  curves:       tensorboard --logdir {outcome.run}/tensorboard",
        *_what_next(outcome, config),
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _what_next(outcome: Outcome, config: AnyRunConfig) -> list[str]:
    """The commands that use the run."""
    if isinstance(config, PretrainingRunConfig):
        use = f"vqkit train-vqvae --model {config.model.name} --init-encoder {outcome.run}"
        return [f"  embedding:    {outcome.run / EMBEDDING}", f"  use it:       {use}"]
    measure = f"  measure it:   vqkit evaluate --run {outcome.run}"
    export = f"  use it:       vqkit data export {typed_as(config.data.model_dump())} --split test --num 4 --out sections"
    kept = f"--keep {outcome.spec.components[0]}"
    if isinstance(config, RunConfig):
        return [measure, export, f"                vqkit inpaint sections --run {outcome.run} {kept}"]
    if "observed" in config.condition.told:
        return [measure, export, f"                vqkit inpaint sections --prior {outcome.run} {kept} --num-samples 8"]
    return [measure, f"  use it:       vqkit sample --run {outcome.run} --num-samples 64"]
