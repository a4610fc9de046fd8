"""The whole configuration of a run, for each kind of run."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from vqkit.config.groups import (
    ConditioningConfig,
    EncoderConfig,
    LevelsConfig,
    LossConfig,
    MaskingConfig,
    PretrainingLoopConfig,
    TokenizerConfig,
    TrainingConfig,
    ViewsConfig,
)
from vqkit.config.settings import NamedOptions, Settings

_KIND = "What is trained: model, prior or encoder. It follows from the command and may be left out of a file."


class RunConfig(Settings):
    """The configuration of a training run of a model."""

    command: ClassVar[str] = "train-vqvae"
    kind: Literal["model"] = Field("model", description=_KIND)
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
    """The configuration of a training run of a prior.

    `data: {name: tokenizer}` is the data that the tokenizer was trained on; further settings in that group override its settings.
    """

    command: ClassVar[str] = "train-prior"
    kind: Literal["prior"] = Field("prior", description=_KIND)
    prior: NamedOptions = NamedOptions(name="pixelcnn")
    levels: LevelsConfig = LevelsConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    data: NamedOptions = NamedOptions(name="tokenizer")
    conditioning: ConditioningConfig = ConditioningConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def subject(self) -> NamedOptions:
        """What is trained."""
        return self.prior


class PretrainingRunConfig(Settings):
    """The configuration of a pretraining run. `model` is the one whose encoder is pretrained."""

    command: ClassVar[str] = "pretrain"
    kind: Literal["encoder"] = Field("encoder", description=_KIND)
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

SCHEMAS: dict[str, type[AnyRunConfig]] = {
    str(schema.model_fields["kind"].default): schema for schema in (RunConfig, PriorRunConfig, PretrainingRunConfig)
}
"""The configuration of each kind of run, by the `kind` that run.yaml names."""
