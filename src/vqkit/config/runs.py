"""The whole configuration of a run, for each kind of run."""

from __future__ import annotations

from typing import ClassVar

from vqkit.config.groups import (
    ConditioningConfig,
    EncoderConfig,
    LevelsConfig,
    LossConfig,
    MaskingConfig,
    PretrainingLoopConfig,
    PriorTrainingConfig,
    TokenizerConfig,
    TrainingConfig,
    ViewsConfig,
)
from vqkit.config.settings import NamedOptions, Settings


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
    conditioning: ConditioningConfig = ConditioningConfig()
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
