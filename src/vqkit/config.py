"""The configuration of a run: what may be set, what it means, and how files and the command line are merged.

A configuration is frozen, refuses keys it does not know, and is written whole into `run.yaml`. Settings of a model, a
quantizer, a prior or a data set live beside its class (its `Options`); here they are a name and the rest. No torch here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vqkit.errors import ConfigError

DEFAULT_EPOCHS = 25
"""Passes over the training set when neither epochs nor steps are given."""


Decay = Annotated[float, Field(ge=0, lt=1)]
"""How much of a running mean stays at each step."""


class Settings(BaseModel):
    """Base of every group of settings: frozen, documented, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class NamedOptions(BaseModel):
    """The name of a registered part and its own settings, which the part itself checks."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    name: str = Field(description="A name of the registry; `vqkit models` lists them.")

    @property
    def options(self) -> dict[str, Any]:
        """The settings without the name."""
        return dict(self.model_extra or {})


class HolesConfig(Settings):
    """What is hidden of an image."""

    kind: Literal["auto", "components", "boxes", "free-form", "half", "mixed", "components-or-boxes"] = Field(
        "auto",
        description="What is hidden: whole components (colour channels count), boxes, strokes, half of the image, mixed: any of "
        "these three, or components-or-boxes: either with equal chance. auto: components, or boxes where an image has only one.",
    )
    keep: Literal["any", "one"] = Field(
        "any",
        description="Components kept in a masked sample: a random non-empty subset whose size is uniform, or exactly one.",
    )


class MaskingConfig(HolesConfig):
    """What is hidden from the model during training."""

    max: float = Field(0.7, ge=0, le=1, description="Share of the samples that are masked once the warm-up is over.")
    warmup_epochs: float = Field(20, ge=0, description="Epochs over which that share grows linearly from 0 to `max`.")
    hide_conditions: float = Field(0.5, ge=0, le=1, description="Share of the samples whose conditions are hidden from the model.")


class ConditionConfig(HolesConfig):
    """What a prior is told. `kind` and `keep`: what is hidden of the image that it sees a part of."""

    told: tuple[Literal["metadata", "class", "observed"], ...] = Field(
        (), description="Any of metadata, class, and observed: a part of the image that is to be completed. Empty: nothing."
    )
    drop: float = Field(
        0.1, ge=0, le=1, description="Share of the samples that get the learned null condition in place of all that is told."
    )
    hide_values: float = Field(0.1, ge=0, le=1, description="Share of the single metadata values that are unknown to the prior.")


class LevelsConfig(Settings):
    """What of a prior learns, and what it knows before."""

    learn: tuple[str, ...] = Field(
        (), description="Names of the levels of codes that learn; the others keep the weights that they start with. Empty: all."
    )
    start_from: str | None = Field(
        None, description="A run of a prior on the same tokenizer, whose weights this one starts with; by default random ones."
    )


class EncoderConfig(Settings):
    """What the model's encoder knows before training: nothing, by default."""

    start_from: str | None = Field(
        None, description="A run of `vqkit pretrain`, or of an autoencoder, with whose encoder's weights this one starts."
    )
    digest: str | None = Field(None, description="Fingerprint that it must have; written into run.yaml.")
    freeze: bool = Field(False, description="Leave these weights as they are; everything else learns.")


class ViewsConfig(HolesConfig):
    """How the two views of an image differ from it, and so from each other. `kind` and `keep`: what a masked view hides."""

    masked: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the second views that hide a part of the image, at the end of the run; it grows from none.",
    )
    crop: float = Field(
        0.7, gt=0, le=1, description="Smallest share of the image's area that is cut out and enlarged to the image's size; 1: none."
    )
    flip: float = Field(0.5, ge=0, le=1, description="Share of the views that are mirrored left to right.")
    jitter: float = Field(
        0.4, ge=0, lt=1, description="Largest change of each component's brightness and contrast, as a share; not of binary data."
    )
    blur: float = Field(0.5, ge=0, le=1, description="Share of the views that are blurred; not of binary data.")


class LossConfig(Settings):
    """What is added to the model's own loss so that pictures come out sharp: nothing, by default."""

    perceptual: float = Field(0.0, ge=0, description="Weight of the distance between features of VGG-16; 0: none.")
    perceptual_weights: str | None = Field(
        None,
        description="A .safetensors file of VGG-16's features; by default torchvision's weights, downloaded at their first use.",
    )
    adversarial: float = Field(0.0, ge=0, description="Weight of what a patch discriminator makes of the pictures; 0: none.")
    adversarial_after_epochs: float = Field(
        0.0, ge=0, description="Epochs after which the model is told what the discriminator thinks; that learns from the start."
    )
    adaptive: bool = Field(True, description="Balance the adversarial loss so that it pulls as hard as the reconstruction loss.")
    discriminator_channels: int = Field(
        64, ge=8, multiple_of=8, description="Channels of the discriminator's first layer; a multiple of 8."
    )
    discriminator_rate: float = Field(
        0.5, gt=0, description="Learning rate of the discriminator, as a share of the model's at each step."
    )

    def without_effect(self) -> list[str]:
        """Settings that were changed although the loss that they belong to has no weight."""
        belonging = {
            "perceptual": ("perceptual_weights",),
            "adversarial": ("adversarial_after_epochs", "adaptive", "discriminator_channels", "discriminator_rate"),
        }
        idle = (name for loss, names in belonging.items() if not getattr(self, loss) for name in names)
        return [name for name in idle if getattr(self, name) != type(self).model_fields[name].default]


class TokenizerConfig(Settings):
    """The trained model whose codes a prior models."""

    run: str | None = Field(
        None, description="A run directory, a checkpoint directory or a model.safetensors; by default the newest run."
    )
    digest: str | None = Field(None, description="Fingerprint that it must have; written into run.yaml.")


class TrainingConfig(Settings):
    """The loop: how long, how large, how fast, and where."""

    epochs: int | None = Field(None, ge=1, description="Passes over the training set; exclusive with `steps`.")
    steps: int | None = Field(None, ge=1, description="Optimizer steps; exclusive with `epochs`.")
    batch_size: int = Field(64, ge=1, description="Images a step, over all processes together.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate of AdamW.")
    warmup_steps: int = Field(100, ge=0, description="Steps over which the learning rate grows linearly from 0.")
    final_learning_rate: float = Field(
        0.01, ge=0, le=1, description="Learning rate at the end of the cosine, as a share of the peak."
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay of AdamW.")
    betas: tuple[Decay, Decay] = Field((0.9, 0.99), description="Decay rates of AdamW's two running means.")
    clip_norm: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    weight_ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of the running mean of the weights that is kept for inference; 0: none."
    )
    seed: int = Field(0, ge=0, description="Start of every random draw of the run.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Arithmetic of the networks; auto: bf16 where the hardware has it. Quantizers are always float32.",
    )
    compile: bool = Field(False, description="Compile the task with torch.compile.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train.")
    workers: int = Field(2, ge=0, description="Processes that read pictures, for data that does not fit in memory.")
    log_every: int = Field(50, ge=1, description="Steps between two rows of metrics.jsonl.")
    validate_every: int = Field(1, ge=1, description="Epochs between two passes over the validation set.")
    picture_every: int = Field(
        5, ge=1, description="Epochs between two sets of pictures; the first and the last epoch always have one."
    )
    checkpoint_every: int = Field(1000, ge=1, description="Steps between two checkpoints; the last step always has one.")
    keep_checkpoints: int = Field(2, ge=1, description="Checkpoints kept beside the best one.")
    max_bad_steps: int = Field(10, ge=1, description="Steps in a row with a loss that is not a number before the run stops.")

    @model_validator(mode="after")
    def _one_length(self) -> TrainingConfig:
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs ({self.epochs}) and steps ({self.steps}) exclude each other")
        return self


class PriorTrainingConfig(TrainingConfig):
    """The loop, with the defaults of priors."""

    learning_rate: float = Field(3e-4, gt=0, description="Peak learning rate of AdamW.")


class PretrainingLoopConfig(TrainingConfig):
    """The loop, with the defaults of self-supervised learning."""

    batch_size: int = Field(128, ge=2, description="Images a step, over all processes together; they are compared with each other.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")


class RunConfig(Settings):
    """Everything that decides what a training run of an autoencoder does."""

    command: ClassVar[str] = "train-vqvae"
    model: NamedOptions = NamedOptions(name="vqvae")
    data: NamedOptions = NamedOptions(name="tyre")
    masking: MaskingConfig = MaskingConfig()
    loss: LossConfig = LossConfig()
    encoder: EncoderConfig = EncoderConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def subject(self) -> NamedOptions:
        """What is trained."""
        return self.model


class PriorRunConfig(Settings):
    """Everything that decides what a training run of a prior does.

    `data: {name: tokenizer}` stands for the data that the tokenizer was trained on; other settings beside it change these.
    """

    command: ClassVar[str] = "train-prior"
    prior: NamedOptions = NamedOptions(name="pixelcnn")
    levels: LevelsConfig = LevelsConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    data: NamedOptions = NamedOptions(name="tokenizer")
    condition: ConditionConfig = ConditionConfig()
    training: PriorTrainingConfig = PriorTrainingConfig()

    @property
    def subject(self) -> NamedOptions:
        """What is trained."""
        return self.prior


class PretrainingRunConfig(Settings):
    """Everything that decides what a training run of an encoder by itself does. `model`: the one whose encoder it is."""

    command: ClassVar[str] = "pretrain"
    method: NamedOptions = NamedOptions(name="barlow-twins")
    model: NamedOptions = NamedOptions(name="vqvae")
    data: NamedOptions = NamedOptions(name="tyre")
    views: ViewsConfig = ViewsConfig()
    training: PretrainingLoopConfig = PretrainingLoopConfig()

    @property
    def subject(self) -> NamedOptions:
        """What is trained."""
        return self.method


AnyRunConfig = RunConfig | PriorRunConfig | PretrainingRunConfig
"""The configuration of any training run."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, except that `3e-4` is a number and not a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)$"),
    list("-+0123456789."),
)


def parse_yaml(text: str, source: str) -> Any:
    """Read YAML safely. Raises `ConfigError` naming `source` and the line when it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with one more number format
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{source}{line} is not valid YAML.", "Check indentation, colons and quotes there.") from None


def dump_yaml(settings: BaseModel) -> str:
    """The settings as YAML, in the order of their definition."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_config_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises `ConfigError` when it is missing, unreadable or no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"The configuration file {path} cannot be read: {reason}.", "See configs/ for examples.") from None
    content = parse_yaml(text, str(path))
    if content is None:  # an empty file, or one of comments only
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} holds a {type(content).__name__} where a mapping of settings is expected.", "See configs/ for examples."
        )
    return content


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Set `a.b.c=VALUE` in nested mappings, in place; the value is read as YAML. Raises `ConfigError` when there is no `=`."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"'--set {override}' has no KEY=VALUE.", "Write for example --set model.quantizer.num_codes=1024.")
    parts = key.strip().split(".")
    node = settings
    for part in parts[:-1]:
        child = node.get(part)
        if not isinstance(child, dict):
            child = {} if child is None else {"name": child}
            node[part] = child
        node = child
    node[parts[-1]] = parse_yaml(text, f"--set {key}")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top, nested mappings merged. Another `name` in a group replaces that group whole.

    `model: vae` is short for `model: {name: vae}`: where one side has the name and the other a group, they merge as groups.
    """
    merged = dict(base)
    for key, value in over.items():
        present = merged.get(key)
        if isinstance(present, str) and isinstance(value, Mapping):
            present = {"name": present}
        elif isinstance(present, Mapping) and isinstance(value, str):
            value = {"name": value}
        if isinstance(present, Mapping) and isinstance(value, Mapping):
            renamed = "name" in value and value["name"] != present.get("name", value["name"])
            merged[key] = dict(value) if renamed else merge(present, value)
        else:
            merged[key] = value
    return merged


def _merge_lengths(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`merge`, except that `steps` over `epochs`, or the other way round, replaces it: a run has one length."""
    merged = merge(base, over)
    before, after = base.get("training"), over.get("training")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for length, other in (("epochs", "steps"), ("steps", "epochs")):
            if after.get(length) is not None and other not in after:
                merged["training"][other] = None
    return merged


def load_config(
    path: Path | None, overrides: Mapping[str, Any], assignments: Sequence[str], schema: type[Settings] = RunConfig
) -> Any:
    """The configuration of a run: the file's settings, the command line's flags over them, `--set` over both.

    `overrides` is a nested mapping of flags that were really typed. Raises `ConfigError` naming a wrong key or value.
    """
    typed: dict[str, Any] = {}
    for assignment in assignments:
        apply_override(typed, assignment)
    # The default names come first, so that settings without a name belong to them and another name drops them.
    defaults = {group: field.default for group, field in schema.model_fields.items()}
    settings = {group: value.model_dump() for group, value in defaults.items() if isinstance(value, NamedOptions)}
    for layer in (read_config_file(path) if path else {}, overrides, typed):
        settings = _merge_lengths(settings, layer)
    try:
        return schema.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(*describe_validation_error(error, schema, "the configuration")) from None


def describe_validation_error(error: ValidationError, schema: type[BaseModel], subject: str) -> tuple[str, str]:
    """A sentence and a hint for the first thing that pydantic found wrong."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place) or "it"
    if first["type"] == "extra_forbidden":
        known = _keys_at(schema, place[:-1])
        close = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
        guess = f"Did you mean '{'.'.join([*place[:-1], close[0]])}'? " if close else ""
        return f"{subject[0].upper()}{subject[1:]} has no setting '{key}'.", f"{guess}Known here: {', '.join(known) or 'none'}."
    reason = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] in ("value_error", "missing") else f" (given: {first['input']!r})"
    return (
        f"In {subject}, {key}: {reason[0].lower()}{reason[1:]}{given}.",
        "See the configuration reference in docs/configuration.md.",
    )


def _keys_at(schema: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Names of the settings of the group at `place` below `schema`."""
    for part in place:
        field = schema.model_fields.get(part)
        if field is None:
            return []
        candidates = [field.annotation, *get_args(field.annotation)]
        groups = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if not groups:
            return []
        schema = groups[0]
    return list(schema.model_fields)
