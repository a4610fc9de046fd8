"""The groups of settings of a run: what may be set, what it means, and its default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vqkit.config.settings import Settings

DEFAULT_EPOCHS = 25
"""Passes over the training set when neither epochs nor steps are given."""


Decay = Annotated[float, Field(ge=0, lt=1)]
"""How much of a running mean stays at each step."""


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

    max_probability: float = Field(0.7, ge=0, le=1, description="Share of the samples that are masked once the warm-up is over.")
    warmup_epochs: float = Field(20, ge=0, description="Epochs over which that share grows linearly from 0 to `max_probability`.")
    hide_conditions: float = Field(0.5, ge=0, le=1, description="Share of the samples whose conditions are hidden from the model.")


class ConditioningConfig(HolesConfig):
    """What a prior is told. `kind` and `keep`: what is hidden of the image that it sees a part of."""

    condition_on: tuple[Literal["metadata", "class", "observed"], ...] = Field(
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
    discriminator_start_epoch: float = Field(
        0.0, ge=0, description="Epochs after which the model is told what the discriminator thinks; that learns from the start."
    )
    adaptive: bool = Field(True, description="Balance the adversarial loss so that it pulls as hard as the reconstruction loss.")
    discriminator_channels: int = Field(
        64, ge=8, multiple_of=8, description="Channels of the discriminator's first layer; a multiple of 8."
    )
    discriminator_lr_scale: float = Field(
        0.5, gt=0, description="Learning rate of the discriminator, as a share of the model's at each step."
    )

    def without_effect(self) -> list[str]:
        """Settings that were changed although the loss that they belong to has no weight."""
        belonging = {
            "perceptual": ("perceptual_weights",),
            "adversarial": ("discriminator_start_epoch", "adaptive", "discriminator_channels", "discriminator_lr_scale"),
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
    final_lr_scale: float = Field(0.01, ge=0, le=1, description="Learning rate at the end of the cosine, as a share of the peak.")
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
    max_skipped_steps: int = Field(10, ge=1, description="Steps in a row with a loss that is not a number before the run stops.")

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
