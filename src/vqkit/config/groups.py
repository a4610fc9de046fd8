"""The groups of settings of a run, with the meaning and the default of each setting."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vqkit.config.settings import Settings

DEFAULT_EPOCHS = 25
"""Passes over the training set when neither epochs nor steps are given."""

LEAST_STEPS = 1500
"""Steps that such a run has at least: a small set is passed over more often, or the model would hardly have learned anything."""


Decay = Annotated[float, Field(ge=0, lt=1)]
"""Decay rate of an exponential moving average."""


class HolesConfig(Settings):
    """Which part of an image is masked."""

    kind: Literal["auto", "components", "boxes", "free-form", "half", "mixed", "components-or-boxes"] = Field(
        "auto",
        description="Shape of the masked part: whole components (or colour channels), boxes, free-form strokes, half of the image, "
        "mixed (one of these three at random), or components-or-boxes (either, with equal probability). auto: components, or boxes "
        "for images with a single component.",
    )
    keep: Literal["any", "one"] = Field(
        "any",
        description="Components that a masked sample keeps. any: a random non-empty subset of uniformly distributed size; one: "
        "exactly one.",
    )


class MaskingConfig(HolesConfig):
    """Masking of the training images, and dropout of their conditions."""

    max_probability: float = Field(0.7, ge=0, le=1, description="Probability that a sample is masked, after the warm-up.")
    warmup_epochs: float = Field(
        20, ge=0, description="Epochs over which that probability grows linearly from 0 to `max_probability`."
    )
    decoder_only: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Share of the masked samples in which the encoder sees everything and the decoder alone a part, as when a "
        "prior draws the codes of a partly observed image.",
    )
    hide_conditions: float = Field(0.5, ge=0, le=1, description="Probability that the conditions of a sample are hidden.")


class ConditioningConfig(HolesConfig):
    """What a prior is conditioned on. `kind` and `keep` choose the masked part of the partly observed images."""

    condition_on: tuple[Literal["metadata", "class", "observed"], ...] = Field(
        (),
        description="Any of metadata, class and observed (a visible part of an image to complete). Empty: unconditional.",
    )
    drop: float = Field(
        0.1, ge=0, le=1, description="Probability that all conditioning of a sample is replaced by the learned null condition."
    )
    hide_values: float = Field(0.1, ge=0, le=1, description="Probability that a single metadata value of a sample is hidden.")


class LevelsConfig(Settings):
    """Levels of codes that a hierarchical prior trains, and its initial weights."""

    learn: tuple[str, ...] = Field(
        (), description="Names of the levels of codes to train; the others keep their initial weights. Empty: all."
    )
    start_from: str | None = Field(
        None, description="Run of a prior on the same tokenizer that provides the initial weights. Default: random weights."
    )


class EncoderConfig(Settings):
    """Initial weights of the model's encoder: random by default."""

    start_from: str | None = Field(
        None, description="Run of `vqkit pretrain`, or of a model, that provides the initial weights of the encoder."
    )
    digest: str | None = Field(None, description="Digest that its tensors must have; written to run.yaml.")
    freeze: bool = Field(False, description="Keep the initial weights of the encoder and train everything else.")


class ViewsConfig(HolesConfig):
    """Augmentations that make two views of an image. `kind` and `keep` choose the masked part of a masked view."""

    masked: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Probability that the second view is masked at the end of the run; it grows linearly from 0.",
    )
    crop: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Smallest area of a random crop, as a share of the image, which is resized to the full size; 1: no crop.",
    )
    flip: float = Field(0.5, ge=0, le=1, description="Probability that a view is flipped horizontally.")
    jitter: float = Field(
        0.4,
        ge=0,
        lt=1,
        description="Largest relative change of the brightness and contrast of each component; not for binary data.",
    )
    blur: float = Field(0.5, ge=0, le=1, description="Probability that a view is blurred; not for binary data.")


class LossConfig(Settings):
    """Perceptual and adversarial losses in addition to the model's own: none by default."""

    perceptual: float = Field(0.0, ge=0, description="Weight of the perceptual loss, a distance of VGG-16 features; 0 disables it.")
    perceptual_weights: str | None = Field(
        None,
        description="A .safetensors file of VGG-16 feature weights. Default: torchvision's weights, downloaded at first use.",
    )
    adversarial: float = Field(0.0, ge=0, description="Weight of the adversarial (patch discriminator) loss; 0 disables it.")
    discriminator_start_epoch: float = Field(
        0.0, ge=0, description="Epoch at which the adversarial loss is switched on; the discriminator trains from the start."
    )
    adaptive: bool = Field(
        True,
        description="Scale the adversarial loss so that its gradient at the last layer is as large as that of the other losses.",
    )
    discriminator_channels: int = Field(
        64, ge=8, multiple_of=8, description="Channels of the first layer of the discriminator; a multiple of 8."
    )
    discriminator_lr_scale: float = Field(
        0.5, gt=0, description="Learning rate of the discriminator, as a multiple of the model's."
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
    """The trained VQ model whose codes a prior models."""

    run: str | None = Field(
        None, description="A run directory, a checkpoint directory or a model.safetensors. Default: the newest run."
    )
    digest: str | None = Field(None, description="Digest that its tensors must have; written to run.yaml.")


TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
"""Programs that show the numbers and pictures of a run: see `vqkit.training.trackers`."""


class TrainingConfig(Settings):
    """The training loop: length, batch size, optimizer, device and logging."""

    epochs: int | None = Field(None, ge=1, description="Passes over the training set; exclusive with `steps`.")
    steps: int | None = Field(None, ge=1, description="Optimizer steps; exclusive with `epochs`.")
    least_steps: int | None = Field(
        None,
        ge=0,
        description="Steps that `epochs` are stretched to if they have fewer, schedules such as the mask warm-up with them. "
        f"Default: {LEAST_STEPS} where neither `epochs` nor `steps` are given, else 0.",
    )
    batch_size: int = Field(
        64, ge=1, description="Images per step, over all processes. The default is lowered to a training set that is smaller."
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="Gradient accumulation: in how many passes each process does its share of a batch, one after the other, to "
        "save memory. Gradients and codebooks are those of the whole batch.",
    )
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate of AdamW.")
    warmup_steps: int = Field(100, ge=0, description="Steps over which the learning rate grows linearly from 0.")
    final_lr_scale: float = Field(
        0.01, ge=0, le=1, description="Learning rate at the end of the cosine schedule, as a share of the peak."
    )
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay of AdamW.")
    betas: tuple[Decay, Decay] = Field(
        (0.9, 0.99), description="Decay rates of AdamW's averages of the gradient and of its square."
    )
    clip_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    weight_ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay of the exponential moving average (EMA) of the weights used for inference; 0 disables it.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the initial weights and of all random draws.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Precision of the networks. auto: bf16 where the hardware supports it. Quantizers always compute in float32.",
    )
    compile: bool = Field(False, description="Compile the model with torch.compile.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train.")
    threads: int | None = Field(
        None,
        ge=1,
        description="Threads of PyTorch on the processor. By default OMP_NUM_THREADS decides; where it is not set, what is fastest "
        "before the first step is used and written to run.yaml, so that a resumed run uses as many.",
    )
    workers: int = Field(2, ge=0, description="Data loader processes, for data that does not fit in memory.")
    log_every: int = Field(50, ge=1, description="Steps between two rows in metrics.jsonl.")
    track: tuple[TrackerName, ...] = Field(
        ("tensorboard",),
        description="Where numbers and pictures are shown besides metrics.jsonl: any of tensorboard, wandb, mlflow and trackio. "
        "Empty: nowhere.",
    )
    validate_every: int = Field(1, ge=1, description="Epochs between two passes over the validation set.")
    picture_every: int = Field(
        5, ge=1, description="Epochs between two sets of logged images; the first and the last epoch always have one."
    )
    checkpoint_every: int = Field(1000, ge=1, description="Steps between two checkpoints; the last step always has one.")
    keep_checkpoints: int = Field(2, ge=1, description="Checkpoints kept beside the best one.")
    max_skipped_steps: int = Field(10, ge=1, description="Consecutive steps with a non-finite gradient after which the run stops.")

    @model_validator(mode="after")
    def _one_length(self) -> TrainingConfig:
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs ({self.epochs}) and steps ({self.steps}) exclude each other")
        return self


class PretrainingLoopConfig(TrainingConfig):
    """The training loop, with the defaults of self-supervised pretraining."""

    batch_size: int = Field(
        128,
        ge=2,
        description="Images per step, over all processes; contrastive methods compare them with each other. The default is lowered "
        "to a training set that is smaller.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
